"""A target of your own: this machine's CPU, but some operators stay in float.

python samples/custom_target/custom_target.py
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

import qcompile
from qcompile.target import OpSupport, Target
from qcompile.targets import native

MODEL = """
< ir_version: 10, opset_import: ["" : 21] >
example (float[1, 3, 16, 16] image) => (float[1, 4] y)
{
    sums = Conv (image, weight)
    gate = Sigmoid (sums)
    scores = Conv (gate, head)
    means = GlobalAveragePool (scores)
    flat = Flatten (means)
    y = Softmax (flat)
}
"""


FLOAT_OPS = frozenset({"Sigmoid", "Softmax"})


def few_channels(node: ir.Node, /) -> str | None:
    """Return why a Conv must stay float, or None where it may become integers."""
    x = node.inputs[0]
    channels = x.shape[1] if x is not None and x.shape is not None else None
    if isinstance(channels, int) and channels >= 8:
        return None
    return f"it reads {channels} channels, integers pay from 8"


def precise_server(base: Target) -> Target:
    """Return a server on which a Sigmoid or a Softmax of 8 bits is not precise enough.

    What a target runs in integers is a table of rows. This one leaves two rows out and puts
    a limit on a third; everything else is the base's: the instruction set, the kernels, the
    schemes of the other operators.
    """
    rows = (row for row in base.ops if row.op_type not in FLOAT_OPS)
    return dataclasses.replace(
        base,
        name="precise-server",
        about=f"{base.name}, with Sigmoid, Softmax and narrow Convs in float",
        ops=tuple(limited(row) for row in rows),
    )


def limited(row: OpSupport) -> OpSupport:
    """Return the row, for Conv with one more limit: the first that objects is the reason."""
    if row.op_type != "Conv":
        return row
    return dataclasses.replace(row, limits=(*row.limits, few_channels))


def example() -> onnx.ModelProto:
    """Return the model of the text, with random weights."""
    model = onnx.parser.parse_model(MODEL)
    random = np.random.default_rng(0)
    for name, shape in (("weight", (8, 3, 3, 3)), ("head", (4, 8, 3, 3))):
        weights = random.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weights, name))
    return model


def main() -> None:
    """Compile for the target, save, load, run and validate."""
    target = precise_server(native())
    random = np.random.default_rng(1)
    samples = [
        {"image": random.standard_normal((1, 3, 16, 16), np.float32)} for _ in range(16)
    ]
    model = qcompile.compile(example(), target, calibration=samples)
    print(f"compiled for {model.target.name} ({target.about})")
    for island in model.report["float_islands"]:
        print(f"float: {', '.join(island['operators'])}: {island['reason']}")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.qcm"
        model.save(path)
        # The name alone means nothing to qcompile: loading needs the target too.
        loaded = qcompile.load(path, target=target)
        same = np.array_equal(loaded.run(samples[0])["y"], model.run(samples[0])["y"])
        print(f"loaded: {'same answers' if same else 'OTHER ANSWERS'}")
        oracle = loaded.validate(samples)["oracle"]
        print(f"oracle: {'bit-exact' if oracle['bit_exact'] else 'DIFFERS'}")


if __name__ == "__main__":
    main()
