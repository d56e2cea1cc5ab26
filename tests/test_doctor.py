"""Each finding of the doctor: a model that has it, and one that has not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnxruntime.quantization import quantize_static

from qcompile import cli
from qcompile.doctor.check_sums import largest_pairs, saturating_channels
from qcompile.doctor.diagnose import diagnose
from qcompile.doctor.finding import Finding, Severity
from qcompile.doctor.repair import repair
from qcompile.errors import CompileError
from qcompile.targets import find_target
from tests.foreign_models import run_onnxruntime
from tests.passes.test_foreign_qdq import Samples, small_network

HEADER = '< ir_version: 8, opset_import: ["" : {opset}] >\n'

HEALTHY = """g (float[1,2,4,4] x) => (float[1,3,4,4] y)
<float sx = {{{sx}}}, uint8 zx = {{{zx}}}, float sy = {{0.5}}, uint8 zy = {{120}},
 {stored}[3,2,1,1] w = {{{w}}}, float[3] sw = {{{sw}}}, {stored}[3] zw = {{{zw}}},
 int32[3] b = {{10, 20, {b}}}, float[3] sb = {{{sb}}}, int32[3] zb = {{{zb}, 0, 0}}>
{{ q = QuantizeLinear(x, sx, zx)  {between}
   dw = DequantizeLinear <axis = {axis}> (w, sw, zw)
   db = DequantizeLinear <axis = 0> (b, sb, zb)
   c = Conv({left}, {right}, {bias})  {behind}
   p = QuantizeLinear({last}, sy, zy)  y = DequantizeLinear(p, sy, zy) }}"""

PLAIN = {
    "sx": "0.5",
    "zx": "128",
    "stored": "int8",
    "w": "1, -2, 3, -4, 5, -6",
    "sw": "0.5, 0.25, 1.0",
    "zw": "0, 0, 0",
    "sb": "0.25, 0.125, 0.5",
    "b": "-30",
    "zb": "0",
    "between": "d = DequantizeLinear(q, sx, zx)",
    "axis": "0",
    "left": "d",
    "right": "dw",
    "bias": "db",
    "behind": "",
    "last": "c",
}


def model(opset: int = 17, **changes: str) -> onnx.ModelProto:
    """Return one quantized convolution, with what the case changes."""
    return onnx.parser.parse_model(
        HEADER.format(opset=opset) + HEALTHY.format(**{**PLAIN, **changes})
    )


def network(text: str, opset: int = 17) -> onnx.ModelProto:
    return onnx.parser.parse_model(HEADER.format(opset=opset) + text)


def codes(proto: onnx.ModelProto) -> list[str]:
    return [finding.code for finding in diagnose(proto)]


def the_one(proto: onnx.ModelProto, code: str) -> Finding:
    (found,) = [finding for finding in diagnose(proto) if finding.code == code]
    return found


FLOAT_WEIGHT = """g (float[1,2] x) => (float[1,2] y)
<float s = {0.5}, uint8 z = {128}, float[2,2] w = {1.0, 2.0, 3.0, 4.0}>
{ q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  m = MatMul(d, w)
  p = QuantizeLinear(m, s, z)  y = DequantizeLinear(p, s, z) }"""

POOL = """g (float[1,1,4,4] x) => (float[1,1,2,2] y)
<float s = {{0.5}}, uint8 z = {{128}}, float t = {{{scale}}}, uint8 u = {{{zero_point}}}>
{{ q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
   m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (d)
   p = QuantizeLinear(m, t, u)  y = DequantizeLinear(p, t, u) }}"""

PAD = """g (float[2] x) => (float[4] y)
<float s = {{0.5}}, uint8 z = {{128}}, int64[2] n = {{1, 1}}, float c = {{{filler}}}>
{{ q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  m = Pad(d, n, c)
   p = QuantizeLinear(m, s, z)  y = DequantizeLinear(p, s, z) }}"""

LONELY = """g (float[4] x) => (float[4] y) <float s = {0.5}, uint8 z = {128}>
{ q = QuantizeLinear(x, s, z)  c = Cast <to = 1> (q)  a = Add(c, c)
  r = Cast <to = 2> (a)  t = BitShift <direction = "LEFT"> (r, q)
  y = DequantizeLinear(t, s, z) }"""

EDGE = """g (float[1,1,4,4] x) => (float[1,1,4,4] y) <float s = {{0.5}}, uint8 z = {{128}}>
{{ q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
   m = AveragePool <kernel_shape = [1, 1]> (d)  {step}
   a = Add(d, {summand})  p = QuantizeLinear(a, s, z)  y = DequantizeLinear(p, s, z) }}"""

TWICE = """g (float[4] x) => (float[4] y) <float s = {0.5}, uint8 z = {128}>
{ q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
  p = QuantizeLinear(d, s, z)  y = DequantizeLinear(p, s, z) }"""

WIDE = """g (float[1,{k}] x) => (float[1,1] y)
<float s = {{0.5}}, uint8 z = {{{z}}}, float t = {{0.25}}, int8 v = {{0}},
 int8[{k},1] w = {{{w}}}>
{{ q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
   e = DequantizeLinear(w, t, v)  m = MatMul(d, e)
   p = QuantizeLinear(m, s, z)  y = DequantizeLinear(p, s, z) }}"""

OLD = """g (float[1,2,4,4] x) => (float[1,3,4,4] y)
<float s = {0.5}, uint8 z = {128}, int8[3,2,1,1] w = {1, -2, 3, -4, 5, -6},
 float[3] sw = {0.5, 0.25, 1.0}, int8[3] zw = {0, 0, 0}>
{ q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
  e = DequantizeLinear(w, sw, zw)  c = Conv(d, e)
  p = QuantizeLinear(c, s, z)  y = DequantizeLinear(p, s, z) }"""


def wide(values: list[int], zero_point: int = 0) -> onnx.ModelProto:
    listed = ", ".join(map(str, values))
    return network(WIDE.format(k=len(values), w=listed, z=zero_point))


ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
PRESENT: dict[str, tuple[onnx.ModelProto, Severity, bool, str]] = {
    "bad-scale": (model(sw="0.5, 0.0, 1.0", bias=""), ERROR, False, "1 of 3 scales are zero"),
    "tiny-scale": (model(sw="0.5, 1e-41, 1.0", bias=""), WARNING, False, "flushed"),
    "zero-point-type": (
        network(OLD.replace("int8[3] zw", "uint8[3] zw")),
        ERROR,
        False,
        "its zero point is uint8, its integers int8",
    ),
    "zero-point-shape": (
        network(OLD.replace("int8[3] zw = {0, 0, 0}", "int8[2] zw = {0, 0}")),
        ERROR,
        False,
        "2 zero points and 3 scales",
    ),
    "zero-point": (model(zb="5"), ERROR, False, "an int32 with a zero point"),
    "axis": (
        model(axis="1"),
        ERROR,
        True,
        "along axis 1, and the tensor there has 2",
    ),
    "weight-axis": (
        network(
            OLD.replace("float[3] sw = {0.5, 0.25, 1.0}", "float[2] sw = {0.5, 0.25}").replace(
                "int8[3] zw = {0, 0, 0}", "int8[2] zw = {0, 0}"
            )
        ),
        WARNING,
        False,
        "axis 1, and its output channels are axis 0",
    ),
    "pair-mismatch": (
        model(between="d = DequantizeLinear(q, sy, zy)", bias=""),
        ERROR,
        False,
        "scale 0.5 and zero point 128, and the DequantizeLinear behind it says 0.5 and 120",
    ),
    "redundant-pair": (network(TWICE), INFO, True, "with the same scale just before"),
    "lonely-quantize": (network(LONELY), WARNING, False, "go to node 't' (BitShift)"),
    "lonely-dequantize": (network(LONELY), WARNING, False, "come from node 't' (BitShift)"),
    "missing-pair": (
        network(EDGE.format(step="", summand="m")),
        WARNING,
        False,
        "gives node 'a' (Add) a float one",
    ),
    "float-weight": (network(FLOAT_WEIGHT), WARNING, False, "its weight is float"),
    "float-activation": (model(left="x", bias=""), WARNING, False, "its input 'x' is float"),
    "shared-scale": (
        network(POOL.format(scale="0.25", zero_point="128")),
        WARNING,
        False,
        "has scale 0.5 (uint8 with zero point 128) and its output 0.25",
    ),
    "padding-value": (network(PAD.format(filler="0.3")), WARNING, False, "the nearest is 0.5"),
    "float-bias": (model(bias="sb"), WARNING, True, "its bias is float"),
    "bias-type": (
        network(
            HEALTHY.format(**{**PLAIN, "zb": "0"})
            .replace("int32[3] b", "int8[3] b")
            .replace("int32[3] zb", "int8[3] zb")
        ),
        WARNING,
        True,
        "its bias is int8",
    ),
    "bias-scale": (
        model(sb="0.25, 0.25, 0.5"),
        ERROR,
        True,
        "its bias has scale 0.25 in channel 1, and s_x * s_w is 0.125",
    ),
    "asymmetric-weight": (
        model(stored="uint8", w="1, 2, 3, 4, 5, 255", zw="128, 128, 120"),
        WARNING,
        False,
        "a zero point of 120, not 128: q - z runs from -127 to 135, beyond int8",
    ),
    "zero-weight": (model(w="0, 0, 3, -4, 5, -6"), INFO, False, "1 of 3 channels"),
    "saturated-weight": (wide([127, -127] * 8), WARNING, False, "14 of 16 weights"),
    "saturation": (wide([90, 60, 3, 4]), WARNING, False, "1 of 1 channels (100%)"),
    "accumulator": (wide([100] * 90000), ERROR, False, "may reach 2295000000, beyond int32"),
    "per-channel-opset": (network(OLD, 11), ERROR, True, "which exist from opset 13 on"),
}
ABSENT: dict[str, onnx.ModelProto] = {
    "plain": model(),
    "uint8 around 128": model(
        stored="uint8", w="1, 127, 128, 4, 129, 255", zw="128, 128, 128"
    ),
    "a pair at every edge": network(
        EDGE.format(
            step="r = QuantizeLinear(m, s, z)  t = DequantizeLinear(r, s, z)", summand="t"
        )
    ),
    "moved integers": network(POOL.format(scale="0.5", zero_point="128")),
    "padding on the grid": network(PAD.format(filler="-1.5")),
    "pairs within int16": wide([127, 1, -127, -1]),
    "pairs of two signs": wide([127, -127, 127, -127, 1, 1]),
    "sum within int32": wide([60, 60] * 50000, zero_point=0),
    "bias scale but for a rounding": model(sb="0.25000001, 0.125, 0.5"),
}


@pytest.mark.parametrize("code", PRESENT)
def test_finds(code: str) -> None:
    proto, severity, fixable, said = PRESENT[code]
    finding = the_one(proto, code)
    assert (finding.severity, finding.fixable) == (severity, fixable)
    assert said in finding.what
    assert finding.hint
    assert "\n" not in finding.what + finding.hint


@pytest.mark.parametrize("proto", ABSENT.values(), ids=list(ABSENT))
def test_finds_nothing_in(proto: onnx.ModelProto) -> None:
    assert diagnose(proto) == []


def test_foreign_forms_are_looked_at_as_they_are_imported() -> None:
    proto = network(
        """g (uint8[4] x) => (uint8[4] y) <float s = {0.0}, uint8 z = {3}, float t = {0.5}>
        { y = com.microsoft.QLinearAdd (x, s, z, x, t, z, t, z) }"""
    )
    proto.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    assert codes(proto) == ["bad-scale"]
    proto.graph.node[0].op_type = "QLinearUnheard"
    assert the_one(proto, "not-read").severity == ERROR


# Repairs: the answer in onnxruntime before and after, and what remains.
REPAIRS: dict[str, tuple[onnx.ModelProto, str, float]] = {
    # The integers are the same, the names of the channels' axis and of the scale are not.
    "redundant-pair": (network(TWICE), "1 redundant pairs taken out", 0.0),
    "shared-scale": (
        network(POOL.format(scale="0.50000006", zero_point="128")),
        "one scale, 0.5, on both sides",
        64 * 6e-8,  # a scale that differs by 6e-8, times up to 128 steps of 0.5
    ),
    # A bias moves by half a step of s_x * s_w, at most 0.25; the answer by a step of 0.5.
    "float-bias": (model(bias="sb"), "float-bias, now int32", 0.5),
    "bias-type": (
        network(
            HEALTHY.format(**PLAIN)
            .replace("int32[3] b", "int8[3] b")
            .replace("int32[3] zb", "int8[3] zb")
        ),
        "bias-type, now int32",
        0.0,  # the steps are the same
    ),
    "bias-scale": (
        model(sb="0.25, 0.3125, 0.5"),  # 20 * 0.3125 is 50 steps of 0.125
        "bias-scale, now int32",
        0.0,
    ),
}


@pytest.mark.parametrize("case", REPAIRS.values(), ids=list(REPAIRS))
def test_repairs(case: tuple[onnx.ModelProto, str, float]) -> None:
    proto, said, bound = case
    before = proto.SerializeToString()
    repaired, (line,) = repair(proto)
    assert proto.SerializeToString() == before
    assert said in line
    again = ir.to_proto(repaired)
    onnx.checker.check_model(again, full_check=True)
    assert diagnose(again) == []
    assert repair(again)[1] == []
    shape = [each.dim_value for each in proto.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(0).normal(0, 20, shape).astype("f4")
    apart = np.abs(run_onnxruntime(again, x) - run_onnxruntime(proto, x)).max()
    assert apart <= bound


UNREADABLE = {
    "axis": (model(axis="1"), model(), "axis 1 is 0"),
    "per-channel-opset": (
        network(OLD, 11),
        network(OLD.replace("Linear(w", "Linear <axis = 0> (w")),
        "opset 11 raised to 13",
    ),
    "axis at an old opset": (
        network(OLD.replace("Linear(w", "Linear <axis = 0> (w"), 11),
        network(OLD.replace("Linear(w", "Linear <axis = 0> (w")),
        "opset 11 raised to 13",
    ),
}


@pytest.mark.parametrize("case", UNREADABLE.values(), ids=list(UNREADABLE))
def test_repairs_what_runtimes_refuse(
    case: tuple[onnx.ModelProto, onnx.ModelProto, str],
) -> None:
    """The answer is that of the model that was meant."""
    proto, meant, said = case
    repaired, lines = repair(proto)
    assert said in "\n".join(lines)
    again = ir.to_proto(repaired)
    assert diagnose(again) == []
    x = np.random.default_rng(0).normal(0, 20, (1, 2, 4, 4)).astype("f4")
    np.testing.assert_array_equal(run_onnxruntime(again, x), run_onnxruntime(meant, x))


def test_leaves_what_is_not_safe() -> None:
    for code in ("shared-scale", "pair-mismatch", "asymmetric-weight", "accumulator"):
        assert repair(PRESENT[code][0])[1] == []


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "m.onnx", tmp_path / "out.onnx"
    onnx.save(model(sb="0.25, 0.25, 0.5", w="0, 0, 3, -4, 5, -6"), path)
    assert cli.main(["doctor", str(path)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{path}: 1 error, 1 info; --fix repairs 1"
    assert said[1].startswith("error bias-scale (fixable): node 'c' (Conv): its bias")
    assert said[2].startswith("  hint: ")
    fix = ["doctor", str(path), "--fix", "-o", str(out), "--json"]
    assert cli.main([*fix, "--target", "x86-vnni"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [each["code"] for each in report["findings"]] == ["bias-scale", "zero-weight"]
    assert [each["code"] for each in report["remaining"]] == ["zero-weight"]
    assert len(report["repairs"]) == 1
    assert report["target"] == "x86-vnni"
    assert cli.main(["doctor", str(out)]) == 0


def test_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", str(tmp_path / "none.onnx")]) == 1
    assert capsys.readouterr().err.endswith(
        "none.onnx: no such file\n  hint: see `qcompile doctor --help`\n"
    )
    path = tmp_path / "m.onnx"
    onnx.save(model(), path)
    before = path.read_bytes()
    assert cli.main(["doctor", str(path), "--fix", "-o", str(path)]) == 1
    assert "would destroy it" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert cli.main(["doctor", str(path), "--target", "x86-vni"]) == 1
    assert "did you mean 'x86-vnni'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as wrong:
        cli.main(["doctor", str(path), "--fix"])
    assert wrong.value.code == 2
    assert "--fix and -o go together" in capsys.readouterr().err
    path.write_bytes(b"no model")
    assert cli.main(["doctor", str(path)]) == 1
    assert "m.onnx: not an ONNX model" in capsys.readouterr().err


def test_says_what_stays_float_on_a_target() -> None:
    proto = network(
        """g (float[2,4] x) => (float[2,3] y)
        <float[4,3] w = {1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0}>
        { c = LpNormalization(x)  y = MatMul(c, w) }"""
    )
    (finding,) = diagnose(proto, find_target("x86-vnni"))
    assert (finding.severity, finding.code) == (INFO, "stays-float")
    assert finding.where == "1 x LpNormalization (LpNormalization_0)"
    assert "no integer kernel for LpNormalization: 0 multiply-accumulates" in finding.what


def test_broken_models_are_refused_in_one_line() -> None:
    """Two bytes of a model changed: what comes is a finding or an error of one line."""
    random = np.random.default_rng(0)
    bases = [case[0].SerializeToString() for case in PRESENT.values()]
    bases = [base for base in bases if len(base) < 5000]
    problems, examined = [], 0
    for _ in range(300):
        data = bytearray(bases[random.integers(len(bases))])
        for position in random.integers(len(data), size=2):
            data[position] = random.integers(256)
        broken = onnx.ModelProto()
        try:
            broken.ParseFromString(bytes(data))
        except DecodeError:
            continue
        try:
            diagnose(broken)
            repair(broken)
            examined += 1
        except CompileError as error:
            problems.append(error.problem)
    assert min(len(problems), examined) > 5
    assert not any("\n" in problem for problem in problems)


def test_what_another_quantizer_writes_has_no_error(tmp_path: Path) -> None:
    onnx.save(small_network(np.random.default_rng(0)), tmp_path / "float.onnx")
    quantize_static(tmp_path / "float.onnx", tmp_path / "q.onnx", Samples(), per_channel=True)
    proto = onnx.load(tmp_path / "q.onnx")
    assert {finding.code for finding in diagnose(proto)} == {"shared-scale", "saturation"}
    assert repair(proto)[1] == []


def test_pairs_of_products() -> None:
    """Against every pair of inputs that are 0 or 255, where the extremes are."""
    rows = np.random.default_rng(0).integers(-127, 128, (200, 5))
    even = np.pad(rows, ((0, 0), (0, 1))).reshape(200, 3, 2)
    inputs = np.array([[0, 0], [0, 255], [255, 0], [255, 255]])
    sums = np.einsum("rpk,ik->rpi", even, inputs).reshape(200, -1)
    beyond = ((sums > 32767) | (sums < -32768)).any(axis=1)
    np.testing.assert_array_equal(saturating_channels(rows), beyond)
    np.testing.assert_array_equal(largest_pairs(rows), np.abs(sums).max(axis=1))
    assert 0 < beyond.sum() < 200
