"""The order of the passes, in one place, and the way from an ONNX model to a compiled one."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx_ir.passes import PassBase, common

from qcompile import oracle
from qcompile.artifact import Golden, graph_bytes
from qcompile.artifact.manifest import make_manifest
from qcompile.config import CompileConfig
from qcompile.data.dataset import Data, Dataset, Preprocess, input_specs
from qcompile.device import Device
from qcompile.errors import CompileError
from qcompile.files import check_writable
from qcompile.graphs.portable import portable
from qcompile.importer.load_model import load_model
from qcompile.model import CompiledModel
from qcompile.passes.cancel_qdq import CancelQdq
from qcompile.passes.fold_batch_norm import FoldBatchNorm
from qcompile.passes.fold_channel_affine import FoldChannelAffine
from qcompile.passes.fold_dynamic import FoldDynamic
from qcompile.passes.fold_pad import FoldPad
from qcompile.passes.fold_qdq import FoldQdq
from qcompile.passes.fold_scalar_factors import FoldScalarFactors
from qcompile.passes.fold_scaling_conv import FoldScalingConv
from qcompile.passes.fold_weight_qdq import FoldWeightQdq
from qcompile.passes.fuse_float_residual import FuseFloatResidual
from qcompile.passes.fuse_gelu import FuseGelu
from qcompile.passes.fuse_hard_swish import FuseHardSwish
from qcompile.passes.fuse_layer_norm import FuseLayerNorm
from qcompile.passes.fuse_matmul_bias import FuseMatMulBias
from qcompile.passes.lower_conv_1d import LowerConv1d
from qcompile.passes.lower_conv_transpose import LowerConvTranspose
from qcompile.passes.lower_depth_to_space import LowerDepthToSpace
from qcompile.passes.lower_gemm import LowerGemm
from qcompile.passes.lower_recurrent import LowerRecurrent
from qcompile.passes.merge_activations import MergeActivations
from qcompile.passes.merge_transposes import MergeTransposes
from qcompile.passes.prelu_to_leaky_relu import PReluToLeakyRelu
from qcompile.passes.propagate_qdq import PropagateQdq
from qcompile.passes.reduce_mean_to_pool import ReduceMeanToPool
from qcompile.passes.remove_casts import RemoveCasts
from qcompile.passes.remove_identities import RemoveIdentities
from qcompile.passes.resolve_auto_pad import ResolveAutoPad
from qcompile.passes.retarget_activations import RetargetActivations
from qcompile.passes.split_to_slices import SplitToSlices
from qcompile.passes.sum_to_add import SumToAdd
from qcompile.passes.widen_resize import WidenResize
from qcompile.pipeline import AfterPass, run_passes
from qcompile.quantization import Quantized, is_quantized, quantize
from qcompile.stages import Stages
from qcompile.target import Target
from qcompile.targets import find_target
from qcompile.tuning import check_measurable, tune_graph, tuned_target, with_log
from qcompile.tuning_guard import faster
from qcompile.tuning_report import TuneReport
from qcompile.validation.golden_run import golden_run
from qcompile.validation.reference import fingerprint

Source = Path | str | onnx.ModelProto | ir.Model
Array = npt.NDArray[np.generic]

SEED = 0
"""Of the golden input, where no data was given."""


def float_passes() -> tuple[PassBase, ...]:
    """Return the passes that a float or a QDQ model goes through first, in order."""
    return (
        LowerRecurrent(),
        ResolveAutoPad(),
        RemoveCasts(),
        RemoveIdentities(),
        LowerGemm(),
        SplitToSlices(),
        LowerDepthToSpace(),
        WidenResize(),
        PReluToLeakyRelu(),
        SumToAdd(),
        ReduceMeanToPool(),
        MergeTransposes(),
        FoldPad(),
        MergeActivations(),
        FuseHardSwish(),
        FuseGelu(),
        FuseLayerNorm(),
        FoldChannelAffine(),
        FoldBatchNorm(),
        FoldChannelAffine(),
        FoldScalingConv(),
        FuseMatMulBias(),
        FoldScalarFactors(),
        LowerConv1d(),
        LowerConvTranspose(),
        MergeActivations(),
        RemoveIdentities(),
        common.RemoveUnusedNodesPass(),
    )


def integer_passes(target: Target, config: CompileConfig) -> tuple[PassBase, ...]:
    """Return the passes from the QDQ graph to the integer graph, in order."""
    return (
        FoldWeightQdq(),
        RetargetActivations(target, config),
        PropagateQdq(target, config),
        CancelQdq(),
        FoldDynamic(),
        FoldQdq(target, config),
        FuseFloatResidual(),
        *target.extra_passes,
        common.RemoveUnusedNodesPass(),
    )


def quantize_model(
    source: Source,
    target: str | Target,
    *,
    calibration: Data | None = None,
    config: CompileConfig | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    preprocess: Preprocess | None = None,
    progress: bool = False,
    after: AfterPass | None = None,
) -> ir.Model:
    """Return the model as a standard QDQ ONNX graph, with the target's schemes.

    Args and errors are those of `compile_model`.
    """
    stages = Stages(progress=progress)
    target = _target(target)
    config = config or CompileConfig()
    with stages.stage("import"):
        model = load_model(source, shapes)
        config.check_patterns(model.graph)
    with stages.stage("float passes"):
        model = run_passes(model, float_passes(), after)
    quantized = quantize(model, target, config, calibration, preprocess, stages, after)
    return portable(quantized.graph)


def compile_model(
    source: Source,
    target: str | Target,
    *,
    calibration: Data | None = None,
    config: CompileConfig | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    preprocess: Preprocess | None = None,
    tune: float | None = None,
    tune_log: Path | str | None = None,
    progress: bool = False,
    after: AfterPass | None = None,
) -> CompiledModel:
    """Compile a float or a QDQ model.

    Args:
        source: An ONNX file or model in memory; it is not changed.
        target: A target or its name (`qcompile.targets`).
        calibration: Samples that show the range of every activation; a float model needs
            them, a QDQ model has its scales and takes none.
        config: The user's choices.
        shapes: Static shapes of inputs that leave some open.
        preprocess: What turns stored samples into what the model wants.
        tune: Seconds to measure tile sizes for on this machine; None measures nothing.
        tune_log: A tuning log, which goes over the one in the package; `tune` adds to it.
        progress: Show steps and a progress bar on stderr, where that is a terminal.
        after: Called after every pass.

    Raises:
        CompileError: The model, the data, the config or the target is at fault.
    """
    stages = Stages(progress=progress)
    target = _target(target)
    config = config or CompileConfig()
    log = Path(tune_log) if tune_log is not None else None
    if tune is None:
        with_log(target, log)  # so that a log which cannot be read is refused at once
    quantized, integer_graph = _integers(
        source, target, calibration, config, shapes, preprocess, stages, after
    )
    with stages.stage("tune") if tune is not None else contextlib.nullcontext():
        tuned = tuned_target(integer_graph, target, tune, log, progress=progress)
    with stages.stage("build"):
        built = tuned.lowering.build(integer_graph)
    with stages.stage("golden run"):
        golden = _golden(target, integer_graph, built.library, quantized.data)
    if tune is not None:
        with stages.stage("build untuned"):
            untuned = target.lowering.build(integer_graph)
        built = faster(built, untuned, target, integer_graph, golden.inputs)
    qdq_graph = portable(quantized.graph)
    manifest = make_manifest(
        target=target,
        model_sha256=_fingerprint(source),
        calibration_sha256=quantized.data.digest if quantized.data is not None else None,
        config=dataclasses.asdict(config),
        recipe=quantized.choice.report,
        seeds={"golden input": SEED} if quantized.data is None else {},
        integer_graph=integer_graph,
        qdq_graph=qdq_graph,
        kernels=built.kernels,
        tuning=built.tuning,
    )
    return CompiledModel(
        target=target,
        integer_graph=integer_graph,
        qdq_graph=qdq_graph,
        library=built.library,
        manifest=manifest,
        golden=golden,
        seconds=stages.seconds,
        warnings=quantized.warnings,
    )


def tune_model(
    source: Source,
    target: str | Target,
    log: Path | str,
    *,
    calibration: Data | None = None,
    config: CompileConfig | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    preprocess: Preprocess | None = None,
    seconds: float | None = None,
    device: Device | None = None,
    progress: bool = False,
    after: AfterPass | None = None,
) -> TuneReport:
    """Measure the tile sizes of a model's kernels and append the best to a tuning log.

    Args:
        source: As in `compile_model`.
        target: Likewise.
        log: The log; what it knows already is not measured again.
        calibration: As in `compile_model`. Kernels hang on shapes, hardly on ranges: a float
            model without data is calibrated with random numbers.
        config: As in `compile_model`.
        shapes: Likewise.
        preprocess: Likewise.
        seconds: How long measuring may take; None takes what it takes.
        device: Where the kernels are measured; None is this process.
        progress: As in `compile_model`.
        after: Likewise.

    Raises:
        CompileError: As in `compile_model`; or the log cannot be written.
    """
    target, path = _target(target), Path(log)
    check_writable(path)
    check_measurable(target, device)
    model = load_model(source, shapes)
    if calibration is None and not is_quantized(model.graph):
        calibration = [_random_inputs(model)]
    _, graph = _integers(
        model,
        target,
        calibration,
        config or CompileConfig(),
        None,
        preprocess,
        Stages(progress=progress),
        after,
    )
    return tune_graph(graph, target, path, seconds=seconds, device=device, progress=progress)


def _integers(
    source: Source,
    target: Target,
    calibration: Data | None,
    config: CompileConfig,
    shapes: Mapping[str, Sequence[int]] | None,
    preprocess: Preprocess | None,
    stages: Stages,
    after: AfterPass | None,
) -> tuple[Quantized, ir.Model]:
    """Return the QDQ graph with what led to it, and the integer graph."""
    with stages.stage("import"):
        model = load_model(source, shapes)
        config.check_patterns(model.graph)
    with stages.stage("float passes"):
        model = run_passes(model, float_passes(), after)
    quantized = quantize(model, target, config, calibration, preprocess, stages, after)
    with stages.stage("fold"):
        integer_graph = run_passes(
            quantized.graph.clone(), integer_passes(target, quantized.choice.config), after
        )
    return quantized, integer_graph


def _target(target: str | Target) -> Target:
    return find_target(target) if isinstance(target, str) else target


def _golden(target: Target, model: ir.Model, library: bytes, data: Dataset | None) -> Golden:
    """Run on the first samples, or on random numbers; on ones where a model takes no others.

    Random integers may divide by zero, or be no index of any table.
    """
    if data is not None and data.first_batch is not None:
        return golden_run(target, model, library, data.first_batch)
    specs, inputs = input_specs(model), _random_inputs(model)
    if all(np.dtype(spec.dtype).kind == "f" for spec in specs):
        return golden_run(target, model, library, inputs)
    try:
        oracle.run(model, inputs)
    except CompileError:
        inputs = {spec.name: np.ones(spec.shape, spec.dtype) for spec in specs}
    return golden_run(target, model, library, inputs)


def _random_inputs(model: ir.Model) -> dict[str, Array]:
    random = np.random.default_rng(SEED)
    return {
        spec.name: np.asarray(random.standard_normal(spec.shape), dtype=spec.dtype)
        for spec in input_specs(model)
    }


def _fingerprint(source: Source) -> str:
    if isinstance(source, ir.Model):
        return fingerprint(graph_bytes(source))
    if isinstance(source, onnx.ModelProto):
        return fingerprint(source.SerializeToString(deterministic=True))
    return fingerprint(Path(source))
