"""C bundles: built with nothing but a C compiler, run, and held against the oracle."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import qcompile
from qcompile import cli
from qcompile.bundle.cpu_check import cpu_check
from qcompile.bundle.export import bundle_files, make_source
from qcompile.compiler import compile_model
from qcompile.config import CompileConfig
from qcompile.data.preprocess import Preprocess
from qcompile.errors import CompileError
from qcompile.host import host_arch, host_features
from qcompile.model import CompiledModel
from qcompile.targets import TARGETS, fitting
from qcompile.targets.c_kernels import ON_STACK_BYTES
from qcompile.targets.lowering import TvmLowering
from tests.nets import NETS, net, samples
from tests.targets.emulator import COMPILER, CPUS, EMULATOR, needs_emulator

ROOT = Path(__file__).resolve().parents[2]
CHECKED = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror")
SOURCES = ("main.c", "model.c", "weights.c", "kernels.o")
SECONDS = 120
TEXT_BYTES = 200_000

LARGE_ISLAND = """
    g (float[1,6,64,64] x, float[8,6,1,1] w1, float[8,8,1,1] w2) => (float[1,8,64,64] y)
    { a = Conv(x, w1)  s = LogSoftmax <axis = -1> (a)  t = Hardmax(s)  p = Mul(t, s)
      y = Conv(p, w2) }"""
"""A float kernel of it wants some kilobytes for itself."""

ODD = {
    "an island that wants memory": LARGE_ISLAND,
    "one kernel": "g (float[1,4] x) => (float[1,4] y) { y = Relu(x) }",
    "one output twice": """
        g (float[1,4] x) => (float[1,4] y, float[1,4] z)
        { a = Relu(x)  y = Identity(a)  z = Identity(a) }""",
    "a constant output": """
        g (float[1,4] x, float[1,4] w) => (float[1,4] y, float[1,4] z)
        { y = Add(x, w)  z = Identity(w) }""",
    "an integer output": """
        g (float[1,4,5,5] x, float[8,4,1,1] w) => (int64[1,1,5,5] y)
        { a = Conv(x, w)  y = ArgMax <axis = 1> (a) }""",
    "truths": "g (float[1,4] x) => (bool[1,4] y) { y = Greater(x, six) }",
}

HERE = [target.name for target in fitting(host_arch(), host_features())][:1]
THERE = ["arm-dotprod", "arm-neon"] if host_arch() != "aarch64" else []
QUICK = ["convolutions and a residual", "depthwise and pointwise", "a float island", "a batch"]
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in NETS if name not in QUICK]

OF_THE_COMPILER = {"__cpu_model", "__cpu_features2", "__cpu_indicator_init"}
LIBC = {"memcpy", "memset", "memmove", "getauxval", "printf", "puts", "fprintf", "fwrite"}
LIBC |= {"stderr", "memcmp", "putchar", "__stack_chk_fail"}
LIBM = re.compile(r"(exp|log|pow|tanh|erf|sin|cos|tan|sqrt|floor|ceil|rint|nearbyint|fma)\w*")


@cache
def model_of(name: str, target: str) -> CompiledModel:
    model = net({**NETS, **ODD}[name])
    return compile_model(model, target, calibration=samples(model, 4))


def build(folder: Path, compiler: str, *flags: str, sources: Sequence[str] = SOURCES) -> Path:
    """Return the program that a bundle becomes; a warning is an error."""
    program = folder / "model_check"
    subprocess.run(
        [compiler, *CHECKED, *flags, *sources, "-lm", "-o", str(program)],
        cwd=folder,
        check=True,
        timeout=SECONDS,
    )
    return program


def run(program: Path, *emulator: str) -> subprocess.CompletedProcess[str]:
    """Run it; a board's CPU is the weakest that the target may have."""
    return subprocess.run(
        [*emulator, str(program)], capture_output=True, text=True, timeout=SECONDS, check=False
    )


def emulated(target: str) -> tuple[str, ...]:
    lowering = TARGETS[target].lowering
    assert isinstance(lowering, TvmLowering)
    return (EMULATOR, "-cpu", CPUS[lowering.isa])


