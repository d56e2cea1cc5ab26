"""The command `qcompile`, also as `python -m qcompile`."""

INTERRUPTED = 130


def main() -> int:
    """Run the command line; an interrupt is one line and 130 from the first import on."""
    import atexit
    import contextlib
    import os
    import sys

    status = -1

    def leave() -> None:
        # Python would end by the signal if it saw an interrupt pass through an exec, or if
        # one came while it takes itself apart, when all is done.
        if status < 0:
            return
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
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
