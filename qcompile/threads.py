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
            every core there is.

    Raises:
        CompileError: Another count is settled already.
    """
    if not _settled:
        before = os.environ.get(VARIABLE, "")
        every = int(before) if before.isdigit() else len(os.sched_getaffinity(0))
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
