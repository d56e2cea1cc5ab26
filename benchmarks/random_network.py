"""Networks with the right layers and random weights, in a realistic distribution.

Speed does not depend on what weights were learned, and ranges hardly do where activations stay
sane. So weights are He's (K. He et al., "Delving deep into rectifiers", 2015), each channel
with a scale of its own, as trained networks have; and the statistics of every batch
normalization are those that pictures give there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from onnx_graph import OnnxGraph
from pictures import imagenet_like
from qcompile.validation.reference import open_session

Array = npt.NDArray[np.float32]
Statistics = dict[str, Array]

SIDE = 224
PICTURES = 8
"""Pictures that the statistics are of."""
EPSILON = 1e-5
SEED = 0
PRODUCER = "random weights"
SPREAD = 0.5
"""Standard deviation of the logarithm of a channel's scale."""


class RandomNetwork:
    """A network of convolutions under construction.

    It is built twice. Without statistics a batch normalization is written out in mean and
    variance of its input, which become outputs of the model; with them it is one node.
    """

    def __init__(self, name: str, statistics: Statistics | None = None) -> None:
        """Begin with `input` Nx3x224x224.

        Args:
            name: The graph's name.
            statistics: Value name -> what it was, of the first time.
        """
        self.graph = OnnxGraph(name, (3, SIDE, SIDE))
        self.measured: list[str] = []
        self._statistics = statistics
        self._random = np.random.default_rng(SEED)

    def conv(
        self,
        value: str,
        name: str,
        channels: tuple[int, int],
        *,
        kernel: int = 1,
        stride: int = 1,
        group: int = 1,
        gain: float = 1.0,
    ) -> str:
        """Add a convolution, padded to keep the size, and its normalization.

        Args:
            value: What it reads.
            name: The layer's name.
            channels: Of input and output.
            kernel: Height and width of the window.
            stride: Of the window.
            group: Of the channels.
            gain: Mean of the normalization's scales; small at the end of a residual branch.
        """
        source, made = channels
        shape = (made, source // group, kernel, kernel)
        scales = np.exp(self._random.normal(0, SPREAD, (made, 1, 1, 1)))
        weight = self._normal(shape, (2 / np.prod(shape[1:])) ** 0.5) * scales
        value = self.graph.node(
            "Conv",
            [value, self.graph.constant(f"{name}.weight", weight.astype(np.float32))],
            name,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
            group=group,
        )
        return self._norm(value, f"{name}.norm", made, gain)

    def classifier(self, value: str, channels: int, classes: int) -> str:
        """Add the mean over the picture and a dense layer, `logits`."""
        graph = self.graph
        value = graph.node("GlobalAveragePool", [value], "pool")
        value = graph.node("Flatten", [value], "flat", axis=1)
        weight = self._normal((classes, channels), channels**-0.5)
        bias = self._normal((classes,), 0.1)
        inputs = [value, graph.constant("fc.weight", weight), graph.constant("fc.bias", bias)]
        return graph.node("Gemm", inputs, "logits", transB=1)

    def _norm(self, value: str, name: str, channels: int, gain: float) -> str:
        graph = self.graph
        scale = gain * self._random.uniform(0.5, 1.5, channels)
        bias = self._normal((channels,), 0.3)
        parts = [graph.constant(f"{name}.scale", scale.astype(np.float32))]
        parts.append(graph.constant(f"{name}.bias", bias))
        mean, variance = f"{name}.mean", f"{name}.variance"
        self.measured += [mean, variance]
        if self._statistics is not None:
            parts += [
                graph.constant(each, self._statistics[each]) for each in (mean, variance)
            ]
            inputs = [value, *parts]
            return graph.node("BatchNormalization", inputs, name, epsilon=EPSILON)
        return self._measured_norm(value, name, parts)

    def _measured_norm(self, value: str, name: str, parts: Sequence[str]) -> str:
        """Return (x - mean) / sqrt(variance + EPSILON) * scale + bias, over N, H and W."""
        graph = self.graph
        axes = graph.constant("axes", np.array([1, 2], np.int64))
        epsilon = graph.constant("epsilon", np.float32(EPSILON))
        over = {"axes": [0, 2, 3], "keepdims": 0}
        mean = graph.node("ReduceMean", [value], f"{name}.mean", **over)
        wide = graph.node("Unsqueeze", [mean, axes], f"{name}.mean.wide")
        centred = graph.node("Sub", [value, wide], f"{name}.centred")
        squared = graph.node("Mul", [centred, centred], f"{name}.squared")
        variance = graph.node("ReduceMean", [squared], f"{name}.variance", **over)
        safe = graph.node("Add", [variance, epsilon], f"{name}.safe")
        deviation = graph.node("Sqrt", [safe], f"{name}.deviation")
        factors = [
            graph.node("Unsqueeze", [each, axes], f"{each}.wide")
            for each in (deviation, *parts)
        ]
        normal = graph.node("Div", [centred, factors[0]], f"{name}.normal")
        scaled = graph.node("Mul", [normal, factors[1]], f"{name}.scaled")
        return graph.node("Add", [scaled, factors[2]], name)

    def _normal(self, shape: tuple[int, ...], deviation: float) -> Array:
        return self._random.normal(0, deviation, shape).astype(np.float32)


def statistics(network: RandomNetwork, classes: int) -> Statistics:
    """Return what every normalization of a network built without statistics measures."""
    model = network.graph.model("logits", (classes,), PRODUCER)
    del model.graph.output[:]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in network.measured
    )
    session = open_session(model.SerializeToString(), where=model.graph.name)
    arrays = session.run(network.measured, {"input": imagenet_like(PICTURES)})
    return dict(zip(network.measured, arrays, strict=True))
