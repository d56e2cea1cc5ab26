"""What the inner loop of the dense kernel consists of on ARM, where nothing can be timed."""

from __future__ import annotations

import re

import pytest
import tvm

from qcompile.targets.arm_isa import DOTPROD, I8MM, NEON
from qcompile.targets.isa import Isa
from qcompile.targets.kernels.dense_conv import DenseConv
from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.layout import Halo, Layout

SHAPES = [(64, 56), (128, 28), (256, 14), (512, 7)]
"""Channels and pixels of the 3x3 convolutions of a ResNet."""


def assembly(isa: Isa, channels: int, pixels: int) -> str:
    y = Layout(1, pixels, pixels, channels, channels)
    kernel = DenseConv(
        x=Layout(1, pixels, pixels, channels, channels, Halo(1, 1, 1, 1)),
        y=y,
        isa=isa,
        epilogue=Epilogue(dtype="int8", zero_point=3),
        kernel=(3, 3),
        pads=(1, 1),
    )
    module = tvm.compile(kernel.func(), target=tvm.target.Target(dict(isa.tvm_target)))
    return str(module.mod.inspect_source("asm"))


def innermost(text: str) -> list[list[str]]:
    """Return the instructions of every loop that holds no other."""
    labels: dict[str, int] = {}
    found, lines = [], text.splitlines()
    for number, line in enumerate(lines):
        if label := re.match(r"(\.L\w+):", line):
            labels[label[1]] = number
        jump = re.match(r"\t(?:b\.\w+|cbn?z|tbn?z)\t.*?(\.L\w+)$", line)
        if jump and jump[1] in labels:
            body = lines[labels[jump[1]] : number + 1]
            loop = [each.strip() for each in body if re.match(r"\t[a-z]", each)]
            if not any(re.match(r"b\.|cbn?z|tbn?z", each) for each in loop[:-1]):
                found.append(loop)
    return found


@pytest.mark.parametrize(
    ("isa", "instruction", "share"),
    [(DOTPROD, "sdot", 0.75), (I8MM, "smmla", 0.6), (NEON, "smlal2?", 0.65)],
    ids=["dotprod", "i8mm", "neon"],
)
@pytest.mark.parametrize(("channels", "pixels"), SHAPES)
def test_most_instructions_are_dots(
    isa: Isa, instruction: str, share: float, channels: int, pixels: int
) -> None:
    """Also: no accumulator goes to the stack."""
    loops = innermost(assembly(isa, channels, pixels))
    counts = [
        sum(bool(re.match(rf"{instruction}\t", each)) for each in loop) for loop in loops
    ]
    dots = max(counts)
    loop = loops[counts.index(dots)]
    assert dots >= share * len(loop), f"{dots} of {len(loop)}"
    assert not [each for each in loop if "[sp" in each]
