"""Turn a Keras .h5 file of a small convolutional network into float32 ONNX.

TensorFlow is not needed. The input stays channels-last, as Keras has it, with a Transpose
behind it; inside, the model is channels-first, as ONNX has it.
"""

from __future__ import annotations

import io
import json
import math
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import onnx

from onnx_graph import OnnxGraph, same_pads
from qcompile.errors import CompileError

Layer = dict[str, Any]
Shape = tuple[int, ...]

ACTIVATIONS = {"relu": ("Relu", {}), "softmax": ("Softmax", {"axis": -1})}


def keras_to_onnx(data: bytes, name: str, producer: str) -> onnx.ModelProto:
    """Return the model: `input` channels-last to the last layer's output.

    Raises:
        CompileError: It has a layer that is not known here.
    """
    with h5py.File(io.BytesIO(data)) as file:
        layers = json.loads(file.attrs["model_config"])["config"]["layers"]
        return _Converter(file["model_weights"], layers, name).convert(producer)


class _Converter:
    """Adds one layer after the other; all layers are in order of their dependencies.

    Each layer's value and shape (channels first, no batch) are known by the layer's name.
    """

    def __init__(self, weights: Any, layers: list[Layer], name: str) -> None:
        self._weights = weights
        self._layers = layers
        self._input: Shape = tuple(layers[0]["config"]["batch_input_shape"][1:])
        self._graph = OnnxGraph(name, self._input)
        self._values: dict[str, str] = {}
        self._shapes: dict[str, Shape] = {}
        self._known = {
            "InputLayer": self._input_layer,
            "Conv2D": self._conv,
            "BatchNormalization": self._batch_norm,
            "Activation": self._activation_layer,
            "Add": self._add,
            "AveragePooling2D": self._average_pool,
            "Flatten": self._flatten,
            "Dense": self._dense,
        }

    def convert(self, producer: str) -> onnx.ModelProto:
        for layer in self._layers:
            kind, config = layer["class_name"], layer["config"]
            if kind not in self._known:
                raise CompileError(f"a layer of class {kind}", where=config["name"])
            sources = [edge[0] for edge in (layer["inbound_nodes"] or [[]])[0]]
            value, shape = self._known[kind](config, sources)
            self._values[config["name"]], self._shapes[config["name"]] = value, shape
        last = self._layers[-1]["config"]["name"]
        return self._graph.model(self._values[last], self._shapes[last], producer)

    def _input_layer(self, config: Layer, sources: list[str]) -> tuple[str, Shape]:
        height, width, channels = self._input
        value = self._graph.node("Transpose", ["input"], "channels_first", perm=[0, 3, 1, 2])
        return value, (channels, height, width)

    def _conv(self, config: Layer, sources: list[str]) -> tuple[str, Shape]:
        name, (source,) = config["name"], sources
        kernel, bias = self._arrays(name)
        inputs = [
            self._values[source],
            self._graph.constant(f"{name}.weight", kernel.transpose(3, 2, 0, 1)),
            self._graph.constant(f"{name}.bias", bias),
        ]
        window, sizes = self._window(config, source, config["kernel_size"])
        value = self._graph.node("Conv", inputs, name, **window)
        return self._activate(config, value), (kernel.shape[3], *sizes)

    def _average_pool(self, config: Layer, sources: list[str]) -> tuple[str, Shape]:
        (source,) = sources
        window, sizes = self._window(config, source, config["pool_size"])
        value = self._graph.node(
            "AveragePool", [self._values[source]], config["name"], **window
        )
        return value, (self._shapes[source][0], *sizes)

    def _window(
        self, config: Layer, source: str, kernel: list[int]
    ) -> tuple[dict[str, list[int]], Shape]:
        size, stride = self._shapes[source][1:], config["strides"]
        window = {"kernel_shape": kernel, "strides": stride}
        if config["padding"] == "same":
            window["pads"] = same_pads(size, kernel, stride)
            return window, tuple(-(-n // s) for n, s in zip(size, stride, strict=True))
        sizes = ((n - k) // s + 1 for n, k, s in zip(size, kernel, stride, strict=True))
        return window, tuple(sizes)

    def _batch_norm(self, config: Layer, sources: list[str]) -> tuple[str, Shape]:
        name, (source,) = config["name"], sources
        parts = zip(("scale", "bias", "mean", "var"), self._arrays(name), strict=True)
        constants = [self._graph.constant(f"{name}.{part}", array) for part, array in parts]
        value = self._graph.node(
            "BatchNormalization",
            [self._values[source], *constants],
            name,
            epsilon=float(config["epsilon"]),
        )
        return value, self._shapes[source]

    def _activation_layer(self, config: Layer, sources: list[str]) -> tuple[str, Shape]:
        (source,) = sources
        return self._activate(config, self._values[source]), self._shapes[source]

    def _activate(self, config: Layer, value: str) -> str:
        if config["activation"] == "linear":
            return value
        op_type, attributes = ACTIVATIONS[config["activation"]]
        name = f"{config['name']}.{config['activation']}"
        return self._graph.node(op_type, [value], name, **attributes)

    def _add(self, config: Layer, sources: list[str]) -> tuple[str, Shape]:
        inputs = [self._values[source] for source in sources]
        return self._graph.node("Add", inputs, config["name"]), self._shapes[sources[0]]

    def _flatten(self, config: Layer, sources: list[str]) -> tuple[str, Shape]:
        name, (source,) = config["name"], sources
        last = self._graph.node(
            "Transpose", [self._values[source]], f"{name}.channels_last", perm=[0, 2, 3, 1]
        )
        value = self._graph.node("Flatten", [last], name, axis=1)
        return value, (math.prod(self._shapes[source]),)

    def _dense(self, config: Layer, sources: list[str]) -> tuple[str, Shape]:
        name, (source,) = config["name"], sources
        kernel, bias = self._arrays(name)
        weight = self._graph.constant(f"{name}.weight", kernel)
        product = self._graph.node("MatMul", [self._values[source], weight], f"{name}.matmul")
        constant = self._graph.constant(f"{name}.bias", bias)
        value = self._graph.node("Add", [product, constant], name)
        return self._activate(config, value), (kernel.shape[1],)

    def _arrays(self, layer: str) -> list[npt.NDArray[np.float32]]:
        group = self._weights[layer]
        return [np.asarray(group[name]) for name in group.attrs["weight_names"]]
