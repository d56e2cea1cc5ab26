"""What the inner loops for arm-dotprod cost: `python benchmarks/arm_inner_loop.py`.

For the 3x3 convolutions of a ResNet: how many of the innermost loop's instructions are dot
products, and the cycles that LLVM's model of a Neoverse N1 gives one pass. Needs llvm-mca of
LLVM 19 (`apt-get install llvm-19`); older ones repeat the model of a Cortex-A72 for an N1.
Writes benchmarks/results/arm_inner_loop.md; returns 1 if a share is under the bar.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import tvm

from qcompile.errors import CompileError
from qcompile.files import write_atomic
from qcompile.targets.arm_isa import DOTPROD
from qcompile.targets.kernels.dense_conv import DenseConv
from qcompile.targets.kernels.epilogue import Epilogue
from qcompile.targets.layout import Halo, Layout
from tables import Row, markdown

RESULTS = Path(__file__).parent / "results"
SHAPES = ((64, 56), (128, 28), (256, 14), (512, 7), (24, 28), (48, 14))
"""Channels and pixels: of ResNet-18, and of the Fashion-MNIST sample."""

CPU = "neoverse-n1"
ITERATIONS = 100
BAR = 0.75
BRANCH = re.compile(r"\t(?:b\.\w+|cbn?z|tbn?z)\t.*?(\.L\w+)$")
MACS = 16
"""Of one sdot."""


def main() -> int:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description="Judge the inner loops for arm-dotprod.")
    parser.add_argument("--mca", default="llvm-mca-19", help="the program; %(default)s")
    options = parser.parse_args()
    loops = [max(innermost(assembly(*shape)), key=dots) for shape in SHAPES]
    rows = [row(*each, options.mca) for each in zip(SHAPES, loops, strict=True)]
    title = f"# Inner loop of the 3x3 convolution, arm-dotprod ({options.mca} -mcpu={CPU})"
    page = f"{title}\n\n{markdown(rows)}\n"
    write_atomic(RESULTS / "arm_inner_loop.md", page.encode())
    print(page)
    return int(any(dots(loop) < BAR * len(loop) for loop in loops))


def row(shape: tuple[int, int], loop: list[str], mca: str) -> Row:
    """Return what the loop of one convolution consists of and costs."""
    channels, pixels = shape
    spent = cycles(loop, mca)
    return {
        "channels": channels,
        "pixels": f"{pixels} x {pixels}",
        "instructions": len(loop),
        "dots": dots(loop),
        "share": f"{dots(loop) / len(loop):.1%}",
        "cycles": spent,
        "MACs a cycle": dots(loop) * MACS / spent,
    }


def assembly(channels: int, pixels: int) -> str:
    """Return the assembly of a 3x3 convolution that keeps its size."""
    kernel = DenseConv(
        x=Layout(1, pixels, pixels, channels, channels, Halo(1, 1, 1, 1)),
        y=Layout(1, pixels, pixels, channels, channels),
        isa=DOTPROD,
        epilogue=Epilogue(dtype="int8", zero_point=3),
        kernel=(3, 3),
        pads=(1, 1),
    )
    target = tvm.target.Target(dict(DOTPROD.tvm_target))
    return str(tvm.compile(kernel.func(), target=target).mod.inspect_source("asm"))


def innermost(text: str) -> list[list[str]]:
    """Return the instructions of every loop that holds no other."""
    labels: dict[str, int] = {}
    found, lines = [], text.splitlines()
    for number, line in enumerate(lines):
        if label := re.match(r"(\.L\w+):", line):
            labels[label[1]] = number
        jump = BRANCH.match(line)
        if jump and jump[1] in labels:
            body = lines[labels[jump[1]] : number + 1]
            if not any(BRANCH.match(each) for each in body[:-1]):
                found.append([each for each in body if re.match(r"\t[a-z]", each)])
    return found


def dots(loop: list[str]) -> int:
    """Return how many of the instructions are dot products."""
    return sum(each.startswith("\tsdot\t") for each in loop)


def cycles(loop: list[str], mca: str) -> float:
    """Return the estimated cycles of one pass.

    Raises:
        CompileError: The program is missing or refuses.
    """
    command = [mca, "-mtriple=aarch64", f"-mcpu={CPU}", f"-iterations={ITERATIONS}"]
    try:
        done = subprocess.run(
            command, input="\n".join(loop), capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        hint = "apt-get install llvm-19, or name another with --mca"
        raise CompileError("is not installed", where=mca, hint=hint) from error
    total = re.search(r"Total Cycles: +(\d+)", done.stdout)
    if total is None:
        raise CompileError((done.stderr.strip().splitlines() or ["?"])[-1], where=mca)
    return int(total[1]) / ITERATIONS


if __name__ == "__main__":
    sys.exit(main())
