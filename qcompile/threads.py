"""How many threads the kernels use: the user's choice, else every core of this process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from qcompile.errors import CompileError

VARIABLE = "QCOMPILE_THREADS"
"""Environment variable: how many threads where nothing else is said; never above the cores."""

_chosen: list[int] = []
"""What the innermost `using` block says, last."""


def current() -> int:
    """Return how many threads a run takes now."""
    return chosen(said())


def said() -> int | None:
    """Return what the environment variable says, if that is a number above 0."""
    text = os.environ.get(VARIABLE, "")
    return int(text) or None if text.isdigit() else None


def chosen(said: int | None) -> int:
    """Return how many threads a run takes where the variable says this."""
    if _chosen:
        return _chosen[-1]
    cores = own_cores()
    return cores if said is None else min(said, cores)


@contextlib.contextmanager
def using(threads: int | None) -> Iterator[int]:
    """Let runs in this block take so many threads; None leaves it as it is.

    Raises:
        CompileError: It is more than the cores that this process may use: spinning threads
            would wait for one another.
    """
    check_cores(threads, own_cores(), "this process may use")
    _chosen.append(threads or current())
    try:
        yield _chosen[-1]
    finally:
        _chosen.pop()


def own_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def check_cores(threads: int | None, cores: int, whose: str) -> None:
    """Refuse more threads than there are cores.

    Raises:
        CompileError: Says how many there are.
    """
    if threads is not None and threads > cores:
        raise CompileError(
            f"{threads} threads, and {whose} {cores} core{'s' if cores > 1 else ''}",
            where="--threads",
            hint=f"give at most --threads {cores}",
        )
