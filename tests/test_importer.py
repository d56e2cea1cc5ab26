"""What the importer makes of old, odd, dynamic and broken models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper

from qcompile.errors import CompileError
from qcompile.importer.load_model import load_model
from tests.graphs import assert_graph, outline


def parse(
    text: str, opset: int = 21, ir_version: int = 8, domains: str = ""
) -> onnx.ModelProto:
    header = f'<ir_version: {ir_version}, opset_import: ["" : {opset}{domains}]>\n'
    return onnx.parser.parse_model(header + text)


def run(model: onnx.ModelProto, seed: int = 0) -> list[npt.NDArray[np.float32]]:
    """Run in onnxruntime on normal noise of the shapes that the model's inputs have."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    noise = np.random.default_rng(seed)
    inputs = {
        value.name: noise.normal(
            size=[dim if isinstance(dim, int) else 1 for dim in value.shape]
        ).astype(np.float32)
        for value in session.get_inputs()
    }
    result: list[npt.NDArray[np.float32]] = session.run(None, inputs)
    return result


OLD = {
    "Clip with attributes": (
        7,
        """g (float[1,2,4,4] x) => (float[1,2,4,4] y)
        { y = Clip <min: float = -0.5, max: float = 0.25> (x) }""",
    ),
    "Upsample": (
        7,
        """g (float[1,2,4,4] x) => (float[1,2,8,8] y)
        { y = Upsample <scales: floats = [1.0, 1.0, 2.0, 2.0]> (x) }""",
    ),
    "BatchNormalization": (
        7,
        """g (float[1,2,4,4] x) => (float[1,2,4,4] y)
        <float[2] s = {1.5, 0.5}, float[2] b = {0.1, 0.2}, float[2] m = {0.3, 0.4},
         float[2] v = {2.0, 3.0}>
        { y = BatchNormalization <epsilon: float = 0.01> (x, s, b, m, v) }""",
    ),
    "Slice": (
        9,
        """g (float[4,6] x) => (float[2,6] y)
        { y = Slice <axes: ints = [0], starts: ints = [1], ends: ints = [3]> (x) }""",
    ),
    "Pad": (
        9,
        """g (float[1,1,4,4] x) => (float[1,1,6,5] y)
        { y = Pad <pads: ints = [0,0,1,0,0,0,1,1], value: float = 2.5> (x) }""",
    ),
    "Dropout": (7, "g (float[4] x) => (float[4] y) { y = Dropout <ratio: float = 0.3> (x) }"),
    "Resize 10": (
        10,
        """g (float[1,2,3,3] x) => (float[1,2,6,6] y) <float[4] s = {1.0, 1.0, 2.0, 2.0}>
        { y = Resize <mode: string = "nearest"> (x, s) }""",
    ),
    "Softmax over the rest": (
        11,
        "g (float[2,3,4] x) => (float[2,3,4] y) { y = Softmax <axis: int = 1> (x) }",
    ),
    "Squeeze, Unsqueeze, ReduceSum": (
        11,
        """g (float[2,1,4] x) => (float[2,1] y)
        { a = Squeeze <axes: ints = [1]> (x)  b = Unsqueeze <axes: ints = [0]> (a)
          c = Concat <axis: int = 0> (b, b)
          d = ReduceSum <axes: ints = [0, 2], keepdims: int = 0> (c)
          y = Unsqueeze <axes: ints = [1]> (d) }""",
    ),
    "Split": (
        11,
        """g (float[4,6] x) => (float[4,6] y)
        { a, b = Split <axis: int = 1, split: ints = [2, 4]> (x)
          y = Concat <axis: int = 1> (b, a) }""",
    ),
    "Split in two": (
        17,
        """g (float[4,6] x) => (float[4,6] y)
        { a, b = Split <axis: int = 1> (x)  y = Concat <axis: int = 1> (b, a) }""",
    ),
    "ReduceMean": (
        17,
        "g (float[2,3,4] x) => (float[2,3,1] y) { y = ReduceMean <axes: ints = [-1]> (x) }",
    ),
    "pools with ceil_mode": (
        10,
        """g (float[1,2,7,7] x) => (float[1,2,4,4] y)
        { a = MaxPool <kernel_shape: ints = [2,2], strides: ints = [2,2],
                       ceil_mode: int = 1> (x)
          b = AveragePool <kernel_shape: ints = [3,3], pads: ints = [1,1,1,1],
                           count_include_pad: int = 1> (a)
          y = LeakyRelu (b) }""",
    ),
}


