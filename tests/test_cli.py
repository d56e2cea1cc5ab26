"""The command line: what it prints where, how it exits, and how fast it starts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import qcompile.targets
from qcompile import cli
from qcompile.cli import compile as cli_compile
from qcompile.cli.after_pass import after_pass
from qcompile.cli.interrupts import remembered_interrupts
from qcompile.errors import CompileError
from qcompile.passes.cancel_qdq import CancelQdq
from qcompile.report import RecipeReport, compile_report
from qcompile.target import Target
from qcompile.threads import VARIABLE
from tests.compiled import TAIL_ISLAND, OracleLowering, compiled, fake_target, float_model
from tests.graphs import graph

ROOT = Path(__file__).parents[1]


@pytest.fixture
def qcm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An artifact of the fake target, which the command line then knows."""
    monkeypatch.setenv(VARIABLE, "1")
    install(monkeypatch, fake_target())
    compiled(reference=float_model(tmp_path)).save(tmp_path / "model.qcm")
    return tmp_path / "model.qcm"


def install(monkeypatch: pytest.MonkeyPatch, target: Target) -> None:
    monkeypatch.setattr(qcompile.targets, "find_target", lambda _: target)


def data(folder: Path, count: int = 8) -> Path:
    random = np.random.default_rng(0)
    x = random.normal(0, 4, (count, 4)).astype(np.float32)
    np.savez(folder / "data.npz", x=x, label=np.argmax(x, axis=1))
    return folder / "data.npz"


