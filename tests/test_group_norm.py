"""GroupNormalization: imported, and what onnxruntime makes of it."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from qcompile.importer.load_model import load_model
from qcompile.oracle import run
from tests.graphs import HEADER

MODELS = {
    "an image": """g (float[2,6,3,5] x, float[6] s, float[6] b) => (float[2,6,3,5] y)
        { y = GroupNormalization <num_groups = 3, epsilon = 0.01> (x, s, b) }""",
    "one after another": """g (float[1,4,7] x, float[4] s, float[4] b) => (float[1,4,7] y)
        { a = GroupNormalization <num_groups = 2> (x, s, b)  r = Relu(a)
          y = GroupNormalization <num_groups = 4> (r, b, s) }""",
}


@pytest.mark.parametrize("text", MODELS.values(), ids=MODELS)
def test_as_onnxruntime(text: str) -> None:
    proto = onnx.parser.parse_model(HEADER + text)
    random = np.random.default_rng(0)
    for value in list(proto.graph.input)[1:]:
        array = random.standard_normal(value.type.tensor_type.shape.dim[0].dim_value)
        tensor = onnx.numpy_helper.from_array(array.astype(np.float32), value.name)
        proto.graph.initializer.append(tensor)
        proto.graph.input.remove(value)
    shape = [size.dim_value for size in proto.graph.input[0].type.tensor_type.shape.dim]
    x = random.standard_normal(shape).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})
    model = load_model(proto)
    assert "GroupNormalization" not in {node.op_type for node in model.graph}
    (got,) = run(model, {"x": x}).values()
    # Sums in another order, of at most 35 numbers of size 1: some last bits.
    np.testing.assert_allclose(np.asarray(got, np.float32), expected, rtol=0, atol=1e-5)
