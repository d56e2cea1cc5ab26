"""Print figures as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Row = Mapping[str, object]


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a table; the first row's keys are its columns."""
    columns = list(rows[0])
    cells = [columns, *([text(row.get(column, "")) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def text(value: object) -> str:
    """Return a cell: floats with four figures, everything else as it is."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
