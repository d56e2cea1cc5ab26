"""ResNet-50 with random weights: K. He et al., "Deep residual learning", 2015.

The stride is in the 3x3 convolution of a block, as in torchvision (version 1.5).
"""

from __future__ import annotations

import onnx

from random_network import PRODUCER, RandomNetwork, Statistics, statistics

NAME = "resnet50"
CLASSES = 1000
STEM = 64
STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))
"""Blocks, inner channels, stride of the first block."""
EXPANSION = 4
BRANCH_GAIN = 0.4


def resnet50() -> onnx.ModelProto:
    """Return the model: `input` Nx3x224x224 to `logits` Nx1000."""
    measured = statistics(_network(), CLASSES)
    return _network(measured).graph.model("logits", (CLASSES,), PRODUCER)


def _network(measured: Statistics | None = None) -> RandomNetwork:
    network = RandomNetwork(NAME, measured)
    value = _relu(network, network.conv("input", "stem", (3, STEM), kernel=7, stride=2))
    window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    value = network.graph.node("MaxPool", [value], "stem.pool", **window)
    channels = STEM
    for stage, (blocks, inner, stride) in enumerate(STAGES):
        for block in range(blocks):
            name = f"stage{stage}.block{block}"
            value = _block(network, value, name, (channels, inner), 1 if block else stride)
            channels = inner * EXPANSION
    network.classifier(value, channels, CLASSES)
    return network


def _block(
    network: RandomNetwork, value: str, name: str, channels: tuple[int, int], stride: int
) -> str:
    source, (made, inner) = value, channels
    outer = inner * EXPANSION
    value = _relu(network, network.conv(value, f"{name}.reduce", (made, inner)))
    value = network.conv(value, f"{name}.conv", (inner, inner), kernel=3, stride=stride)
    value = _relu(network, value)
    value = network.conv(value, f"{name}.expand", (inner, outer), gain=BRANCH_GAIN)
    if made != outer:
        source = network.conv(source, f"{name}.shortcut", (made, outer), stride=stride)
    return _relu(network, network.graph.node("Add", [value, source], f"{name}.add"))


def _relu(network: RandomNetwork, value: str) -> str:
    return network.graph.node("Relu", [value], f"{value}.relu")
