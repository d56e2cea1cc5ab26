"""Silero VAD: is there speech in 32 ms of sound? With a recurrent state.

The published model asks for the rate of the sound and has a branch for each of two; here it
is fixed to 16 kHz. Speech is pocketsphinx's test data: calibration and tests hear different
recordings, each from its beginning, the state handed on from one piece to the next.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from benchmark_model import Floats, Sample
from debian import DebianPackage
from packages import Package
from qcompile.validation.reference import open_session

PACKAGE = Package(
    "silero-vad", "6.2.3", "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8"
)
MEMBER = "silero_vad/data/silero_vad_op18_ifless.onnx"
SPEECH = DebianPackage(
    "pocketsphinx-testdata",
    "0.8+5prealpha+1-15",
    "eaeb7a01d54f20b799d1a81ef110ec544b2cb47ea006614078220737a33019f0",
)
FOLDER = "usr/share/pocketsphinx/test/data"
CALIBRATION = ("goforward.raw", "something.raw")
TESTS = ("numbers.raw",)
"""Recordings of 16-bit samples at 16 kHz."""

RATE = 16_000
PIECE, CONTEXT = 512, 64
STATE = (2, 1, 128)
SHAPES = {"input": (1, CONTEXT + PIECE), "state": STATE}


def silero_vad() -> onnx.ModelProto:
    """Return the model: `input` 1x576 and `state` 2x1x128 to `output` 1x1 and `stateN`."""
    model = onnx.load_from_string(PACKAGE.read(MEMBER))
    (rate,) = (value for value in model.graph.input if value.name == "sr")
    model.graph.input.remove(rate)
    model.graph.initializer.append(numpy_helper.from_array(np.array(RATE, np.int64), "sr"))
    return model


def speech_samples(recordings: Sequence[str]) -> list[Sample]:
    """Return every piece of the recordings, with the state that the float model came to."""
    session = open_session(silero_vad().SerializeToString(), where="silero_vad")
    found: list[Sample] = []
    for recording in recordings:
        state = np.zeros(STATE, np.float32)
        for window in _windows(_sound(recording)):
            found.append({"input": window[None], "state": state})
            state = session.run(["stateN"], found[-1])[0]
    return found


def _windows(sound: Floats) -> list[Floats]:
    """Return pieces with what was before them; before the first is silence."""
    heard = np.concatenate([np.zeros(CONTEXT, np.float32), sound])
    starts = range(0, len(sound) - PIECE + 1, PIECE)
    return [heard[start : start + CONTEXT + PIECE] for start in starts]


@functools.cache
def _sound(recording: str) -> Floats:
    samples = np.frombuffer(SPEECH.read(f"{FOLDER}/{recording}"), "<i2")
    return np.asarray(samples / 32_768, np.float32)
