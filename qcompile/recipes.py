"""The recipe `auto`: what a model is made of says how to quantize it, or a trial does."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qcompile.calibration.runs import ModelRunner
from qcompile.config import CompileConfig
from qcompile.data.dataset import Dataset
from qcompile.graphs.expressions import has_sizes
from qcompile.report import RecipeReport, count_macs
from qcompile.validation.deviation import Deviation

Sample = dict[str, npt.NDArray[np.generic]]

CONVOLUTIONAL = 0.5
"""Share of the multiply-accumulates outside convolutions up to which nothing is tried."""

ENOUGH_DB = 25.0
"""A candidate of this SQNR or more is taken: its error is 6 % of the signal."""

MARGIN_DB = 3.0
"""How much less than the best a cheaper candidate may have."""

LEAST_DB = 20.0
"""No candidate below is taken where another one is above."""

TRIAL_SAMPLES = 32
"""Samples of a trial: of four, three are for the ranges and one to measure with."""

SMOOTHING = 0.5
"""The alpha of SmoothActivations in a trial, where the config has none of its own."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A way to quantize a model, none of it left to choose.

    Attributes:
        name: What reports call it.
        config: The config that asks for it.
    """

    name: str
    config: CompileConfig


@dataclasses.dataclass(frozen=True)
class Choice:
    """The config to go on with, and the report on it."""

    config: CompileConfig
    report: RecipeReport


def stated(config: CompileConfig, reason: str = "the config names it") -> Choice:
    """Return what a config asks for without a trial; "auto" stands for "static-int8"."""
    recipe = "static-int8" if config.recipe == "auto" else config.recipe
    config = dataclasses.replace(config, recipe=recipe)
    return Choice(config, {"name": name_of(config), "reason": reason, "sqnr_db": {}})


def name_of(config: CompileConfig) -> str:
    """Return the recipe's name, with its smoothing if there is one."""
    smooth = f" smooth={config.smooth:g}" if config.smooth is not None else ""
    return f"{config.recipe}{smooth}"


def matrix_share(graph: ir.Graph) -> float:
    """Return the share of the multiply-accumulates outside convolutions; 0 without any."""
    macs = {node: count_macs(node) for node in graph if _is_sized(node)}
    convolved = sum(macs[node] for node in macs if node.op_type in ("Conv", "ConvTranspose"))
    total = sum(macs.values())
    return 1.0 - convolved / total if total else 0.0


def candidates(config: CompileConfig) -> tuple[Candidate, ...]:
    """Return what "auto" tries on a model of matrix products, the fastest first."""
    static = dataclasses.replace(config, recipe="static-int8")
    smooth = dataclasses.replace(static, smooth=config.smooth or SMOOTHING)
    dynamic = dataclasses.replace(config, recipe="dynamic-int8", smooth=None)
    configs = [smooth, dynamic] if config.smooth else [static, smooth, dynamic]
    return tuple(Candidate(name_of(each), each) for each in configs)


def describe_share(share: float) -> str:
    """Return why nothing is tried."""
    return f"{share:.0%} of the MACs are matrix products, not over {CONVOLUTIONAL:.0%}"


def without_data(share: float, last: Candidate) -> Choice:
    """Return the last candidate; the dynamic one needs no data."""
    reason = f"{share:.0%} of the MACs are matrix products, and there is no calibration data"
    return Choice(last.config, {"name": last.name, "reason": reason, "sqnr_db": {}})


@contextlib.contextmanager
def tried_bar(
    tried: Sequence[Candidate], progress: bool
) -> Iterator[Callable[[Candidate], None]]:
    """Show a bar of candidates on stderr, if that is a terminal; what it gives steps it."""
    from tqdm import tqdm

    # None: no bar where stderr is not a terminal.
    hidden = None if progress else True
    with tqdm(total=len(tried), unit="recipe", disable=hidden) as bar:

        def step(candidate: Candidate) -> None:
            bar.set_description(candidate.name)
            bar.update()

        yield step


def choose(
    share: float, tried: Sequence[Candidate], measure: Callable[[Candidate], float]
) -> Choice:
    """Try candidates, the fastest first, and return the one to take.

    It is the first of ENOUGH_DB; else the first that is within MARGIN_DB of the best, and
    not below LEAST_DB where the best is above.

    Args:
        share: Of the multiply-accumulates outside convolutions.
        tried: The candidates.
        measure: Returns the SQNR of one.
    """
    sqnr: dict[str, float] = {}
    for candidate in tried:
        sqnr[candidate.name] = measure(candidate)
        if sqnr[candidate.name] >= ENOUGH_DB:
            break
    best = max(sqnr.values())
    bound = best - MARGIN_DB if best < LEAST_DB else max(best - MARGIN_DB, LEAST_DB)
    taken = next(each for each in tried if sqnr[each.name] >= min(bound, ENOUGH_DB))
    figures = ", ".join(f"{name} {value:.1f} dB" for name, value in sqnr.items())
    rule = f"it has {ENOUGH_DB:g} dB"
    if sqnr[taken.name] < ENOUGH_DB:
        rule = f"it is the fastest within {MARGIN_DB:g} dB of the best"
    reason = f"{share:.0%} of the MACs are matrix products, and {rule}: SQNR {figures}"
    rounded = {name: round(value, 2) for name, value in sqnr.items()}
    return Choice(taken.config, {"name": taken.name, "reason": reason, "sqnr_db": rounded})


def trial_samples(data: Dataset) -> tuple[list[Sample], list[Sample]]:
    """Return samples to calibrate with and others to measure with, of the first few.

    Where there are fewer than four, they are the same.
    """
    few = list(itertools.islice(data, TRIAL_SAMPLES))
    if len(few) < 4:
        return few, few
    return [s for at, s in enumerate(few) if at % 4 != 3], few[3::4]


def answers(model: ir.Model, samples: Dataset) -> list[Sample]:
    """Return the model's outputs in onnxruntime, of every run."""
    run = ModelRunner(model, [str(value.name) for value in model.graph.outputs])
    return [run(batch) for batch, _ in samples.batches()]


def sqnr_db(wanted: Sequence[Sample], got: Sequence[Sample]) -> float:
    """Return the least SQNR of an output over all runs."""
    found = []
    for name in wanted[0]:
        deviation = Deviation()
        for reference, outputs in zip(wanted, got, strict=True):
            deviation.add(reference[name], outputs[name])
        found.append(deviation.sqnr_db)
    return min(found)


def _is_sized(node: ir.Node) -> bool:
    return all(has_sizes(value) for value in (*node.inputs[:2], *node.outputs[:1]))
