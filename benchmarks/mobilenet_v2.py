"""MobileNetV2 with random weights: M. Sandler et al., "Inverted residuals", 2018."""

from __future__ import annotations

import numpy as np
import onnx

from random_network import PRODUCER, RandomNetwork, Statistics, statistics

NAME = "mobilenet_v2"
CLASSES = 1000
STEM, HEAD = 32, 1280
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks, stride of the first block: table 2 of the paper."""
BRANCH_GAIN = 0.4


def mobilenet_v2() -> onnx.ModelProto:
    """Return the model: `input` Nx3x224x224 to `logits` Nx1000."""
    measured = statistics(_network(), CLASSES)
    return _network(measured).graph.model("logits", (CLASSES,), PRODUCER)


def _network(measured: Statistics | None = None) -> RandomNetwork:
    network = RandomNetwork(NAME, measured)
    value = _relu6(network, network.conv("input", "stem", (3, STEM), kernel=3, stride=2))
    source = STEM
    for stage, (expansion, made, blocks, first) in enumerate(STAGES):
        for block in range(blocks):
            name, stride = f"stage{stage}.block{block}", 1 if block else first
            value = _block(network, value, name, (source, source * expansion, made), stride)
            source = made
    value = _relu6(network, network.conv(value, "head", (source, HEAD)))
    network.classifier(value, HEAD, CLASSES)
    return network


def _block(
    network: RandomNetwork, value: str, name: str, channels: tuple[int, int, int], stride: int
) -> str:
    """Add a block; the channels are of its input, its inside and its output."""
    begin, (source, wide, made) = value, channels
    if wide != source:
        value = _relu6(network, network.conv(value, f"{name}.expand", (source, wide)))
    depthwise = network.conv(
        value, f"{name}.depthwise", (wide, wide), kernel=3, stride=stride, group=wide
    )
    residual = stride == 1 and source == made
    gain = BRANCH_GAIN if residual else 1.0
    value = network.conv(
        _relu6(network, depthwise), f"{name}.project", (wide, made), gain=gain
    )
    return network.graph.node("Add", [value, begin], f"{name}.add") if residual else value


def _relu6(network: RandomNetwork, value: str) -> str:
    zero = network.graph.constant("zero", np.float32(0))
    six = network.graph.constant("six", np.float32(6))
    return network.graph.node("Clip", [value, zero, six], f"{value}.relu6")
