"""The certificates and the token with which processes let each other in: --certificates DIR, a directory as
`tools/headrace certificates` makes it."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import grpc

from headrace_cli import inspector
from headrace_cli.errors import UsageError

AUTHORITY, CERTIFICATE, KEY, TOKEN = FILES = ("ca.crt", "tls.crt", "tls.key", "token")


def add_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--certificates",
        type=Path,
        metavar="DIR",
        help=f"encrypt connections, with the keys and the token in this directory: {', '.join(FILES)}",
    )


def process_flags(directory: Path | None) -> list[str]:
    """Of the three binaries. UsageError: a file is missing."""
    if directory is None:
        return []
    check(directory)
    return [f"--certificates={directory.absolute()}", f"--token_file={(directory / TOKEN).absolute()}"]


def check(directory: Path) -> None:
    missing = [name for name in FILES if not (directory / name).is_file()]
    if missing:
        raise UsageError(
            f"--certificates {directory}: {', '.join(missing)} missing; `tools/headrace certificates {directory}` makes "
            "a set for trials"
        )


def check_contents(directory: Path, names: Sequence[str] = ()) -> None:
    """Needs the binary workspace.INSPECT. UsageError: a file is missing, a process would refuse what is in it, or the
    certificate is not for all of these names or addresses, by which processes reach each other."""
    check(directory)
    try:
        inspector.check_certificates(directory, directory / TOKEN, names)
    except UsageError as error:
        raise UsageError(
            f"--certificates {directory}: {error}; `tools/headrace certificates {directory}` issues those of a set for "
            "trials anew, or says what is in the way"
        ) from error


def connect(address: str, directory: Path | None, options: tuple[tuple[str, int], ...]) -> grpc.Channel:
    """A channel, encrypted unless there is no directory. UsageError: a file is missing or cannot be read."""
    if directory is None:
        return grpc.insecure_channel(address, options=options)
    check(directory)
    try:
        authority, certificate, key = ((directory / name).read_bytes() for name in (AUTHORITY, CERTIFICATE, KEY))
        token = (directory / TOKEN).read_text(encoding="ascii").split()[0]
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise UsageError(f"--certificates {directory} cannot be used: {error}") from error
    credentials = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(authority, key, certificate), grpc.access_token_call_credentials(token)
    )
    return grpc.secure_channel(address, credentials, options=options)
