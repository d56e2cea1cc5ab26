"""From a float graph to its quantized one: by the recipe that was asked for, or found best."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator

import onnx_ir as ir

from qcompile.calibration.calibrate import calibrate
from qcompile.calibration.channel_maxima import channel_maxima
from qcompile.calibration.outliers import warnings_of
from qcompile.config import CompileConfig
from qcompile.data.dataset import Data, Dataset, Preprocess, input_specs, load_data
from qcompile.errors import CalibrationWarning, CompileError
from qcompile.graphs.portable import portable
from qcompile.passes.choose_schemes import ChooseSchemes, observed_values
from qcompile.passes.insert_dynamic import InsertDynamic
from qcompile.passes.insert_observers import InsertObservers
from qcompile.passes.insert_qdq import InsertQdq
from qcompile.passes.smooth_activations import SmoothActivations, smoothed_values
from qcompile.pipeline import AfterPass, run_passes
from qcompile.recipes import (
    CONVOLUTIONAL,
    Candidate,
    Choice,
    answers,
    candidates,
    choose,
    describe_share,
    matrix_share,
    sqnr_db,
    stated,
    trial_samples,
    tried_bar,
    without_data,
)
from qcompile.schemes.claims import outliers
from qcompile.stages import Stages
from qcompile.target import Target


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantized:
    """A QDQ graph and how it came about; a foreign one brings its scales along.

    Attributes:
        graph: The graph.
        choice: The config that led to it, and why that one.
        data: What it was calibrated with.
        warnings: What of that its ranges leave out.
    """

    graph: ir.Model
    choice: Choice
    data: Dataset | None = None
    warnings: tuple[str, ...] = ()


def is_quantized(graph: ir.Graph) -> bool:
    """Whether a model comes with its own activation scales, or measures them as it runs."""
    return any(node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear") for node in graph)


def quantize(
    model: ir.Model,
    target: Target,
    config: CompileConfig,
    calibration: Data | None,
    preprocess: Preprocess | None,
    stages: Stages,
    after: AfterPass | None,
) -> Quantized:
    """Take a model after the float passes to its QDQ graph.

    Args:
        model: The model; it may be changed.
        target: What is quantized for.
        config: The user's choices.
        calibration: Samples; None where the recipe needs none.
        preprocess: What turns stored samples into what the model wants.
        stages: Times the steps.
        after: Called after every pass.

    Raises:
        CompileError: The model, the data or the config is at fault.
    """
    if is_quantized(model.graph):
        return Quantized(graph=model, choice=stated(config, "the model brings its scales"))
    if isinstance(calibration, Iterator) and (config.recipe == "auto" or config.smooth):
        calibration = list(calibration)  # it is gone through more than once
    choice = stated(config)
    if config.recipe == "auto":
        choice = _chosen(model, target, config, calibration, preprocess, stages)
    return _quantize_as(model, target, choice, calibration, preprocess, stages, after)


def _chosen(
    model: ir.Model,
    target: Target,
    config: CompileConfig,
    calibration: Data | None,
    preprocess: Preprocess | None,
    stages: Stages,
) -> Choice:
    """Return what "auto" stands for, after a trial if the model is one of matrix products."""
    share = matrix_share(model.graph)
    tried = candidates(config)
    if share <= CONVOLUTIONAL:
        return stated(config, describe_share(share))
    if not observed_values(model.graph, target, tried[0].config):
        return stated(config, "nothing of it runs in integers")
    if calibration is None:
        return without_data(share, tried[-1])
    specs = input_specs(model)
    with stages.stage("choose recipe"), tried_bar(tried, stages.progress) as bar:
        ranges, tests = trial_samples(load_data(calibration, specs, preprocess=preprocess))
        wanted = answers(model, load_data(tests, specs))

        def measure(candidate: Candidate) -> float:
            bar(candidate)
            quiet, choice = Stages(progress=False), stated(candidate.config)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CalibrationWarning)
                trial = _quantize_as(model.clone(), target, choice, ranges, None, quiet, None)
            return sqnr_db(wanted, answers(portable(trial.graph), load_data(tests, specs)))

        return choose(share, tried, measure)


def _quantize_as(
    model: ir.Model,
    target: Target,
    choice: Choice,
    calibration: Data | None,
    preprocess: Preprocess | None,
    stages: Stages,
    after: AfterPass | None,
) -> Quantized:
    """Quantize by one recipe."""
    config = choice.config
    dynamic = config.recipe == "dynamic-int8"
    static = not dynamic and bool(observed_values(model.graph, target, config))
    data = None
    observations = {}
    if static or (dynamic and config.smooth is not None):
        if calibration is None:
            raise CompileError(
                "a float model needs calibration data",
                where="--calib",
                hint="give samples of its input: --calib DATA.npz",
            )
        data = load_data(calibration, input_specs(model), preprocess=preprocess)
        if config.smooth is not None:
            with stages.stage("smooth"):
                model = _smooth(model, config.smooth, data, stages, after)
    if dynamic:
        with stages.stage("schemes"):
            model = run_passes(model, [InsertDynamic(config)], after)
        return Quantized(graph=model, choice=choice, data=data)
    if data is not None:
        names = observed_values(model.graph, target, config)
        with stages.stage("calibrate"):
            observed = InsertObservers(frozenset(names))(model.clone()).model
            observations = calibrate(observed, data, names, progress=stages.progress)
    with stages.stage("schemes"):
        model = run_passes(model, [ChooseSchemes(target, observations, config)], after)
        texts = warnings_of(outliers(model.graph))
        for text in texts:
            warnings.warn(text, CalibrationWarning, stacklevel=4)
        model = run_passes(model, [InsertQdq()], after)
        return Quantized(graph=model, choice=choice, data=data, warnings=tuple(texts))


def _smooth(
    model: ir.Model, alpha: float, data: Dataset, stages: Stages, after: AfterPass | None
) -> ir.Model:
    """Return the model with its activations smoothed."""
    names = smoothed_values(model.graph)
    observed = InsertObservers(frozenset(names))(model.clone()).model
    maxima = channel_maxima(observed, data, names, progress=stages.progress)
    return run_passes(model, [SmoothActivations(maxima, alpha)], after)
