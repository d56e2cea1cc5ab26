"""The tuning logs in the package: `*.jsonl` beside this file (benchmarks/tune_common.py)."""

from __future__ import annotations

import functools
from pathlib import Path

from qcompile.tuning_log import Record, read


@functools.cache
def shipped(isa: str) -> tuple[Record, ...]:
    """Return the records for an instruction set."""
    logs = sorted(Path(__file__).parent.glob("*.jsonl"))
    return tuple(record for log in logs for record in read(log) if record.isa == isa)
