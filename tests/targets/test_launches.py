"""Which kernels are worth a launch of threads."""

from __future__ import annotations

from typing import Any

import pytest

from qcompile.compiler import compile_model
from qcompile.config import CompileConfig
from qcompile.targets.emission import emitted
from qcompile.targets.emitter import NEAR_MACS, THREAD_MACS, Emitter
from qcompile.targets.lowering import TvmLowering
from tests.nets import net, samples
from tests.targets.test_lowering import HERE


def shared(monkeypatch: pytest.MonkeyPatch, text: str) -> list[bool]:
    """Return whether threads share each convolution of a network."""
    found: list[bool] = []
    call = Emitter.call_all

    def spy(self: Emitter, template: Any, *arguments: Any, **options: Any) -> Any:
        if options.get("macs"):
            found.append(template.parallel)
        return call(self, template, *arguments, **options)

    model = net(text)
    compiled = compile_model(
        model,
        HERE[0],
        calibration=samples(model, 2),
        config=CompileConfig(recipe="static-int8"),
    )
    monkeypatch.setattr(Emitter, "call_all", spy)
    graph, lowering = compiled.integer_graph.graph, compiled.lowering
    assert isinstance(lowering, TvmLowering)
    emitted(graph, Emitter(graph, lowering.isa), graph.outputs)
    return found


def macs(pixels: int, inputs: int, outputs: int) -> int:
    return pixels * inputs * outputs


@pytest.mark.parametrize("first", [32, 256])
def test_a_small_kernel_follows_its_input(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    """128 pixels x 64 channels into 96 is small; it has threads where what it reads had."""
    assert NEAR_MACS <= macs(128, 64, 96) < THREAD_MACS
    assert (macs(128, first, 64) >= THREAD_MACS) == (first == 256)
    text = f"""g (float[1,{first},8,16] x, float[64,{first},1,1] v, float[96,64,1,1] w)
        => (float[1,96,8,16] y) {{ c = Conv(x, v)  r = Relu(c)  y = Conv(r, w) }}"""
    assert shared(monkeypatch, text) == [first == 256, first == 256]
