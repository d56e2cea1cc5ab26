"""How many threads the kernels use: settled once a process, before the first library runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from qcompile.errors import CompileError

VARIABLE = "TVM_NUM_THREADS"
"""Read by the kernels' thread pool, which is made on the first run and then stays."""

_settled: list[int] = []


def settle(threads: int | None = None) -> int:
    """Settle the thread count of this process and return it.

    Args:
        threads: The count; None takes what is settled, else what the variable says, else
            every core that the process may use, and never more.

    Raises:
        CompileError: Another count is settled already, or it is more than the cores that
            this process may use: spinning threads would wait for one another.
    """
    if not _settled:
        cores = len(os.sched_getaffinity(0))
        check_cores(threads, cores, "this process may use")
        before = os.environ.get(VARIABLE, "")
        every = min(int(before), cores) if before.isdigit() and int(before) else cores
        _settled.append(threads or every)
        os.environ[VARIABLE] = str(_settled[0])
    if threads not in (None, _settled[0]):
        raise CompileError(
            f"this process already runs with {_settled[0]} threads",
            where="threads",
            hint=f"set {VARIABLE}={threads} before the first run, or use `qcompile bench`",
        )
    return _settled[0]


@contextlib.contextmanager
def unsettled() -> Iterator[None]:
    """Let kernels run in this block and leave the thread count open.

    Where it is open, they run on one thread: the kernels ask the variable at every launch,
    and a launch on one thread makes no pool.
    """
    if _settled:
        yield
        return
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


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
