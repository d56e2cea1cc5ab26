"""How many threads the kernels use: settled once a process, before the first library runs."""

from __future__ import annotations

import os
import sys

from qcompile.errors import CompileError

VARIABLE = "TVM_NUM_THREADS"
"""Read by the kernels' thread pool, which is made on the first run and then stays."""


def settle(threads: int | None = None) -> int:
    """Settle the thread count of this process and return it.

    Args:
        threads: The count; None takes what is settled, or else every core there is.

    Raises:
        CompileError: Another count is settled already.
    """
    before = os.environ.get(VARIABLE, "")
    if threads is None:
        threads = int(before) if before.isdigit() else len(os.sched_getaffinity(0))
    if before != str(threads) and "tvm" in sys.modules:
        raise CompileError(
            f"this process already runs with {before or 'its own number of'} threads",
            where="threads",
            hint=f"set {VARIABLE}={threads} before the first run, or use `qcompile bench`",
        )
    os.environ[VARIABLE] = str(threads)
    return threads