@pytest.mark.parametrize(("opset", "text"), OLD.values(), ids=OLD)
def test_old_operators_keep_their_meaning(opset: int, text: str) -> None:
    before = parse(text, opset, ir_version=3 if opset < 9 else 8)
    if before.ir_version < 4:
        before.graph.input.extend(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            for tensor in before.graph.initializer
        )
    model = load_model(before)
    assert model.opset_imports[""] == 21
    assert [value.name for value in model.graph.inputs] == ["x"]
    for expected, got in zip(run(before), run(ir.to_proto(model)), strict=True):
        # onnxruntime may sum up to 16 terms, each below 4, in another order: 16 roundings
        bound = 16 * 4 * np.finfo(np.float32).eps
        np.testing.assert_allclose(got, expected, rtol=0.0, atol=float(bound))


def test_old_operators_in_a_branch() -> None:
    model = load_model(
        parse(
            """g (bool c, float[4] x) => (float[4] y)
            { y = If (c) <
                then_branch: graph = t () => (float[4] a)
                  { a = Clip <min: float = 0.0, max: float = 6.0> (x) },
                else_branch: graph = e () => (float[4] b) { b = Relu (x) }> }""",
            10,
        )
    )
    assert outline(model) == (
        "y = If(c)\n"
        "  else_branch:\n    b = Relu(x)\n    return b\n"
        "  then_branch:\n    a = Clip(x, float32[]0., float32[]6.)\n    return a\n"
        "return y"
    )


def test_shape_arithmetic_is_folded() -> None:
    model = load_model(
        parse(
            """g (float[N,3,H,W] x) => (float[N,M] y)
            { s = Shape (x)
              zero = Constant <value: tensor = int64[1] {0}> ()
              n = Gather <axis: int = 0> (s, zero)
              minus = Constant <value_ints: ints = [-1]> ()
              t = Concat <axis: int = 0> (n, minus)
              y = Reshape (x, t) }"""
        ),
        {"x": (2, 3, 4, 5)},
    )
    assert outline(model) == "y = Reshape(x, int64[2][ 2,-1])\nreturn y"
    assert model.graph.outputs[0].shape == ir.Shape((2, 60))


def test_split_of_a_constant_is_folded() -> None:
    model = load_model(
        parse(
            """g (float[4] x) => (float[4] y)
            { c = Constant <value_floats: floats = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]> ()
              a, b = Split <num_outputs: int = 2> (c)
              d = Add (x, a)  y = Mul (d, b) }"""
        )
    )
    assert_graph(
        model,
        """g (float[4] x) => (float[4] y)
        <float[4] a = {1.0, 2.0, 3.0, 4.0}, float[4] b = {5.0, 6.0, 7.0, 8.0}>
        { d = Add (x, a)  y = Mul (d, b) }""",
    )


def test_weights_stay_integers_beside_quantized_activations() -> None:
    text = """g (float[1,2] x) => (float[1,2] y)
        <int8[2,2] w = {1, 2, 3, 4}, float s = {0.5}, int8 z = {0}>
        { q = QuantizeLinear (x, s, z)  a = DequantizeLinear (q, s, z)
          d = DequantizeLinear (w, s, z)  y = MatMul (a, d) }"""
    assert "DequantizeLinear(int8[2, 2]" in outline(load_model(parse(text)))