@pytest.mark.parametrize("target", HERE)
@pytest.mark.parametrize("name", [*QUICK, *ODD, *SLOW])
def test_runs_here(name: str, target: str, tmp_path: Path) -> None:
    model_of(name, target).export_c(tmp_path / "c")
    done = run(build(tmp_path / "c", "gcc"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^y: 0 of \d+ values differ", done.stdout, re.MULTILINE)


@needs_emulator
@pytest.mark.parametrize("target", THERE)
@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_runs_on_the_weakest_cpu(name: str, target: str, tmp_path: Path) -> None:
    model_of(name, target).export_c(tmp_path / "c")
    done = run(build(tmp_path / "c", COMPILER, "-static"), *emulated(target))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_emulator
@pytest.mark.skipif("arm-dotprod" not in THERE, reason="this machine is an ARM itself")
def test_a_cpu_without_the_instructions_is_told(tmp_path: Path) -> None:
    model_of("rows", "arm-dotprod").export_c(tmp_path / "c")
    program = build(tmp_path / "c", COMPILER, "-static")
    done = run(program, EMULATOR, "-cpu", "cortex-a72")
    assert (done.returncode, done.stdout) == (1, "")
    assert "this CPU lacks instructions that the model needs: asimd asimddp" in done.stderr


def asks(target: str, folder: Path, compiler: str, *emulator: str) -> int:
    """Return what `model_init` of a target returns: 0 where the CPU has what it needs."""
    include, body = cpu_check(TARGETS[target].arch, TARGETS[target].features)
    source = f"{include}\nint main(void) {{\n{body}}}\n"
    (folder / "ask.c").write_text(source)
    flags = ["-static"] if emulator else []
    return run(build(folder, compiler, *flags, sources=["ask.c"]), *emulator).returncode


@pytest.mark.parametrize("target", [name for name in TARGETS if name.startswith("x86")])
@pytest.mark.skipif(host_arch() != "x86_64", reason="another architecture")
def test_asks_this_cpu(target: str, tmp_path: Path) -> None:
    lacking = not set(TARGETS[target].features) <= host_features()
    assert asks(target, tmp_path, "gcc") == int(lacking)


@needs_emulator
@pytest.mark.parametrize(
    ("cpu", "lacking"),
    [("cortex-a72", [0, 1, 1]), ("neoverse-n1", [0, 0, 1]), ("max", [0, 0, 0])],
)
def test_asks_an_emulated_cpu(cpu: str, lacking: list[int], tmp_path: Path) -> None:
    targets = ("arm-neon", "arm-dotprod", "arm-i8mm")
    emulator = (EMULATOR, "-cpu", cpu)
    assert [asks(each, tmp_path, COMPILER, *emulator) for each in targets] == lacking


@pytest.mark.parametrize("target", HERE)
def test_a_wrong_answer_is_found(target: str, tmp_path: Path) -> None:
    model = model_of("convolutions and a residual", target)
    array = np.array(model.golden.outputs["y"])
    array.flat[-1] = np.nextafter(array.flat[-1], np.inf)
    golden = dataclasses.replace(model.golden, outputs={"y": array})
    dataclasses.replace(model, golden=golden).export_c(tmp_path / "golden")
    done = run(build(tmp_path / "golden", "gcc"))
    assert (done.returncode, done.stdout) == (1, "y: 1 of 1584 values differ\n")

    model.export_c(tmp_path / "weights")
    weights = tmp_path / "weights" / "weights.c"
    weights.write_text(re.sub(r"0x[0-9a-f]+", "0x0", weights.read_text()))
    assert run(build(tmp_path / "weights", "gcc")).returncode == 1


@pytest.mark.parametrize("target", HERE)
def test_from_cplusplus_at_any_address(target: str, tmp_path: Path) -> None:
    model_of("convolutions and a residual", target).export_c(tmp_path)
    objects = ("model.c", "weights.c")
    subprocess.run(
        ["gcc", *CHECKED, "-c", *objects], cwd=tmp_path, check=True, timeout=SECONDS
    )
    source = Path(__file__).with_name("uses_model.cc")
    command = ["g++", "-Wall", "-Wextra", "-Werror", "-I.", str(source)]
    linked = ["model.o", "weights.o", "kernels.o", "-lm", "-o", "uses_model"]
    subprocess.run([*command, *linked], cwd=tmp_path, check=True, timeout=SECONDS)
    assert run(tmp_path / "uses_model").returncode == 0


@pytest.mark.parametrize("target", HERE)
@pytest.mark.parametrize("name", ["a float island", "a batch"])
def test_needs_only_the_c_library(name: str, target: str, tmp_path: Path) -> None:
    model_of(name, target).export_c(tmp_path)
    subprocess.run(
        ["gcc", *CHECKED, "-c", "main.c", "model.c", "weights.c"],
        cwd=tmp_path,
        check=True,
        timeout=SECONDS,
    )
    files = ["kernels.o", "main.o", "model.o", "weights.o"]
    listed = subprocess.run(
        ["nm", "-P", *files], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    symbols = [line.split()[:2] for line in listed.splitlines() if len(line.split()) > 1]
    defined = {symbol for symbol, kind in symbols if kind != "U"}
    missing = {symbol for symbol, kind in symbols if kind == "U"} - defined
    foreign = missing - LIBC - OF_THE_COMPILER - {"_GLOBAL_OFFSET_TABLE_"}
    assert not {symbol for symbol in foreign if not LIBM.fullmatch(symbol)}
    assert not [symbol for symbol in defined if "tvm" in symbol.lower()]


@pytest.mark.parametrize("target", [*HERE, *THERE])
def test_twice_the_same_bytes(target: str) -> None:
    model = model_of("a float island", target)
    first, second = (bundle_files(model, make_source(model)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("target", HERE)
def test_large_memory_of_a_kernel_lies_in_the_arena(target: str) -> None:
    model = model_of("an island that wants memory", target)
    source = make_source(model)
    wanted = [
        size
        for call in source.program.calls
        for size in (source.program.sizes[buffer] for buffer in call.writes[1:])
    ]
    assert max(wanted) >= ON_STACK_BYTES
    assert source.arena.size < sum(source.program.sizes) / 2


@pytest.mark.parametrize("target", ["x86-vnni", "arm-dotprod"])
def test_what_is_read_was_written(target: str) -> None:
    program = make_source(model_of("convolutions and a residual", target)).program
    known = set(program.given())
    for call in program.calls:
        assert known.issuperset(call.reads)
        known.update(call.writes)
    assert known.issuperset(program.outputs)


@pytest.mark.parametrize("target", ["x86-vnni", "arm-dotprod"])
def test_size_of_a_small_network(target: str, tmp_path: Path) -> None:
    folder = ROOT / "samples" / "fashion_mnist"
    model = qcompile.compile(
        folder / "model.onnx",
        target=target,
        calibration=folder / "calibration.npz",
        preprocess=Preprocess(scale=1 / 255, mean=(0.286,), std=(0.353,)),
        config=CompileConfig(calibrator="min-max"),
    )
    model.export_c(tmp_path)
    printed = subprocess.run(
        ["size", "kernels.o"], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    assert int(printed.splitlines()[1].split()[0]) <= TEXT_BYTES


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An artifact for another machine is exported here."""
    artifact, folder = tmp_path / "model.qcm", tmp_path / "c"
    model_of("rows", "arm-neon").save(artifact)
    command = ["export", str(artifact), "--format", "c", "-o", str(folder)]
    assert cli.main(command) == 0
    assert capsys.readouterr().out.startswith(f"{folder}: C for arm-neon, 8 files; weights ")
    assert cli.main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert report["bundle"] == str(folder)
    assert report["files"] == sizes
    header = (folder / "model.h").read_text()
    assert f"#define MODEL_ARENA_BYTES {report['arena_bytes']}\n" in header
    assert "#define MODEL_INPUT_0_SHAPE {2, 5, 12}\n" in header


def test_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export", str(tmp_path / "no.qcm"), "-o", str(tmp_path / "c"), "--format"]
    assert cli.main([*command, "c"]) == 1
    assert "no.qcm: no such file" in capsys.readouterr().err
    with pytest.raises(SystemExit) as exit_:
        cli.main([*command, "cc"])
    assert exit_.value.code == 2
    assert "invalid choice: 'cc'" in capsys.readouterr().err
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "mine").write_bytes(b"")
    assert cli.main([*command, "c"]) == 1
    assert "holds files that are not of an export: mine" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("cmake") is None, reason="apt-get install cmake")
@pytest.mark.parametrize("target", HERE)
def test_cmake(target: str, tmp_path: Path) -> None:
    model_of("rows", target).export_c(tmp_path)
    for command in (
        ["cmake", "-B", "build"],
        ["cmake", "--build", "build"],
        ["ctest", "--test-dir", "build"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True, timeout=SECONDS)


@pytest.mark.parametrize("target", HERE)
def test_the_readme_builds_it(target: str, tmp_path: Path) -> None:
    model_of("rows", target).export_c(tmp_path)
    commands = re.findall(
        r"^    (cc .*)\n    (.*)$", (tmp_path / "README.txt").read_text(), re.M
    )
    assert len(commands) == 1
    for command in commands[0]:
        subprocess.run(command.split(), cwd=tmp_path, check=True, timeout=SECONDS)


def test_no_folder_to_write_in(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="no such folder"):
        model_of("rows", "arm-neon").export_c(tmp_path / "none" / "c")
