"""What a user can get wrong, one row each: exit 1, one line, a hint, nothing half-written."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import qcompile.targets
from qcompile import cli, threads
from qcompile.errors import ConfigError
from tests.compiled import compiled, fake_target
from tests.graphs import graph

MODEL = """g (float[1,2,4,4] image) => (float[1,3,4,4] y)
<float[3,2,1,1] w = {1, 2, 3, 4, 5, 6}> { c = Conv(image, w)  y = Relu(c) }"""
OPEN = MODEL.replace("[1,2,4,4]", "[1,2,H,W]").replace("[1,3,4,4]", "[1,3,H,W]")
CALIB = {"image": np.ones((4, 2, 4, 4), np.float32)}

COMPILE = "compile m.onnx --target x86-vnni --calib c.npz -o out.qcm"
VALIDATE = "validate m.qcm --data d.npz"
RUN = "run m.qcm --input in.npz -o out.npz"


class Evil:
    """Would run code, were it unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch unpickled",)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which every command of this page would succeed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(threads.VARIABLE, "1")
    onnx.save(ir.to_proto(graph(MODEL)), "m.onnx")
    np.savez("c.npz", allow_pickle=False, **CALIB)
    real = qcompile.targets.find_target
    fake = fake_target()
    monkeypatch.setattr(
        qcompile.targets, "find_target", lambda name: fake if name == "fake" else real(name)
    )
    compiled().save("m.qcm")
    np.savez("d.npz", x=np.ones((3, 4), np.float32), label=np.array([0, 1, 2]))
    np.savez("in.npz", x=np.ones((1, 4), np.float32))
    return tmp_path


