"""Outliers in calibration data: what is left out, what is kept, and what the user reads."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime
import pytest

from qcompile.calibration.calibrators import CALIBRATORS, GUARDED, Observation
from qcompile.cli import main
from qcompile.compiler import compile_model
from qcompile.config import CompileConfig
from qcompile.errors import CalibrationWarning
from qcompile.quant import S8, U8, QuantSpec
from tests.nets import net

F32 = npt.NDArray[np.float32]

CONVOLUTIONS = """
    g (float[1,3,16,16] x, float[8,3,3,3] w1, float[4,8,3,3] w2, float[6,4] w3)
      => (float[1,6] y)
    { a = Conv <pads = [1,1,1,1]> (x, w1)  r = Relu(a)
      b = Conv <pads = [1,1,1,1]> (r, w2)  c = Relu(b)
      p = GlobalAveragePool(c)  f = Flatten(p)  y = Gemm <transB = 1> (f, w3) }"""


def normal(samples: int, *shape: int) -> F32:
    return np.random.default_rng(0).standard_normal((samples, *shape)).astype(np.float32)


def observe(data: F32, batch: int = 1) -> Observation:
    observation = Observation()
    for start in range(0, len(data), batch):
        run = data[start : start + batch]
        observation.add(run, len(run))
    return observation


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", sorted(GUARDED))
@pytest.mark.parametrize("spec", [U8, S8], ids=["u8", "s8"])
@pytest.mark.parametrize("outlier", [1e3, -1e6, 1e30])
def test_one_number_of_one_sample_is_left_out(
    outlier: float, spec: QuantSpec, name: str, batch: int
) -> None:
    data = normal(16, 3, 16, 16)
    clean = CALIBRATORS[name](observe(data), spec)
    data[5, 0, 3, 3] = outlier
    dirty = CALIBRATORS[name](observe(data, batch), spec)
    assert dirty == pytest.approx(clean, rel=0.1)


def every_sample(data: F32) -> None:
    data[:, 0, 0] = 1e3


def two_of_sixteen(data: F32) -> None:
    data[[3, 9], 0, 0] = 1e3


def near(data: F32) -> None:
    data[3, 0, 0] = 15 * np.abs(data).max()


def one_sample_is_large_all_over(data: F32) -> None:
    data[3] *= 100


def the_others_are_zero(data: F32) -> None:
    data[1:] = 0


@pytest.mark.parametrize(
    "change",
    [every_sample, two_of_sixteen, near, one_sample_is_large_all_over, the_others_are_zero],
)
def test_kept(change: object) -> None:
    data = normal(16, 200, 10)
    assert callable(change)
    change(data)
    assert observe(data).outliers is None


def test_of_seven_samples_none_is_unusual() -> None:
    data = normal(8, 200, 10)
    data[3, 0, 0] = 1e6
    assert observe(data[:7]).outliers is None
    outliers = observe(data).outliers
    assert outliers is not None
    assert (outliers.numbers, outliers.total, outliers.samples) == (1, 16000, 1)
    assert outliers.kept == np.abs(np.delete(data, 3, axis=0)).max()


def test_one_percent_of_many_samples() -> None:
    data = normal(300, 200, 10)
    data[[3, 70, 200], 0, 0] = [1e3, -1e6, 1e9]
    outliers = observe(data).outliers
    assert outliers is not None
    assert (outliers.numbers, outliers.samples, outliers.greatest) == (3, 3, 1e9)
    data[[8, 9], 0, 0] = 1e3
    assert observe(data).outliers is not None  # 1e6 and 1e9 alone are few still
    assert observe(data).ordinary.maximum == 1e3


def real(model: ir.Model, x: F32) -> F32:
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"x": x})[0], np.float32)


@pytest.mark.parametrize("outlier", [1e3, 1e6, 1e30])
def test_a_network_survives_one_number(outlier: float) -> None:
    model = net(CONVOLUTIONS)
    data = normal(16, 1, 3, 16, 16)
    clean = data[0].copy()
    data[7, 0, 1, 8, 8] = outlier
    with pytest.warns(CalibrationWarning, match=r"value 'x': 1 of 12288 numbers") as caught:
        compiled = compile_model(model, "native", calibration=[{"x": each} for each in data])
    assert compiled.report["warnings"] == [str(each.message) for each in caught]
    expected = real(model, clean)
    got = compiled.run({"x": clean})["y"].astype(np.float32)
    # Four layers of 8-bit steps; without the guard the noise is the signal: 0 dB.
    assert np.square(expected - got).sum() < np.square(expected).sum() / 10**2.5


def test_min_max_keeps_it_without_a_word() -> None:
    model = net(CONVOLUTIONS)
    data = normal(16, 1, 3, 16, 16)
    data[7, 0, 1, 8, 8] = 1e3
    config = CompileConfig(calibrator="min-max")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calibration = [{"x": each} for each in data]
        compiled = compile_model(model, "native", calibration=calibration, config=config)
    scheme = next(iter(compiled.manifest["tensors"].values()))
    assert scheme["scale"] > 1e3 / 256


def test_the_command_prints_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = normal(16, 3, 16, 16)
    data[7, 1, 8, 8] = 1e3
    np.savez(tmp_path / "data.npz", x=data)
    ir.save(net(CONVOLUTIONS), tmp_path / "m.onnx")
    model, calib, out = (str(tmp_path / name) for name in ("m.onnx", "data.npz", "q.onnx"))
    status = main(["quantize", model, "--target", "x86-vnni", "--calib", calib, "-o", out])
    lines = capsys.readouterr().err.splitlines()
    assert status == 0
    assert lines[0].startswith(
        "qcompile: warning: value 'x': 1 of 12288 numbers, up to 1e+03,"
    )
    assert "`--calibrator min-max` keeps them" in lines[0]
