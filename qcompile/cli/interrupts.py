"""Remember an interrupt from the keyboard, whatever the code that it hit makes of it.

An interrupt during the import of a native module arrives as an ImportError, and one in a
callback from native code cannot be raised at all.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from typing import NoReturn


@contextlib.contextmanager
def remembered_interrupts() -> Iterator[list[int]]:
    """Give the list of the interrupts so far; each raises KeyboardInterrupt as always.

    Where interrupts are ignored or handled otherwise, as under nohup, they stay so.
    """
    seen: list[int] = []
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield seen
        return

    def interrupt(number: int, _: object) -> NoReturn:
        seen.append(number)
        raise KeyboardInterrupt

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        if not isinstance(args.exc_value, KeyboardInterrupt):
            hook(args)

    hook, sys.unraisablehook = sys.unraisablehook, unraisable
    try:
        signal.signal(signal.SIGINT, interrupt)
        yield seen
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, signal.default_int_handler)
