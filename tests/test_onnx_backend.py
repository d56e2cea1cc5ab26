"""A seeded sample of onnx's own backend tests: each passes or is refused, none is wrong."""

from __future__ import annotations

import functools
import random
import warnings

import numpy as np
import onnx
import pytest
from onnx.backend.test.case.test_case import TestCase as Case
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt as Refusal
from onnx.backend.test.runner import Runner, _normalize_tensor

from qcompile.onnx_backend import QcompileBackend, parameters
from tests.graphs import graph

GROUPS = 6
CASES_A_GROUP = 10
MOST_PASS = 0.4
"""Of a sample; of all cases more than half do."""


@functools.cache
def cases() -> list[Case]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sorted(load_model_tests(kind="node"), key=lambda case: str(case.name))


def passes(case: Case) -> bool:
    """Whether a case passes; False where it is refused."""
    assert case.model is not None
    assert case.data_sets is not None
    try:
        rep = QcompileBackend.prepare(case.model)
        for inputs, expected in case.data_sets:
            Runner.assert_similar_outputs(
                [_normalize_tensor(item) for item in expected],
                rep.run([_normalize_tensor(item) for item in inputs]),
                case.rtol,
                case.atol,
            )
    except Refusal:
        return False
    return True


@pytest.mark.parametrize("group", range(GROUPS))
@pytest.mark.filterwarnings("ignore")
def test_sample(group: int) -> None:
    sample = random.Random(0).sample(cases(), GROUPS * CASES_A_GROUP)
    chosen = sample[group::GROUPS]
    passed = [case.name for case in chosen if passes(case)]
    assert len(passed) >= MOST_PASS * len(chosen), passed


def model(text: str) -> onnx.ModelProto:
    import onnx_ir as ir

    return ir.to_proto(graph(text))


def test_runs_a_model() -> None:
    x = np.array([-1.0, 0.0, np.inf, np.nan], np.float32)
    (y,) = QcompileBackend.run_model(
        model("g (float[4] x) => (float[4] y) { y = Abs(x) }"), [x]
    )
    np.testing.assert_array_equal(y, np.abs(x))


def test_an_input_that_is_a_shape_is_fixed_by_the_run() -> None:
    reshape = model("g (float[6] x, int64[2] s) => (float[A,B] y) { y = Reshape(x, s) }")
    rep = QcompileBackend.prepare(reshape)
    x = np.arange(6, dtype=np.float32)
    for shape in ((2, 3), (3, 2)):
        (y,) = rep.run([x, np.array(shape)])
        np.testing.assert_array_equal(y, x.reshape(shape))


def test_what_is_also_data_is_no_parameter() -> None:
    both = model(
        "g (int64[2] s, float[6] x) => (float[A,B] y, int64[2] t)"
        "{ y = Reshape(x, s)  t = Add(s, s) }"
    )
    assert parameters(both.graph) == set()


def test_refuses_by_name() -> None:
    lstm = model("g (float[2] x) => (float[2] y) { y = Bernoulli(x) }")
    with pytest.raises(Refusal, match="Bernoulli"):
        QcompileBackend.prepare(lstm)


def test_only_the_cpu() -> None:
    assert QcompileBackend.supports_device("CPU")
    assert not QcompileBackend.supports_device("CUDA")
