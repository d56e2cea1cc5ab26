"""The command `qcompile`, also as `python -m qcompile`."""

import sys


def main() -> int:
    """Run the command line; an interrupt is one line from the first import on."""
    try:
        from qcompile.cli import main

        return main()
    except KeyboardInterrupt:
        print("qcompile: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
