"""A tuned library stays only where it is not the slower one as a whole."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from qcompile.target import Arrays, Built
from qcompile.tuning_guard import FEWEST, LONGEST, ROUNDS, faster


@dataclasses.dataclass
class Timer:
    """A library that takes the seconds of its kernels, which its file names."""

    seconds: list[float]
    runs: int = 0

    def measure(self, inputs: Arrays, runs: int) -> Any:
        self.runs += runs
        return np.array([self.seconds] * runs)

    def close(self) -> None:
        self.runs += 1000


class Machine:
    """A target whose libraries are texts of seconds."""

    name = "a-target"

    def __init__(self) -> None:
        self.loaded: list[Timer] = []
        self.lowering = self

    def load(self, library: Path, model: ir.Model) -> Timer:
        self.loaded.append(Timer([float(each) for each in library.read_text().split()]))
        return self.loaded[-1]


def built(seconds: str) -> Built:
    return Built(seconds.encode(), ())


def chosen(tuned: str, untuned: str, **options: Any) -> tuple[str, list[Timer]]:
    machine: Any = Machine()
    model: Any = None
    made = faster(built(tuned), built(untuned), machine, model, {}, **options)
    return made.library.decode(), machine.loaded


@pytest.mark.parametrize(
    ("tuned", "untuned", "kept"),
    [
        ("1.0 2.0", "2.0 2.0", "1.0 2.0"),
        ("1.0 4.0", "2.0 2.0", "2.0 2.0"),  # one kernel gains, the whole loses
        ("3.0", "1.0 2.0", "3.0"),  # as fast
    ],
)
def test_the_whole_decides(tuned: str, untuned: str, kept: str) -> None:
    found, loaded = chosen(tuned, untuned)
    assert found == kept
    assert [each.runs for each in loaded] == [1000 + ROUNDS] * 2  # in turns, then closed


def test_a_slow_model_has_few_rounds() -> None:
    seconds = iter(range(1000))
    _, loaded = chosen("1.0", "2.0", clock=lambda: LONGEST * next(seconds))
    assert [each.runs for each in loaded] == [1000 + FEWEST] * 2


def test_the_same_library_is_not_timed() -> None:
    found, loaded = chosen("1.0", "1.0")
    assert (found, loaded) == ("1.0", [])