def run_json(capsys: pytest.CaptureFixture[str], *argv: str | Path, status: int = 0) -> Any:
    assert cli.main([*map(str, argv), "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_help_is_fast_and_light() -> None:
    code = (
        "import sys; from qcompile import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'onnx', 'onnx_ir', 'onnxruntime', 'tvm'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.3


@pytest.mark.parametrize(
    "command", ["compile", "quantize", "validate", "bench", "run", "export", "inspect"]
)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main([command, "--help"])
    assert exit_.value.code == 0
    assert "--" in capsys.readouterr().out


USAGE = {
    "no command": (
        [],
        "the following arguments are required: COMMAND",
        "see `qcompile --help`",
    ),
    "unknown command": (["compil"], "invalid choice: 'compil'", "did you mean 'compile'?"),
    "unknown option": (["targets", "--jsn"], "unrecognized arguments: --jsn", "'--json'?"),
    "option of another command": (
        ["targets", "--thread=2"],
        "unrecognized arguments: --thread=2",
        "see `qcompile targets --help`",
    ),
    "option of an action": (
        ["device", "check", "u", "--jsn"],
        "--jsn",
        "did you mean '--json'?",
    ),
    "option given already": (
        ["run", "m.qcm", "--input", "i", "-o", "o", "--inptu", "i"],
        "unrecognized arguments: --inptu i",
        "see `qcompile run --help`",
    ),
    "option from the future": (
        ["compile", "m.onnx", "--target", "native", "--warp", "3"],
        "unrecognized arguments: --warp 3",
        "see `qcompile compile --help`",
    ),
    "argument too many": (["inspect", "a", "json"], "unrecognized arguments: json", "see"),
    "no target": (
        ["compile", "m.onnx"],
        "required: --target",
        "see `qcompile compile --help`",
    ),
    "malformed shape": (
        ["compile", "m.onnx", "--target", "x86-vnni", "--shape", "input:1,3"],
        "argument --shape: 'input:1,3' is not like input=1,3,224,224",
        "see `qcompile compile --help`",
    ),
    "no number": (["validate", "m.qcm", "--data", "d", "--scale", "x"], "--scale", "see"),
    "no peer": (["bench", "m.qcm", "--against", ""], "--against: '' names nothing", "see"),
    "no thread": (["bench", "m.qcm", "--threads", "0"], "not a positive integer", "see"),
}


@pytest.mark.parametrize(("argv", "problem", "hint"), USAGE.values(), ids=USAGE)
def test_wrong_usage_exits_2(
    argv: list[str], problem: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(argv)
    assert exit_.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith("qcompile: error: ")
    assert problem in first
    assert second.startswith("  hint: ")
    assert hint in second


def test_validate_json(qcm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run_json(
        capsys,
        *("validate", qcm, "--data", data(tmp_path), "--labels", "label"),
        *("--reference", tmp_path / "model.onnx", "--oracle-samples", "3"),
    )
    assert {"samples", "sqnr_db", "cosine", "max_abs_error", "oracle", "accuracy"} <= set(
        report
    )
    assert report["samples"] == 8
    assert report["oracle"] == {"bit_exact": True, "first_difference": None, "samples": 3}
    assert set(report["accuracy"]) == {"float", "compiled", "drop", "ci95", "agreement"}


def test_validate_for_people(
    qcm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["validate", str(qcm), "--data", str(data(tmp_path))]) == 0
    out = capsys.readouterr().out
    assert "bit-exact on 8 samples" in out
    assert "not compared: give it with --reference" in out


def test_validate_exits_1_at_a_difference_and_still_reports(
    qcm: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(
        monkeypatch,
        fake_target(OracleLowering(wrong={"r": lambda array: np.bitwise_xor(array, 1)})),
    )
    argv = ["validate", str(qcm), "--data", str(data(tmp_path)), "--json"]
    assert cli.main(argv) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["oracle"]["first_difference"]["node"] == "node_r"
    assert err.startswith(
        "qcompile: error: node 'node_r' (QLut): 4 values are not the oracle's"
    )


def test_bench_json(qcm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run_json(capsys, "bench", qcm, "--against", "onnxruntime", "--runs", "5")
    assert set(report) == {"target", "threads", "runs", "latency_ms", "against"}
    assert set(report["latency_ms"]) == {"median", "min", "p95"}
    assert {"latency_ms", "speedup", "model"} <= set(report["against"]["onnxruntime"])


def test_bench_for_people(qcm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["bench", str(qcm), "--against", "onnxruntime", "--runs", "5"]
    assert cli.main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ms, 1 thread, 5 runs in turn")
    assert lines[2].startswith("onnxruntime")
    assert lines[2].endswith(" x")


def test_run_writes_the_outputs(qcm: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=np.array([[1, -1, 2, 0.5]], np.float32))
    argv = [
        "run",
        str(qcm),
        "--input",
        str(tmp_path / "in.npz"),
        "-o",
        str(tmp_path / "o.npz"),
    ]
    assert cli.main(argv) == 0
    with np.load(tmp_path / "o.npz") as outputs:
        np.testing.assert_array_equal(outputs["y"], [[1, 0, 2, 0.5]])


def test_inspect_artifact(qcm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = run_json(capsys, "inspect", qcm)
    assert facts["target"] == "fake"
    assert facts["inputs"] == [{"name": "x", "dtype": "FLOAT", "shape": [1, 4]}]
    assert facts["ops"] == {"total": 1, "integer": 1, "float": 0}
    assert facts["manifest"]["entries"]
    assert cli.main(["inspect", str(qcm)]) == 0
    assert "kernels" in capsys.readouterr().out


def test_inspect_artifact_of_another_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = compiled()
    model.manifest["arch"] = "z80"
    model.save(tmp_path / "z80.qcm")
    assert run_json(capsys, "inspect", tmp_path / "z80.qcm")["manifest"]["arch"] == "z80"


def test_inspect_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = run_json(capsys, "inspect", float_model(tmp_path))
    assert facts["operators"] == {"Relu": 1}
    assert facts["opset"] == 21


def test_targets(capsys: pytest.CaptureFixture[str]) -> None:
    listed = run_json(capsys, "targets")["targets"]
    assert {"x86-vnni", "x86-avxvnni", "x86-avx2"} <= {each["name"] for each in listed}
    one = run_json(capsys, "targets", "x86-avx2")
    assert {"op_type": "MaxPool", "shared_scale": True}.items() <= next(
        row.items() for row in one["ops"] if row["op_type"] == "MaxPool"
    )
    assert cli.main(["targets", "x86-avx2"]) == 0
    assert "int8 symmetric per-channel" in capsys.readouterr().out


def test_interrupt_is_one_line_and_130(
    qcm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(qcompile.targets, "find_target", interrupt)
    assert cli.main(["validate", str(qcm), "--data", "d.npz"]) == 130
    assert capsys.readouterr().err == "qcompile: interrupted\n"


def test_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    command = f"{sys.executable} -m qcompile inspect {float_model(tmp_path)} --json | true"
    result = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False
    )
    assert result.stderr == ""


STREAMS = {
    "closed": ("inspect {file} >&-", "stdout is closed"),
    "full": ("inspect {file} >/dev/full", "cannot write: No space left on device"),
    "full, help": ("--help >/dev/full", "cannot write: No space left on device"),
}


@pytest.mark.parametrize(("command", "problem"), STREAMS.values(), ids=STREAMS)
def test_stdout_that_takes_nothing(tmp_path: Path, command: str, problem: str) -> None:
    command = f"{sys.executable} -m qcompile {command.format(file=float_model(tmp_path))}"
    result = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    first, second = result.stderr.splitlines()
    assert first == f"qcompile: error: {problem}"
    assert second.startswith("  hint: ")


def test_the_package_itself_imports_nothing_before_interrupts_are_caught() -> None:
    code = "import sys; before = set(sys.modules); import qcompile.__main__; "
    code += "print(sorted(set(sys.modules) - before))"
    result = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "['__future__', 'qcompile', 'qcompile.__main__']"


def interrupted_import(body: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with a module that is interrupted while it is imported."""
    code = f"""
import importlib.abc, signal, sys, types
class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
{body}
sys.meta_path.insert(0, Interrupting())
sys.argv = ["qcompile", "targets"]
from qcompile.__main__ import main
sys.exit(main())"""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )


IMPORTS = {
    "our own": """
        if name == "qcompile.cli.command":
            signal.raise_signal(signal.SIGINT)""",
    "a library's": """
        if name == "onnx_ir":
            signal.raise_signal(signal.SIGINT)""",
    "in an exec, after which Python ends by the signal": """
        if name == "onnx_ir":
            exec("signal.raise_signal(signal.SIGINT)")""",
    "a native one, which raises ImportError": """
        if name == "onnx_ir":
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt as error:
                raise ImportError("initialization failed") from error""",
}


@pytest.mark.parametrize("body", IMPORTS.values(), ids=IMPORTS)
def test_interrupt_during_an_import(body: str) -> None:
    result = interrupted_import(body)
    assert result.stderr == "qcompile: interrupted\n"
    assert (result.returncode, result.stdout) == (130, "")


def test_interrupt_that_cannot_be_raised_counts(capsys: pytest.CaptureFixture[str]) -> None:
    class Destructor:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    with remembered_interrupts() as interrupts:
        Destructor()
    assert interrupts == [signal.SIGINT]
    assert capsys.readouterr().err == ""


def test_verify_names_the_pass_that_breaks_the_graph() -> None:
    hook = after_pass(None, verify=True)
    model = graph("g (float[4] x) => (float[4] y) { t = Relu(x) y = Relu(t) }")
    model.graph[1].op_type = "Gemm"
    assert hook is not None
    with pytest.raises(CompileError, match="pass CancelQdq: the graph is not valid after it"):
        hook(CancelQdq(), ir.passes.PassResult(model, modified=True))


def test_print_after_prints_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    hook = after_pass("CancelQdq", verify=False)
    assert hook is not None
    model = graph("g (float[4] x) => (float[4] y) { y = Relu(x) }")
    hook(CancelQdq(), ir.passes.PassResult(model, modified=False))
    out, err = capsys.readouterr()
    assert out == ""
    assert "after CancelQdq" in err
    assert "Relu" in err


RECIPE: RecipeReport = {"name": "static-int8", "reason": "a test", "sqnr_db": {}}


def test_compile_report_for_people() -> None:
    model = compiled(text=TAIL_ISLAND)
    text = cli_compile.describe(Path("m.qcm"), model.report, 100_000)
    assert "operators  2: 1 integer, 1 float" in text
    assert "recipe     static-int8, because a test" in text
    assert "Softmax: it computes between float operators" in text
    assert "build 0.2" in text


def test_islands_are_connected_components_with_their_reasons() -> None:
    model = graph(
        """g (float[2,2] x) => (float[2,2] y, float[2,2] v)
        { a = Erf(x)  b = Sin(x)  c = Add(a, b)  y = Relu(c)  v = Cos(x) }"""
    )
    for node, name in zip(model.graph, "abcyv", strict=True):
        node.name = name
        node.metadata_props["qcompile.float_reason"] = f"no {node.op_type}"
    report = compile_report("t", RECIPE, model.graph, 1, {})
    assert report["float_islands"] == [
        {
            "nodes": ["a", "b", "c", "y"],
            "operators": ["Erf", "Sin", "Add", "Relu"],
            "reason": "no Erf; no Sin; no Add; no Relu",
        },
        {"nodes": ["v"], "operators": ["Cos"], "reason": "no Cos"},
    ]


MACS = """g (float[2,4,6,6] x, float[3,5] m) => (float[2,8,6,6] y, float[3,7] n)
<float[8,2,3,3] w = {{{w}}}, float[5,7] k = {{{k}}}>
{{ y = Conv <group = 2, pads = [1,1,1,1]> (x, w)  n = MatMul(m, k) }}"""


def test_macs() -> None:
    model = graph(MACS.format(w=", ".join(["0"] * 144), k=", ".join(["0"] * 35)))
    report = compile_report("t", RECIPE, model.graph, 1, {})
    assert report["macs"] == {"total": 2 * 8 * 36 * 2 * 9 + 3 * 5 * 7, "integer": 0}


def test_python_face() -> None:
    assert qcompile.load.__module__ == "qcompile.artifact.loader"
    assert qcompile.CompiledModel.__module__ == "qcompile.model"
    assert qcompile.passes.__name__ == "qcompile.passes"
    assert qcompile.targets.__name__ == "qcompile.targets"
    assert callable(qcompile.compile)
    with pytest.raises(AttributeError, match="no attribute 'complie'"):
        qcompile.complie  # noqa: B018


@pytest.mark.parametrize(
    "arguments",
    [["serve", "--port", "99999"], ["check", "rpc://127.0.0.1:1/k", "--timeout", "1e30"]],
)
def test_numbers_that_no_device_can_have_are_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["device", *arguments])
    assert caught.value.code == 2
