"""A pass of your own among qcompile's: fold a constant factor into the Conv before it.

python samples/custom_pass/custom_pass.py
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

import qcompile
from qcompile.graphs.rewriting import Names, take_over
from qcompile.importer.load_model import load_model
from qcompile.passes.fold_batch_norm import FoldBatchNorm
from qcompile.passes.merge_activations import MergeActivations
from qcompile.regions import constant, sole_user

MODEL = """
< ir_version: 10, opset_import: ["" : 21] >
example (float[1, 3, 16, 16] image) => (float[1, 8, 14, 14] y)
< float factor = {0.125}, float zero = {0.0}, float six = {6.0} >
{
    sums = Conv (image, weight, bias)
    scaled = Mul (sums, factor)
    bounded = Relu (scaled)
    y = Clip (bounded, zero, six)
}
"""


@dataclasses.dataclass(frozen=True)
class FoldFactor(ir.passes.InPlacePass):
    """Replace `Mul(Conv(x, W, b), c)` by `Conv(x, W', b')` for a constant number c.

    W' = W * c        b' = b * c

    Kept: a Conv whose sums are also read elsewhere, or are a graph output; a factor that is
    computed or is not one number.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Return the model and whether any factor was folded."""
        names = Names(model)
        modified = False
        for node in ir.traversal.RecursiveGraphIterator(model.graph):
            found = conv_and_factor(node)
            if found is None:
                continue
            conv, factor = found
            scale_constants(conv, factor, names)
            take_over(node.outputs[0], conv.outputs[0])
            assert node.graph is not None
            node.graph.remove(node, safe=True)
            modified = True
        return ir.passes.PassResult(model, modified)


def conv_and_factor(node: ir.Node) -> tuple[ir.Node, float] | None:
    """Return the Conv before a Mul, and the number it is multiplied by."""
    if node.op_type != "Mul":
        return None
    sums, factor = node.inputs
    conv = sums.producer() if sums is not None else None
    number = constant(factor)
    if sums is None or conv is None or conv.op_type != "Conv":
        return None
    if sole_user(sums) is not node or conv.graph is not node.graph:
        return None
    if number is None or number.size != 1:
        return None
    computed = any(constant(value) is None for value in conv.inputs[1:])
    return None if computed else (conv, float(number.item()))


def scale_constants(conv: ir.Node, factor: float, names: Names) -> None:
    """Give the Conv its weight and its bias times the factor, in new initializers."""
    assert isinstance(conv.graph, ir.Graph)
    for index, value in enumerate(conv.inputs[1:], start=1):
        numbers = constant(value)
        if value is None or numbers is None:
            continue
        scaled = np.asarray(numbers.astype(np.float64) * factor, numbers.dtype)
        name = f"{value.name}_scaled"
        conv.replace_input_with(index, names.initializer(conv.graph, name, scaled))


def example() -> onnx.ModelProto:
    """Return the model of the text, with random weights."""
    model = onnx.parser.parse_model(MODEL)
    random = np.random.default_rng(0)
    for name, shape in (("weight", (8, 3, 3, 3)), ("bias", (8,))):
        weights = random.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weights, name))
    return model


def operators(model: ir.Model) -> str:
    """Return what the model computes, in order."""
    return " -> ".join(node.op_type for node in model.graph)


def main() -> None:
    """Run the passes one by one, then compile what they leave."""
    model = load_model(example())
    print(f"{'imported':24}{operators(model)}")
    steps = (
        FoldBatchNorm(),  # nothing to do here, and its result says so
        FoldFactor(),
        MergeActivations(),
        common.RemoveUnusedNodesPass(),
    )
    for step in steps:
        result = step(model)
        did = operators(model) if result.modified else "no change"
        print(f"{type(step).__name__:24}{did}")

    random = np.random.default_rng(1)
    samples = [
        {"image": random.standard_normal((1, 3, 16, 16), np.float32)} for _ in range(16)
    ]
    compiled = qcompile.compile(model, target="native", calibration=samples)
    ops = compiled.report["ops"]
    print(
        f"compiled for {compiled.target.name}: {ops['integer']} of {ops['total']} in integers"
    )


if __name__ == "__main__":
    main()
