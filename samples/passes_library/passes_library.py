"""The passes as a library: clean up a float model, check that it answers as before, write it.

python samples/passes_library/passes_library.py [OUT.onnx]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx_ir.passes import common

from qcompile import passes

MODEL = """
< ir_version: 10, opset_import: ["" : 21] >
exported (float[1, 16, 16, 3] image) => (float[1, 14, 14, 8] y)
< float root = {1.4142135}, float one = {1.0}, float half = {0.5} >
{
    channels_first = Transpose <perm = [0, 3, 1, 2]> (image)
    sums = Conv (channels_first, weight)
    normal = BatchNormalization (sums, scale, shift, mean, variance)
    last = Transpose <perm = [0, 2, 3, 1]> (normal)
    scaled = Div (last, root)
    error = Erf (scaled)
    more = Add (error, one)
    twice = Mul (last, more)
    gelu = Mul (twice, half)
    first = Transpose <perm = [0, 3, 1, 2]> (gelu)
    mixed = Conv (first, mixing)
    y = Transpose <perm = [0, 2, 3, 1]> (mixed)
}
"""
SHAPES = {"weight": (8, 3, 3, 3), "mixing": (8, 8, 1, 1)}
STATISTICS = ("scale", "shift", "mean", "variance")
PASSES = ("fold_batch_norm", "fuse_gelu", "merge_transposes")


def exported() -> onnx.ModelProto:
    """Return the model of the text, with random weights."""
    model = onnx.parser.parse_model(MODEL)
    random = np.random.default_rng(0)
    arrays = {name: random.standard_normal(shape) / 4 for name, shape in SHAPES.items()}
    arrays |= {name: random.uniform(0.5, 2.0, 8) for name in STATISTICS}
    for name, array in arrays.items():
        tensor = onnx.numpy_helper.from_array(array.astype(np.float32), name)
        model.graph.initializer.append(tensor)
    # Some passes ask for shapes, and leave a node alone where there is none.
    return onnx.shape_inference.infer_shapes(model)


def answers(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    """Return what onnxruntime computes, node by node as the graph has them."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return np.asarray(session.run(["y"], {"image": image})[0])


def main(out: Path) -> None:
    """Run the passes, compare the answers, write the model."""
    before = exported()
    model = ir.from_proto(before)
    for name in PASSES:
        count = len(model.graph)
        result = passes.find(name)()(model)
        change = f"{count} -> {len(model.graph)} nodes" if result.modified else "no change"
        print(f"{name:18}{change}")

    common.RemoveUnusedNodesPass()(model)  # and the constants that nothing reads any more
    after = ir.to_proto(model)
    onnx.checker.check_model(after, full_check=True)
    image = np.random.default_rng(1).standard_normal((1, 16, 16, 3), np.float32)
    expected = answers(before, image)
    # Folding rounds each of the 27 + 8 terms of an answer once more, by 2**-24 at most.
    bound = 64 * 2.0**-24 * np.abs(expected).max()
    np.testing.assert_allclose(answers(after, image), expected, rtol=0, atol=bound)
    print("onnxruntime: the same answers")

    onnx.save(after, out)
    print(f"{' -> '.join(node.op_type for node in model.graph)}")
    print(f"written: {out.name}")


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder) / "cleaned.onnx")