def check(
    argv: list[str], problem: str, hint: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Assert what every row promises."""
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert cli.main(argv) == 1
    out, err = capsys.readouterr()
    assert out == ""
    first, *rest = err.splitlines()
    assert first.startswith("qcompile: error: ")
    assert problem in first
    assert len(rest) == 1, err
    assert rest[0].startswith("  hint: ")
    assert hint in rest[0]
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert after == before


def npz(**arrays: object) -> Callable[[], None]:
    def write() -> None:
        np.savez("c.npz", **arrays)  # type: ignore[arg-type]

    return write


def cut(path: str, size: int) -> Callable[[], None]:
    return lambda: Path(path).write_bytes(Path(path).read_bytes()[:size])  # type: ignore[return-value]


def put(path: str, data: bytes) -> Callable[[], None]:
    return lambda: Path(path).write_bytes(data)  # type: ignore[return-value]


def remove(path: str) -> Callable[[], None]:
    return lambda: Path(path).unlink()


def image(value: float = 1.0, shape: tuple[int, ...] = (4, 2, 4, 4)) -> np.ndarray:
    array = np.ones(shape, np.float32)
    array.flat[-1] = value
    return array


MODELS = {
    "missing": (remove("m.onnx"), "m.onnx: no such file"),
    "empty": (put("m.onnx", b""), "m.onnx: the file is empty"),
    "truncated": (cut("m.onnx", 60), "m.onnx: "),
    "corrupt": (put("m.onnx", b"\x08\xff" * 50), "m.onnx: "),
    "text": (put("m.onnx", b"hello, this is no model"), "m.onnx: "),
    "open shape": (lambda: onnx.save(ir.to_proto(graph(OPEN)), "m.onnx"), "image"),
}


@pytest.mark.parametrize(("spoil", "problem"), MODELS.values(), ids=MODELS)
def test_models(
    spoil: Callable[[], None], problem: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil()
    check(COMPILE.split(), problem, "", folder, capsys)
    check(COMPILE.replace("compile", "quantize").split(), problem, "", folder, capsys)


CALIBRATION = {
    "missing": (remove("c.npz"), "c.npz: no such file", ""),
    "wrong name": (npz(imgae=image()), "'image'", "'imgae'"),
    "wrong shape": (npz(image=image(shape=(4, 2, 5, 4))), "c.npz: array 'image'", ""),
    "wrong dtype": (npz(image=np.full((4, 2, 4, 4), "x")), "c.npz: array 'image'", ""),
    "NaN": (npz(image=image(np.nan)), "'image'", ""),
    "infinity": (npz(image=image(np.inf)), "'image'", ""),
    "no samples": (npz(image=image()[:0]), "holds no samples", "at least one"),
    "no arrays": (npz(), "'image'", ""),
    "pickle": (npz(image=np.array([Evil()], dtype=object)), "c.npz", ""),
    "empty": (put("c.npz", b""), "c.npz", ""),
    "truncated": (cut("c.npz", 200), "c.npz", ""),
    "no npz": (put("c.npz", b"hello"), "c.npz", ""),
}


@pytest.mark.parametrize(("spoil", "problem", "hint"), CALIBRATION.values(), ids=CALIBRATION)
def test_calibration(
    spoil: Callable[[], None],
    problem: str,
    hint: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil()
    check(COMPILE.split(), problem, hint, folder, capsys)
    assert not (folder / "unpickled").exists()


OPTIONS = {
    "target": ("--target x86-vni", "--target: unknown target 'x86-vni'", "'x86-vnni'"),
    "recipe": ("--recipe static-int9", "unknown recipe 'static-int9'", "'static-int8'"),
    "calibrator": ("--calibrator msee", "unknown calibrator 'msee'", "'mse'"),
    "float op": ("--float-ops Cnov", "unknown operator 'Cnov'", "'Conv'"),
    "layout": ("--layout nhcw", "unknown layout 'nhcw'", "nchw or nhwc"),
    "std of 0": ("--std 0", "--std: a standard deviation of 0", ""),
    "pass": ("--print-after FoldQdqs", "unknown pass 'FoldQdqs'", "'FoldQdq'"),
    "input": ("--shape imag=1,2,4,4", "imag", ""),
    "config missing": ("--config none.toml", "none.toml: cannot read it", ""),
    "config key": ("--config key.toml", "key.toml: unknown key 'recipes'", "'recipe'"),
    "config no TOML": ("--config bad.toml", "bad.toml: not TOML", ""),
    "output folder": ("-o none/out.qcm", "cannot write: no such folder", "mkdir -p"),
    "output is a folder": ("-o .", "cannot write: it is not a regular file", "name a file"),
    "output read-only": ("-o /proc/out.qcm", "/proc/out.qcm: cannot write", "-o"),
}


OVERWRITES = {
    "compile: model": "compile m.onnx --target x86-vnni --calib c.npz -o ./m.onnx",
    "compile: default name": "compile sub/m.qcm --target x86-vnni --calib c.npz",
    "compile: link to the data": COMPILE + " -o link.npz",
    "compile: config": COMPILE + " --config c.toml -o c.toml",
    "compile: weights beside the model": "compile w.onnx --target x86-vnni -o w.data",
    "compile: a sample": "compile m.onnx --target x86-vnni --calib sub -o sub/a.npy",
    "quantize: data": "quantize m.onnx --target x86-vnni --calib c.npz -o c.npz",
    "run: input": "run m.qcm --input in.npz -o in.npz",
    "run: artifact": "run m.qcm --input in.npz -o m.qcm",
}


@pytest.mark.parametrize("command", OVERWRITES.values(), ids=OVERWRITES)
def test_an_input_is_never_overwritten(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ir.to_proto(graph(MODEL))
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0])
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "w"))
    (folder / "c.toml").write_text('recipe = "auto"\n')
    (folder / "link.npz").symlink_to("c.npz")
    (folder / "sub").mkdir()
    (folder / "sub" / "m.qcm").symlink_to("../m.qcm")
    np.save("sub/a.npy", np.ones((2, 4, 4), np.float32))
    onnx.save(model, "w.onnx", save_as_external_data=True, location="w.data", size_threshold=0)
    check(command.split(), "is an input of this command", "-o", folder, capsys)
    assert (folder / "sub" / "a.npy").read_bytes().startswith(b"\x93NUMPY")


@pytest.mark.parametrize(("options", "problem", "hint"), OPTIONS.values(), ids=OPTIONS)
def test_options(
    options: str, problem: str, hint: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "key.toml").write_text('recipes = "auto"\n')
    (folder / "bad.toml").write_text("recipe = = 1\n")
    check([*COMPILE.split(), *options.split()], problem, hint, folder, capsys)


def test_float_model_without_calibration(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = COMPILE.replace("--calib c.npz", "").split()
    check(argv, "needs calibration data", "--calib DATA.npz", folder, capsys)


def tampered() -> None:
    with zipfile.ZipFile("m.qcm") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
        comment = archive.comment
    contents["library.so"] = b"evil"
    with zipfile.ZipFile("m.qcm", "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
        archive.comment = comment


def foreign(**fields: object) -> Callable[[], None]:
    def write() -> None:
        model = compiled()
        model.manifest.update(fields)  # type: ignore[typeddict-item]
        model.save("m.qcm")

    return write


ARTIFACTS = {
    "missing": (remove("m.qcm"), "m.qcm: no such file"),
    "empty": (put("m.qcm", b""), "m.qcm: not an artifact, or truncated"),
    "text": (put("m.qcm", b"hello"), "m.qcm: not an artifact"),
    "truncated": (cut("m.qcm", 700), "m.qcm: not an artifact, or truncated"),
    "tampered": (tampered, "m.qcm: library.so is not what was packed"),
    "another zip": (lambda: zipfile.ZipFile("m.qcm", "w").close(), "its entries are others"),
    "other architecture": (foreign(arch="z80"), "compiled for fake (z80), this machine is"),
    "other CPU": (foreign(features=["warp"]), "compiled for fake, this CPU lacks warp"),
    "other target": (foreign(target="x86-vnnj"), "unknown target 'x86-vnnj'"),
}


@pytest.mark.parametrize("command", [VALIDATE, RUN, "bench m.qcm"], ids=str.split)
@pytest.mark.parametrize(("spoil", "problem"), ARTIFACTS.values(), ids=ARTIFACTS)
def test_artifacts(
    spoil: Callable[[], None],
    problem: str,
    command: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil()
    check(command.split(), problem, "", folder, capsys)


USES = {
    "run: missing": ("run m.qcm --input no.npz -o o.npz", "no.npz: no such file", ""),
    "run: name": ("run m.qcm --input name.npz -o o.npz", "has no input 'xx'", "'x'"),
    "run: none": ("run m.qcm --input none.npz -o o.npz", "no array for input 'x'", "nothing"),
    "run: shape": ("run m.qcm --input shape.npz -o o.npz", "got shape (2, 4)", ""),
    "run: dtype": ("run m.qcm --input dtype.npz -o o.npz", "got float64", "astype"),
    "run: NaN": ("run m.qcm --input nan.npz -o o.npz", "nan at (0, 2)", "finite"),
    "run: pickle": ("run m.qcm --input pickle.npz -o o.npz", "pickles are refused", ""),
    "run: npy": ("run m.qcm --input array.npy -o o.npz", "not an .npz", "np.savez"),
    "run: text": ("run m.qcm --input text.npz -o o.npz", "text.npz: ", ""),
    "run: cut": ("run m.qcm --input cut.npz -o o.npz", "cut.npz: damaged", ""),
    "run: output": ("run m.qcm --input in.npz -o no/o.npz", "no such folder", "mkdir"),
    "validate: data": ("validate m.qcm --data no.npz", "no.npz: no such file", ""),
    "validate: labels": (VALIDATE + " --labels lable", "'lable'", "'label'"),
    "validate: NaN": ("validate m.qcm --data nan.npz", "'x'", ""),
    "validate: reference": (VALIDATE + " --reference m.onnx", "not the model that was", ""),
    "validate: no reference": (VALIDATE + " --reference no.onnx", "no such file", ""),
    "validate: bad reference": (VALIDATE + " --reference text.npz", "text.npz: ", ""),
    "bench: peer": ("bench m.qcm --against onxruntime", "unknown peer", "'onnxruntime'"),
    "bench: threads": ("bench m.qcm --threads 10000", "10000 threads", "at most --threads"),
    "run: stdout": ("run m.qcm --input in.npz -o -", "not written to stdout", "name a file"),
    "validate: scale": (VALIDATE + " --scale 0", "--scale: a factor of 0", ""),
    "inspect: folder": ("inspect folder.qcm", "folder.qcm: is a directory", ""),
    "run: folder": ("run folder.qcm --input in.npz -o o.npz", "is a directory", ""),
    "inspect: missing": ("inspect no.onnx", "no.onnx: no such file", ""),
    "inspect: text": ("inspect text.npz", "text.npz: ", ""),
    "targets: name": ("targets x86", "unknown target 'x86'", ""),
}


@pytest.mark.parametrize(("command", "problem", "hint"), USES.values(), ids=USES)
def test_uses(
    command: str, problem: str, hint: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.ones((1, 4), np.float32)
    np.savez("name.npz", xx=x)
    np.savez("none.npz")
    np.savez("shape.npz", x=np.ones((2, 4), np.float32))
    np.savez("dtype.npz", x=x.astype(np.float64))
    np.savez("nan.npz", x=np.array([[1, 1, np.nan, 1]], np.float32))
    np.savez("pickle.npz", x=np.array([Evil()], dtype=object))
    np.save("array.npy", x)
    put("text.npz", b"hello")()
    Path("folder.qcm").mkdir()
    put("cut.npz", Path("in.npz").read_bytes()[:100])()
    check(command.split(), problem, hint, folder, capsys)
    assert not (folder / "unpickled").exists()


def test_the_page_is_right_that_all_would_succeed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (VALIDATE + " --labels label", RUN, COMPILE.replace("compile", "quantize")):
        assert cli.main(command.split()) == 0, capsys.readouterr().err
    assert (folder / "out.npz").is_file()
    capsys.readouterr()
    assert cli.main([*COMPILE.split(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["artifact"] == "out.qcm"
    assert (folder / "out.qcm").is_file()


def test_python_raises_the_same(folder: Path) -> None:
    with pytest.raises(ConfigError, match="unknown target 'x86-vni'"):
        qcompile.compile("m.onnx", target="x86-vni", calibration=[CALIB])
