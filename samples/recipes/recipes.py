"""The recipes: one transformer block, static, dynamic and what `auto` takes, with their SQNR.

python samples/recipes/recipes.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx

import qcompile
from qcompile.config import CompileConfig

MODEL = """
< ir_version: 10, opset_import: ["" : 21] >
block (float[1, 16, 64] tokens) => (float[1, 16, 64] y)
< int64[4] heads = {1, 16, 4, 16}, int64[3] joined = {1, 16, 64}, float four = {4.0} >
{
    x = LayerNormalization (tokens, gain)
    queries = MatMul (x, w_q)
    keys = MatMul (x, w_k)
    values = MatMul (x, w_v)
    q = Reshape (queries, heads)
    k = Reshape (keys, heads)
    v = Reshape (values, heads)
    q_heads = Transpose <perm = [0, 2, 1, 3]> (q)
    k_heads = Transpose <perm = [0, 2, 3, 1]> (k)
    v_heads = Transpose <perm = [0, 2, 1, 3]> (v)
    products = MatMul (q_heads, k_heads)
    scores = Div (products, four)
    weights = Softmax (scores)
    mixed = MatMul (weights, v_heads)
    tokens_first = Transpose <perm = [0, 2, 1, 3]> (mixed)
    context = Reshape (tokens_first, joined)
    attention = MatMul (context, w_o)
    residual = Add (tokens, attention)
    normal = LayerNormalization (residual, second_gain)
    wide = MatMul (normal, w_up)
    active = Gelu (wide)
    narrow = MatMul (active, w_down)
    y = Add (residual, narrow)
}
"""
MATRICES = dict.fromkeys(("w_q", "w_k", "w_v", "w_o"), (64, 64))
MATRICES |= {"w_up": (64, 256), "w_down": (256, 64)}
GAINS = ("gain", "second_gain")
RECIPES = ("static-int8", "dynamic-int8", "auto")


def block() -> onnx.ModelProto:
    """Return the block with random weights.

    As in trained transformers, a normalization gives a few channels large values, here four
    channels 30 times, and the matrices behind it read them with small weights.
    """
    model = onnx.parser.parse_model(MODEL)
    random = np.random.default_rng(0)
    arrays = {
        name: random.standard_normal(shape) / np.sqrt(shape[0])
        for name, shape in MATRICES.items()
    }
    large = np.where(np.arange(64) % 16 == 0, 30.0, 1.0)
    arrays |= dict.fromkeys(GAINS, large)
    for name in ("w_q", "w_k", "w_v", "w_up"):
        arrays[name] = arrays[name] / large[:, None]
    for name, array in arrays.items():
        tensor = onnx.numpy_helper.from_array(array.astype(np.float32), name)
        model.graph.initializer.append(tensor)
    return model


def main() -> None:
    """Write the model, compile it with each recipe, and compare with the float model."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "block.onnx"
        onnx.save(block(), path)
        compare(path)


def compare(path: Path) -> None:
    """Print a row a recipe."""
    random = np.random.default_rng(1)
    samples = [{"tokens": random.standard_normal((1, 16, 64), np.float32)} for _ in range(40)]
    print(f"{'recipe':14}{'taken':24}{'SQNR':>9}{'integer':>9}")
    for recipe in RECIPES:
        compiled = qcompile.compile(
            path,
            target="native",
            calibration=samples[:32],
            config=CompileConfig(recipe=recipe),
        )
        report = compiled.validate(samples[32:], reference=path)
        taken, macs = compiled.report["recipe"]["name"], compiled.report["macs"]
        share = macs["integer"] / macs["total"]
        print(f"{recipe:14}{taken:24}{report['sqnr_db']:6.1f} dB{share:9.0%}")


if __name__ == "__main__":
    main()
