"""The loops that a kernel over views gets: few, and never outside the memory."""

from __future__ import annotations

from qcompile.targets.kernels.strided import Line, nest
from qcompile.targets.kernels.view import View
from qcompile.targets.layout import Halo, Layout

SHAPE = (2, 20, 5, 7)
IMAGES = View.of(SHAPE, Layout.spatial(SHAPE, 16))


def test_equal_layouts_are_one_loop_over_all_memory() -> None:
    assert nest((IMAGES, IMAGES)) == [(2 * 5 * 7 * 32, (1, 1))]


def test_a_halo_leaves_lines() -> None:
    halo = View.of(SHAPE, Layout.spatial(SHAPE, 16, Halo(0, 1, 0, 1)))
    assert nest((IMAGES, halo)) == [(10, (7 * 32, 9 * 32)), (7 * 32, (1, 1))]


def test_padding_of_one_side_alone_is_not_touched() -> None:
    plain = View.of(SHAPE, Layout.spatial(SHAPE))
    assert nest((IMAGES, plain)) == [(70, (32, 20)), (20, (1, 1))]


def test_a_part_of_the_channels_is_not_widened() -> None:
    starts, extents = (0, 0, 0, 0), (2, 12, 5, 7)
    part = IMAGES.slice(starts, extents)
    small = View.of(extents, Layout.spatial(extents, 16))
    assert nest((small, part))[-1] == (12, (1, 1))


def test_a_read_from_the_middle_of_a_pixel_stays_inside_it() -> None:
    extents = (2, 17, 5, 7)
    part = IMAGES.slice((0, 3, 0, 0), extents)
    small = View.of(extents, Layout.spatial(extents, 16))
    assert nest((part, small))[-1] == (17, (1, 1))


def test_a_channel_vector_serves_every_pixel() -> None:
    shape = (20, 1, 1)
    vector = View.of(shape, Layout.rows(shape)).broadcast_to(SHAPE)
    assert nest((vector, IMAGES)) == [(70, (0, 32)), (20, (1, 1))]


def test_a_short_channel_axis_gives_way_to_contiguous_reads() -> None:
    shape = (1, 5, 1, 40)
    images = View.of(shape, Layout.spatial(shape, 16))
    assert nest((View.plain(shape), images)) == [(5, (40, 1)), (40, (1, 16))]


def test_a_single_number_is_a_loop_of_one() -> None:
    assert nest((View.plain(()), View.plain(()))) == [(1, (0, 0))]


def test_the_end_of_a_line_gets_a_narrower_vector() -> None:
    assert (Line((96, (1, 1)), 64, 16, 16).count, Line((96, (1, 1)), 64, 16, 16).last) == (
        2,
        32,
    )
    assert Line((96, (1, 1)), 64, 16, None).last == 64
    assert Line((128, (1, 1)), 64, 16, 16).last == 0
    assert Line((96, (1, 96)), 64, 16, 16).width == 16
