"""Text for people: aligned columns, and numbers in units that can be read."""

from __future__ import annotations

from collections.abc import Sequence


def table(lines: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Return the rows with aligned columns.

    Args:
        lines: Rows of cells; a short row leaves its last columns empty.
        right: Columns that are aligned to the right.
    """
    count = max((len(line) for line in lines), default=0)
    padded = [[*line, *[""] * (count - len(line))] for line in lines]
    widths = [max(len(line[column]) for line in padded) for column in range(count)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in padded
    )


def bytes_text(size: int) -> str:
    """Return a size in kB or MB."""
    return f"{size / 1e6:.2f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def count_text(number: int) -> str:
    """Return a large count in thousands, millions or billions."""
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= factor:
            return f"{number / factor:.1f}{unit}"
    return str(number)


def percent(share: float) -> str:
    """Return a share as per cent, 100 only where nothing is missing."""
    text = f"{100 * share:.2f} %"
    return "< 100 %" if text.startswith("100") and share < 1 else text
