"""The onnx wheel's own models: nine well-known networks in old opsets, all weights 0.02.

They show what can be imported and compiled. What they compute means nothing.
"""

from __future__ import annotations

import numpy as np
import onnx

from benchmark_model import Sample
from packages import Package
from pictures import imagenet_like

PACKAGE = Package(
    "onnx", "1.23.2", "c03ecf6b835d136108eeaeeafbd0026fc7b3cf98661409fbc6b63d5a29361348"
)
FOLDER = "onnx/backend/test/data/light"
NETWORKS = (
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
)


def light(network: str) -> onnx.ModelProto:
    """Return one of them: an input 1x3x224x224 to 1000 classes."""
    return onnx.load_from_string(PACKAGE.read(f"{FOLDER}/light_{network}.onnx"))


def light_samples(network: str, count: int) -> list[Sample]:
    """Return pictures as the network takes them."""
    graph = light(network).graph
    constants = {tensor.name for tensor in graph.initializer}
    (name,) = (value.name for value in graph.input if value.name not in constants)
    return [{name: np.asarray(picture[None])} for picture in imagenet_like(count)]
