"""Failures that end a command with a message, and the exit codes of all commands."""

DONE = 0
FAILED = 1
BAD_USAGE = 2
INTERRUPTED = 130


def of_file(error: OSError) -> str:
    """What a system call was refused, and for which file if it says so: one that writes does not."""
    name = error.filename2 or error.filename
    return f"{name}: {error.strerror}" if name else str(error.strerror)


class CommandError(Exception):
    """Ends the command with its text on stderr and exit code 1: something failed."""

    exit_code = FAILED


class UsageError(CommandError):
    """Ends the command with exit code 2: what was asked for, or the configuration, is wrong."""

    exit_code = BAD_USAGE