def test_a_constant_output_stays_the_output_of_a_node() -> None:
    text = "g (float[2] x) => (int64[1] y) { y = Shape (x) }"
    assert [node.op_type for node in load_model(parse(text)).graph]
    text = "g (float[2] x) => (float[2] x) { }"
    with pytest.raises(CompileError):
        load_model(parse(text))


def test_functions_are_inlined() -> None:
    square = helper.make_function(
        "mine",
        "Square",
        ["a"],
        ["b"],
        [helper.make_node("Mul", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    before = parse(
        "g (float[2] x) => (float[2] y) { t = mine.Square (x)  y = mine.Square (t) }",
        17,
        domains=', "mine" : 1',
    )
    before.functions.append(square)
    model = load_model(before)
    assert not model.functions
    assert_graph(model, "g (float[2] x) => (float[2] y) { t = Mul (x, x)  y = Mul (t, t) }")


def test_names_become_unique_and_say_the_operator() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"], name="same"),
        helper.make_node("Clip", ["b", "", "high"], ["c"], name="same"),
        helper.make_node("Relu", ["c"], ["y"], name="Relu_0"),
    ]
    before = onnx.parser.parse_graph("g (float[2] x) => (float[2] y) <float high = {6.0}> { }")
    before.node.extend(nodes)
    proto = helper.make_model(
        before, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    model = load_model(proto)
    assert [node.name for node in model.graph] == ["Relu_1", "same", "same_0", "Relu_0"]
    assert [node.inputs[1] for node in model.graph if node.op_type == "Clip"] == [None]


def test_names_are_unique_across_branches() -> None:
    model = load_model(
        parse(
            """g (bool c, float[4] x) => (float[4] y)
            { y = If (c) <
                then_branch: graph = t () => (float[4] a) { a = Relu (x) },
                else_branch: graph = e () => (float[4] b) { b = Relu (x) }> }"""
        )
    )
    names = [node.name for node in ir.traversal.RecursiveGraphIterator(model.graph)]
    assert len(set(names)) == 3
    assert all(names)


def test_initializers_are_no_inputs_and_keep_their_values() -> None:
    weight = np.array([1e-42, -0.0, np.inf, 3.4e38], np.float32)
    graph = onnx.parser.parse_graph(
        "g (float[4] x, float[4] w) => (float[4] y) { y = Mul (x, w) }"
    )
    graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    before = proto.SerializeToString()
    model = load_model(proto)
    assert [value.name for value in model.graph.inputs] == ["x"]
    value = model.graph.initializers["w"].const_value
    assert value is not None
    assert value.numpy().tobytes() == weight.tobytes()
    assert proto.SerializeToString() == before, "the caller's model must not change"


def test_takes_files_and_ir_models(tmp_path: Path) -> None:
    proto = parse("g (float[2] x) => (float[2] y) { y = Relu (x) }")
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    for source in (path, str(path), proto, ir.from_proto(proto)):
        assert outline(load_model(source)) == "y = Relu(x)\nreturn y"


def test_external_data(tmp_path: Path) -> None:
    weight = np.arange(4, dtype=np.float32)
    graph = onnx.parser.parse_graph("g (float[4] x) => (float[4] y) { y = Mul (x, w) }")
    graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    proto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10
    )
    path = tmp_path / "m.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    assert "[0.,1.,2.,3.]" in outline(load_model(path))
    (tmp_path / "w.bin").unlink()
    with pytest.raises(CompileError, match="its external data cannot be read"):
        load_model(path)


OUTSIDE = {
    "above": ({"location": "../secret"}, None),
    "absolute": ({"location": "{folder}/secret"}, None),
    "a link out": ({"location": "link"}, "../secret"),
    "beyond the end": ({"location": "w.bin", "offset": "8", "length": "16"}, None),
    "an offset beyond the end": (
        {"location": "w.bin", "offset": "4096", "length": "16"},
        None,
    ),
    "a negative offset": ({"location": "w.bin", "offset": "-8", "length": "16"}, None),
    "a huge length": ({"location": "w.bin", "length": str(1 << 62)}, None),
    "no number": ({"location": "w.bin", "length": "many"}, None),
}


@pytest.mark.parametrize(("entries", "link"), OUTSIDE.values(), ids=OUTSIDE)
def test_external_data_outside_its_file_is_refused(
    entries: dict[str, str], link: str | None, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(bytes(16))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "w.bin").write_bytes(bytes(16))
    if link is not None:
        (tmp_path / "in" / "link").symlink_to(link)
    graph = onnx.parser.parse_graph("g (float[4] x) => (float[4] y) { y = Mul (x, w) }")
    tensor = TensorProto(name="w", dims=[4], data_type=TensorProto.FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value.format(folder=tmp_path))
    graph.initializer.append(tensor)
    proto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10
    )
    path = tmp_path / "in" / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(CompileError, match=r"external data cannot be read|not a valid ONNX"):
        load_model(path)
    with pytest.raises(CompileError, match="its weights lie in a file that was not loaded"):
        load_model(proto)


SHAPES = {
    "free batch": ("float[N,3] x", None, (1, 3)),
    "unnamed batch": ("float[?,3] x", None, (1, 3)),
    "chosen batch": ("float[N,3] x", {"x": (4, 3)}, (4, 3)),
    "fixed": ("float[2,3] x", {"x": (2, 3)}, (2, 3)),
    "scalar": ("float x", None, ()),
}


@pytest.mark.parametrize(("declared", "shapes", "expected"), SHAPES.values(), ids=SHAPES)
def test_input_shapes(
    declared: str, shapes: dict[str, tuple[int, ...]] | None, expected: tuple[int, ...]
) -> None:
    output = declared.replace(" x", " y")
    model = load_model(parse(f"g ({declared}) => ({output}) {{ y = Relu (x) }}"), shapes)
    assert model.graph.inputs[0].shape == ir.Shape(expected)
    assert model.graph.outputs[0].shape == ir.Shape(expected)


def test_a_named_dimension_is_one_size_everywhere() -> None:
    text = """g (float[N,3] a, float[N,T] b) => (float[N,K] y)
        { y = Concat <axis: int = 1> (a, b) }"""
    model = load_model(parse(text), {"b": (5, 2)})
    assert model.graph.inputs[0].shape == ir.Shape((5, 3))
    assert model.graph.outputs[0].shape == ir.Shape((5, 5))


def test_stale_shapes_in_the_file_are_inferred_again() -> None:
    text = """g (float[N,3] x) => (float[1,3] y) <float[1,3] a>
        { a = Relu (x)  y = Relu (a) }"""
    model = load_model(parse(text), {"x": (4, 3)})
    assert [node.outputs[0].shape for node in model.graph] == [ir.Shape((4, 3))] * 2


def test_foreign_operators_keep_the_shapes_that_the_file_gives() -> None:
    text = """g (float[N,3] x) => (float[N,3] y) <float[N,3] a>
        { a = foreign.Thing (x)  y = Relu (a) }"""
    model = load_model(parse(text, domains=', "foreign" : 1'), {"x": (4, 3)})
    assert [node.op_type for node in model.graph] == ["Thing", "Relu"]
    assert model.graph.outputs[0].shape == ir.Shape((4, 3))


REFUSED = {
    "free size": (
        "g (float[N,3,H,W] x) => (float[N,3,H,W] y) { y = Relu (x) }",
        {},
        "input 'x': the shape is [N, 3, H, W]; a compiled model needs fixed sizes\n"
        "  hint: fix it: --shape x=1,3,224,224",
    ),
    "unknown input": (
        "g (float[2] image) => (float[2] y) { y = Relu (image) }",
        {"imag": (2,)},
        "--shape: the model has no input 'imag'\n  hint: did you mean 'image'?",
    ),
    "wrong rank": (
        "g (float[N,3] x) => (float[N,3] y) { y = Relu (x) }",
        {"x": (1, 3, 2)},
        "input 'x': the shape [1, 3, 2] does not fit the model's [N, 3]\n"
        "  hint: only dimensions that the model leaves free can be chosen",
    ),
    "fixed dimension": (
        "g (float[N,3] x) => (float[N,3] y) { y = Relu (x) }",
        {"x": (1, 4)},
        "input 'x': the shape [1, 4] does not fit the model's [N, 3]\n"
        "  hint: only dimensions that the model leaves free can be chosen",
    ),
    "zero": (
        "g (float[N,3] x) => (float[N,3] y) { y = Relu (x) }",
        {"x": (0, 3)},
        "input 'x': the shape [0, 3] has a dimension below 1\n"
        "  hint: give every dimension: --shape x=1,3",
    ),
    "float16": (
        "g (float16[2] x) => (float16[2] y) { y = Relu (x) }",
        {},
        "value 'x': float16 models are not supported\n  hint: export the model in float32",
    ),
    "size known at run time": (
        "g (float[4] x) => (int64[1,K] y) { y = NonZero (x) }",
        {},
        "node 'NonZero_0' (NonZero): the size of 'y' is known only when the model runs\n"
        "  hint: cut the model before this node",
    ),
    "an empty tensor": (
        """g (float[4] x) => (float[4] y) <int64[1] from = {4}, int64[1] to = {9},
        int64[1] axes = {0}>
        { e = Slice(x, from, to)  s = ReduceSum <keepdims = 0> (e, axes)  y = Add(x, s) }""",
        {},
        "node 'Slice_0' (Slice): 'e' holds no numbers: its shape is [0]\n"
        "  hint: remove the node from the model, or give its input another size: --shape",
    ),
    "windows that fit nowhere": (
        """g (float[1,2,3] x) => (float[1,2,N] y)
        { y = AveragePool <kernel_shape = [5]> (x) }""",
        {},
        "node 'AveragePool_0' (AveragePool): 'y' holds no numbers: its shape is [1, 2, -1]\n"
        "  hint: remove the node from the model, or give its input another size: --shape",
    ),
    "no shape behind a foreign operator": (
        "g (float[4] x) => (float[K] y) { a = foreign.Thing (x)  y = Relu (a) }",
        {},
        "node 'Thing_0' (Thing): the size of 'a' is known only when the model runs\n"
        "  hint: ONNX does not know the domain 'foreign': add a value_info for the output",
    ),
}


@pytest.mark.parametrize(("text", "shapes", "message"), REFUSED.values(), ids=REFUSED)
def test_refuses(text: str, shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(CompileError) as caught:
        load_model(parse(text, domains=', "foreign" : 1'), shapes)
    assert str(caught.value) == message


def test_refuses_old_opset() -> None:
    with pytest.raises(CompileError) as caught:
        load_model(parse("g (float[2] x) => (float[2] y) { y = Relu (x) }", 6))
    assert str(caught.value) == (
        "opset 6 is too old, 7 is the oldest that can be read\n"
        "  hint: export the model again with a newer opset"
    )


INVALID = {
    "unknown operator": (
        "g (float[2] x) => (float[2] y) { y = Frobnicate (x) }",
        "not a valid ONNX model: No Op registered for Frobnicate",
    ),
    "undefined value": (
        "g (float[2] x) => (float[2] y) { y = Add (x, q) }",
        "not a valid ONNX model: Nodes in a graph must be topologically sorted",
    ),
    "contradicting shapes": (
        "g (float[2,3] x, float[4,5] z) => (float[2,5] y) { y = MatMul (x, z) }",
        "its shapes contradict each other: ",
    ),
}


@pytest.mark.parametrize(("text", "start"), INVALID.values(), ids=INVALID)
def test_refuses_invalid_models(text: str, start: str) -> None:
    with pytest.raises(CompileError) as caught:
        load_model(parse(text))
    assert caught.value.problem.startswith(start)
    assert "\n" not in caught.value.problem
    assert caught.value.hint


BROKEN = {
    "empty": (b"", "the file is empty"),
    "no protobuf": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "not an ONNX model, or cut off"),
    "text": (b"this is not a model\n", "not an ONNX model, or cut off"),
    "another protobuf": (b"\x0a\x03abc", "not an ONNX model, or cut off"),
}


@pytest.mark.parametrize(("data", "problem"), BROKEN.values(), ids=BROKEN)
def test_refuses_broken_files(tmp_path: Path, data: bytes, problem: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with pytest.raises(CompileError) as caught:
        load_model(path)
    assert caught.value.where == str(path)
    assert caught.value.problem == problem


def test_refuses_a_file_cut_off_anywhere(tmp_path: Path) -> None:
    proto = parse(
        """g (float[2,4] x) => (float[2,4] y) <float[4] b = {1.0, 2.0, 3.0, 4.0}>
        { a = Add (x, b)  y = Relu (a) }"""
    )
    data = proto.SerializeToString()
    path = tmp_path / "m.onnx"
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(CompileError):
            load_model(path)


def test_refuses_data_that_does_not_fill_its_shape() -> None:
    proto = parse(
        "g (float[4] x) => (float[4] y) <float[4] w = {1.0, 2.0, 3.0, 4.0}> { y = Mul (x, w) }"
    )
    proto.graph.initializer[0].CopyFrom(
        TensorProto(name="w", dims=[4], data_type=TensorProto.FLOAT, raw_data=bytes(8))
    )
    with pytest.raises(CompileError, match=r"not a valid ONNX model: .*too small for the"):
        load_model(proto)


def test_refuses_a_type_that_does_not_exist() -> None:
    proto = parse("g (float[4] x) => (float[4] y) { y = Relu (x) }")
    proto.graph.input[0].type.tensor_type.elem_type = 100
    with pytest.raises(
        CompileError, match="not a valid ONNX model: 100 is not a valid DataType"
    ):
        load_model(proto)


def test_refuses_or_reads_whatever_bytes_are_changed(tmp_path: Path) -> None:
    data = parse(
        """g (float[N,4] x) => (float[N,K] y) <float[4,2] w = {1, 2, 3, 4, 5, 6, 7, 8}>
        { s = Shape <end: int = 1> (x)  m = Constant <value_ints: ints = [-1]> ()
          t = Concat <axis: int = 0> (s, m)  r = Reshape (x, t)  p = MatMul (r, w)
          y = Clip <min: float = 0.0, max: float = 6.0> (p) }""",
        10,
    ).SerializeToString()
    path = tmp_path / "m.onnx"
    generator = np.random.default_rng(0)
    problems = []
    for _ in range(200):
        broken = bytearray(data)
        broken[generator.integers(len(data))] = generator.integers(256)
        path.write_bytes(broken)
        try:
            load_model(path)
        except CompileError as error:
            problems.append(error.problem)
    assert problems
    assert not any("\n" in problem for problem in problems)


def test_refuses_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(CompileError) as missing:
        load_model(tmp_path / "none.onnx")
    assert str(missing.value) == f"{tmp_path / 'none.onnx'}: no such file"
    with pytest.raises(CompileError) as folder:
        load_model(tmp_path)
    assert str(folder.value) == f"{tmp_path}: cannot be read: Is a directory"


FORMS = {
    "QOperator of unknown kind": (
        """g (uint8[4] x) => (uint8[4] y) <float s = {0.5}, uint8 z = {3}>
        { y = com.microsoft.QLinearReduceMean (x, s, z, s, z) }""",
        r"'QLinearReduceMean_0' .* a kind that is not read\n  hint: .*QuantFormat.QDQ",
    ),
    "scale of each row": (
        """g (uint8[2,2] x) => (uint8[2,2] y)
        <float[2] t = {0.5, 1.0}, uint8[2] u = {3, 3}, float s = {0.5}, uint8 z = {3}>
        { y = QLinearMatMul (x, t, u, x, s, z, s, z) }""",
        r"\(QLinearMatMul\): it has a scale for each row .*\n  hint: .*QuantFormat.QDQ",
    ),
    "computed scale": (
        """g (uint8[4] x, float t) => (uint8[4] y) <float s = {0.5}, uint8 z = {3}>
        { y = com.microsoft.QLinearAdd (x, t, z, x, s, z, s, z) }""",
        r"\(QLinearAdd\): its scale is not a constant",
    ),
    "channels last": (
        """g (uint8[1,2,2,4] x) => (uint8[1,1,1,4] y) <float s = {0.5}, uint8 z = {3}>
        { y = com.microsoft.QLinearGlobalAveragePool <channels_last: int = 1>
              (x, s, z, s, z) }""",
        r"\(QLinearGlobalAveragePool\): its channels come last.*\n  hint: .* before",
    ),
    "Softmax over several axes": (
        """g (uint8[1,2,4] x) => (uint8[1,2,4] y) <float s = {0.5}, uint8 z = {3}>
        { y = com.microsoft.QLinearSoftmax <axis: int = 1, opset: int = 11>
              (x, s, z, s, z) }""",
        r"\(QLinearSoftmax\): it is a Softmax over several axes",
    ),
    "recurrent, computed weights": (
        """g (float[1,1,2] x, uint8[1,2,8] w, float[1] s, uint8[1] z) => (float[1,1,1,2] y)
        { y = com.microsoft.DynamicQuantizeLSTM <hidden_size: int = 2> (x, w, w, , , , , ,
              s, z, s, z) }""",
        r"\(DynamicQuantizeLSTM\): its weight is not a constant",
    ),
    "4 bits, no weight": (
        """g (int4[1,4] x) => (float[1,4] y) <float s = {0.5}>
        { y = DequantizeLinear (x, s) }""",
        r"'DequantizeLinear_0' \(DequantizeLinear\): 'x' is int4.*\n  hint: .* 8 bits",
    ),
    "g_idx": (
        """g (float[1,16] x) => (float[1,1] y)
        <uint8[1,1,8] w = {1, 2, 3, 4, 5, 6, 7, 8}, float[1] s = {0.5}, int32[2] i = {0, 0}>
        { y = com.microsoft.MatMulNBits <K: int = 16, N: int = 1, bits: int = 4,
              block_size: int = 16> (x, w, s, , i) }""",
        r"\(MatMulNBits\): its rows are reordered by g_idx\n  hint: .*act_order",
    ),
    "2 bits": (
        """g (float[1,16] x) => (float[1,1] y)
        <uint8[1,1,4] w = {1, 2, 3, 4}, float[1] s = {0.5}>
        { y = com.microsoft.MatMulNBits <K: int = 16, N: int = 1, bits: int = 2,
              block_size: int = 16> (x, w, s) }""",
        r"\(MatMulNBits\): its weights have 2 bits, 4 and 8 are read",
    ),
}


@pytest.mark.parametrize(("text", "problem"), FORMS.values(), ids=FORMS)
def test_refuses_quantized_forms_by_what_to_export_instead(text: str, problem: str) -> None:
    with pytest.raises(CompileError, match=problem):
        load_model(parse(text, ir_version=10, domains=', "com.microsoft" : 1'))


def test_pool_that_opsets_count_differently_says_ceil_mode() -> None:
    text = """g (float[1,1,6,6] x) => (float[1,1,H,W] y)
    { y = MaxPool <kernel_shape: ints = [1,1], strides: ints = [2,2],
                   ceil_mode: int = 1> (x) }"""
    with pytest.raises(CompileError, match=r"Pool.*\n  hint: .*ceil_mode=0"):
        load_model(parse(text, 22, ir_version=10))
