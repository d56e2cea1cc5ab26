"""The command `qcompile`, also as `python -m qcompile`."""

INTERRUPTED = 130


def main() -> int:
    """Run the command line; an interrupt is one line and 130 from the first import on."""
    import atexit
    import os
    import sys

    status = 0

    def leave() -> None:
        # Python would end by the signal if it saw the interrupt pass through an exec.
        if status == INTERRUPTED:
            os._exit(status)

    atexit.register(leave)  # the first to be registered is the last to run
    try:
        from qcompile.cli import main

        status = main()
    except KeyboardInterrupt:
        print("qcompile: interrupted", file=sys.stderr)
        status = INTERRUPTED
    return status


if __name__ == "__main__":
    raise SystemExit(main())
