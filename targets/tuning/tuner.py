"""Measure the candidates of every distinct kernel of a model, and log the best."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from qcompile import tuning_log
from qcompile.measuring import Measure
from qcompile.targets.isa import Isa
from qcompile.targets.trials import build_trials
from qcompile.targets.tuning.candidates import MOST, SKIPPED, candidates, trials
from qcompile.targets.tuning.choices import Tunable, key_of, sizes
from qcompile.tuning_log import Record
from qcompile.tuning_report import TuneReport

MARGIN = 0.03
"""A tile must be faster than the untuned one by this share of its time to replace it."""

RESOLUTION = 5e-8
"""Seconds by which it must be faster, too: the clock itself takes about as long."""

ROUNDS = 15
"""Rounds of all candidates; then as many again, in which the best must be so once more."""

LONGEST_ROUNDS = 2.0
"""Seconds for which the rounds of one kernel may last; slow kernels have fewer of them."""

FEWEST = 3
"""Rounds that there are in any case."""

Progress = Callable[[int, int, str], None]
"""Told how many kernels are done, of how many, and the next one."""


def tune_kernels(
    kernels: Iterable[Tunable],
    isa: Isa,
    measure: Measure,
    log: Path,
    *,
    caches: tuple[int, ...],
    seconds: float | None = None,
    most: int = MOST,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> TuneReport:
    """Measure what the log does not know yet, the largest kernels first.

    Args:
        kernels: The kernels of a model; equal ones count once.
        isa: Their instruction set.
        measure: Runs a library on the machine in question.
        log: Where each result is appended at once; a run that is cut short is taken up again.
        caches: Of that machine, as in `Record`.
        seconds: No kernel is begun that would, as long as the longest so far took, end later.
        most: Candidates of a kernel.
        progress: Told of every kernel.
        clock: Seconds that rise.

    Raises:
        CompileError: The log cannot be written, or the machine is gone.
    """
    start, longest = clock(), 0.0
    known = (
        {(each.key, each.caches) for each in tuning_log.read(log)} if log.exists() else set()
    )
    distinct: dict[tuple[tuning_log.Key, tuple[int, ...]], tuple[int, Tunable]] = {}
    for kernel in kernels:
        key = key_of(kernel), caches
        macs, _ = distinct.get(key, (0, kernel))
        distinct[key] = macs + kernel.macs(), kernel
    waiting = [key for key in distinct if key not in known]
    waiting.sort(key=lambda key: -distinct[key][0])
    made: list[Record] = []
    for key in waiting:
        begin = clock()
        if seconds is not None and begin - start + longest > seconds:
            break
        _, kernel = distinct[key]
        if progress is not None:
            progress(len(made), len(waiting), f"{type(kernel).__name__} {kernel.tile}")
        record = tune_kernel(kernel, isa, measure, caches, most)
        tuning_log.append(log, record)
        made.append(record)
        longest = max(longest, clock() - begin)
    if progress is not None:
        progress(len(made), len(waiting), "")
    return TuneReport(
        kernels=len(distinct),
        known=len(distinct) - len(waiting),
        measured=len(made),
        left=len(waiting) - len(made),
        better=sum(record.tile != record.untuned for record in made),
        seconds=clock() - start,
    )


def tune_kernel(
    kernel: Tunable, isa: Isa, measure: Measure, caches: tuple[int, ...], most: int
) -> Record:
    """Measure the candidates of one kernel and return the record of the best."""
    tiles = candidates(kernel, most)
    chosen, times = 0, np.zeros((1, 1))
    if len(tiles) > 1:
        library, model = build_trials(isa, trials(kernel, tiles))
        once = measure(library, model, 1)
        rounds = int(LONGEST_ROUNDS / 2 / max(float(once.sum()), 1e-9))
        rounds = max(FEWEST, min(ROUNDS, rounds))
        times = measure(library, model, rounds)[:, SKIPPED:]
        again = measure(library, model, rounds)[:, SKIPPED:] if best(times) else times
        chosen = best(times, again)
        times = again
    medians = np.median(times, axis=0)
    return Record(
        isa=isa.name,
        caches=caches,
        kernel=type(kernel).__name__,
        version=key_of(kernel)[2],
        shape=key_of(kernel)[3],
        tile=sizes(tiles[chosen]),
        seconds=float(medians[chosen]),
        untuned=sizes(tiles[0]),
        untuned_seconds=float(medians[0]),
        candidates=len(tiles),
    )


def best(times: np.ndarray, *again: np.ndarray) -> int:
    """Return the fastest candidate; the first, unless another is faster beyond the noise.

    A candidate's figure is the median over the rounds of its time over the first one's in
    the same round, so a machine whose speed drifts does no harm. It must be below 1 - MARGIN,
    and the gain above RESOLUTION; in the rounds `again` once more.
    """

    def ratios(each: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.median(each / each[:, :1], axis=0)
        return found

    fastest = int(np.argmin(ratios(times)))
    gains = [np.median(each[:, 0] - each[:, fastest]) for each in (times, *again)]
    sure = [ratios(each)[fastest] < 1 - MARGIN for each in (times, *again)]
    return fastest if all(sure) and min(gains) > RESOLUTION else 0
