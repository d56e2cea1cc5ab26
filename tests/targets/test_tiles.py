"""The cost model: tiles fit the registers, known shapes get the tiles that measured best."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.targets.arm_isa import DOTPROD, I8MM, NEON
from qcompile.targets.isa import Isa
from qcompile.targets.tiles import Tile, Work, cycles, split, tiles
from qcompile.targets.x86_isa import AVX2, AVXVNNI, VNNI512

ISAS = (VNNI512, AVXVNNI, AVX2, NEON, DOTPROD, I8MM)


def work(
    height: int, pixels: int, vectors: int, taps: int, steps: int, images: int = 1
) -> Work:
    return Work(
        lines=images * height,
        height=height,
        pixels=pixels,
        vectors=vectors,
        taps=taps,
        k_steps=(steps,) * vectors,
        line_bytes=pixels * steps * 4,
    )


WORKS = st.builds(
    work,
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(1, 80),
    st.sampled_from([1, 9, 49]),
    st.integers(1, 600),
    st.integers(1, 3),
)


@given(WORKS, st.sampled_from(ISAS))
def test_tiles_fit(given_work: Work, isa: Isa) -> None:
    found = tiles(given_work, isa)
    assert found
    for tile in found:
        pixels, vectors = tile.block
        assert pixels * vectors + min(pixels, vectors) < isa.registers
        assert 1 <= tile.pixels <= given_work.pixels
        assert 1 <= tile.lines <= given_work.height
        assert tile.lines == 1 or tile.pixels == given_work.pixels
        assert 1 <= tile.vectors <= given_work.vectors
        assert tile.chunk >= 1


@given(WORKS, st.sampled_from(ISAS))
def test_best_first(given_work: Work, isa: Isa) -> None:
    costs = [cycles(tile, given_work, isa) for tile in tiles(given_work, isa)]
    assert costs == sorted(costs)


@given(WORKS, st.sampled_from(ISAS))
def test_never_below_the_arithmetic(given_work: Work, isa: Isa) -> None:
    """No estimate is faster than two dots a cycle."""
    dots = given_work.taps * given_work.k_steps[0] * given_work.vectors
    floor = given_work.lines * given_work.pixels * dots / 2
    assert all(cycles(tile, given_work, isa) >= floor for tile in tiles(given_work, isa))


@pytest.mark.parametrize(
    ("shape", "tile"),
    [
        (work(56, 56, 4, 9, 16), (14, 2)),
        (work(14, 14, 16, 9, 64), (14, 2)),
        (work(7, 7, 32, 9, 128), (14, 2)),
        (work(4, 4, 16, 9, 64), (8, 2)),
        (work(1, 1, 63, 1, 320), (1, 8)),
    ],
)
def test_measured_choices(shape: Work, tile: tuple[int, int]) -> None:
    best = tiles(shape, VNNI512)[0]
    assert best.block == tile


@given(st.integers(1, 5000), st.integers(1, 60), st.integers(1, 40))
def test_split(lines: int, per_line: int, pieces: int) -> None:
    total = lines * per_line
    size = split(total, per_line, pieces)
    assert 1 <= size <= total
    assert size < per_line or size % per_line == 0
    assert -(-total // size) >= min(pieces, total)


def test_words() -> None:
    assert str(Tile(14, 2, 56)) == "14x2/56"
    assert str(Tile(4, 3, 2, lines=2)) == "2*4x3/2"
