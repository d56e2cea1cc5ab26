"""A network that tells a file's kind by its bytes, with random weights.

The layers are those of Magika (Y. Fratantonio et al., "Magika: AI-powered content-type
detection", 2024): an embedding of bytes, four of them side by side, two dense layers between
layer normalizations, the maximum over all places, the classes. No weights of it are here.
"""

from __future__ import annotations

import numpy as np
import onnx

from benchmark_model import Sample
from onnx_graph import OnnxGraph
from pictures import SCIKIT_IMAGE, SCIKIT_LEARN
from random_network import PRODUCER

BYTES, KINDS = 2048, 214
PAD = 256
"""What is after the end of a short file."""
EMBEDDING, SIDE_BY_SIDE, WIDTH = 64, 4, 256
SEED = 0


def byte_classifier() -> onnx.ModelProto:
    """Return the model: `bytes` int32 Nx2048 to `shares` Nx214."""
    random = np.random.default_rng(SEED)
    graph = OnnxGraph("byte_classifier")

    def weight(name: str, shape: tuple[int, ...], deviation: float) -> str:
        return graph.constant(name, random.normal(0, deviation, shape).astype(np.float32))

    def dense(value: str, name: str, shape: tuple[int, int]) -> str:
        kernel = weight(f"{name}.kernel", shape, (2 / shape[0]) ** 0.5)
        product = graph.node("MatMul", [value, kernel], f"{name}.matmul")
        return graph.node("Add", [product, weight(f"{name}.bias", shape[1:], 0.1)], name)

    def norm(value: str, name: str) -> str:
        scale = np.exp(random.normal(0, 0.3, WIDTH)).astype(np.float32)
        inputs = [value, graph.constant(f"{name}.scale", scale)]
        inputs.append(weight(f"{name}.bias", (WIDTH,), 0.1))
        return graph.node("LayerNormalization", inputs, name, axis=-1, epsilon=1e-6)

    table = weight("embedding.table", (PAD + 1, EMBEDDING), 1.0)
    value = graph.node("Gather", [table, graph.input("bytes", [BYTES], np.int32)], "embedding")
    places = (0, BYTES // SIDE_BY_SIDE, EMBEDDING * SIDE_BY_SIDE)
    shape = graph.constant("places", np.array(places, np.int64))
    value = norm(graph.node("Reshape", [value, shape], "side_by_side"), "norm0")
    for layer in range(2):
        value = dense(value, f"dense{layer}", (WIDTH, WIDTH))
        value = graph.node("Relu", [value], f"relu{layer}")
    largest = graph.node("ReduceMax", [value], "largest", axes=[1], keepdims=0)
    logits = dense(norm(largest, "norm1"), "classifier", (WIDTH, KINDS))
    shares = graph.node("Softmax", [logits], "shares", axis=-1)
    return graph.model(shares, (KINDS,), PRODUCER)


def calibration_files(count: int) -> list[Sample]:
    """Return files of one package as the model takes them."""
    members = SCIKIT_IMAGE.members("skimage/")
    return [_input(SCIKIT_IMAGE.read(name)) for name in _spread(members, count)]


def test_files(count: int) -> list[Sample]:
    """Return files of another package as the model takes them."""
    members = SCIKIT_LEARN.members("sklearn/")
    return [_input(SCIKIT_LEARN.read(name)) for name in _spread(members, count)]


def _spread(names: list[str], count: int) -> list[str]:
    """Return that many names, from all over the list."""
    files = [name for name in names if not name.endswith("/")]
    return files[:: max(len(files) // count, 1)][:count]


def _input(data: bytes) -> Sample:
    """Return the first and the last bytes of a file, 1024 each."""
    half = BYTES // 2
    places = np.full((1, BYTES), PAD, np.int32)
    first, last = data[:half], data[-half:]
    places[0, : len(first)] = list(first)
    places[0, BYTES - len(last) :] = list(last)
    return {"bytes": places}
