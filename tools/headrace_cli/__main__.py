"""What tools/headrace starts."""

import sys

if __name__ == "__main__":
    try:
        # Python has put the directory itself there, whose modules are not meant to be imported by their bare names.
        sys.path[0] = sys.path[0].rpartition("/")[0]
        from headrace_cli.main import main
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(main(sys.argv[1:]))
