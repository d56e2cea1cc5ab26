"""The table of --explain: where the time of a model goes, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qcompile.explanation import Explanation, Row
    from qcompile.peaks import Peaks

LONGEST = 44
"""Characters of a cell that holds names."""

HEAD = ("node", "kernel", "tile", "ms", "%", "GMAC/s", "of peak", "of copy speed", "")


NEARER = "over 100 % of copy speed: the numbers lay in a nearer cache than those of the copy"


def describe_explanation(explanation: Explanation) -> str:
    """Return the rows, the slowest first, a total, and why what is float is so."""
    from qcompile.cli.tables import table

    total = explanation.total_ms
    rows = [row for row in explanation.rows if row.ms]
    lines = [HEAD, *(cells(row, total) for row in rows)]
    macs = sum(row.macs for row in rows)
    peaks = explanation.peaks
    floor = arithmetic_floor(rows, peaks) * 1e3 / total if peaks and total else None
    rate = f"{macs / total / 1e6:.1f}" if total else ""
    lines.append(("total", "", "", f"{total:.3f}", "100", rate, percent(floor)))
    free = [row.node for row in explanation.rows if not row.ms]
    parts = [table(lines, right=(3, 4, 5, 6, 7)), facts(explanation)]
    if any((row.bandwidth or 0.0) > 1 for row in rows):
        parts.append(NEARER)
    if free:
        parts.append(f"without a kernel of their own: {', '.join(free)}")
    return "\n".join([*parts, *float_lines(explanation)])


def arithmetic_floor(rows: Sequence[Row], peaks: Peaks) -> float:
    """Return the seconds of all multiply-accumulates at the peak of integers or of floats."""
    return sum(
        peaks.arithmetic_seconds(row.macs, real=row.float_reason is not None) for row in rows
    )


def cells(row: Row, total: float) -> tuple[str, ...]:
    """Return the cells of one row."""
    return (
        cut(row.node),
        row.kernel,
        cut(row.tile),
        f"{row.ms:.4f}",
        f"{100 * row.ms / total:.1f}",
        f"{row.gmacs_per_second:.1f}" if row.macs else "",
        percent(row.arithmetic),
        percent(row.bandwidth),
        "float" if row.float_reason is not None else "",
    )


def facts(explanation: Explanation) -> str:
    """Return what the shares are shares of."""
    count, peaks = explanation.threads, explanation.peaks
    threads = f"{count} thread{'s' if count > 1 else ''}"
    medians = f"{threads}, medians of {explanation.runs} runs"
    if peaks is None:
        return medians
    copies = ", ".join(
        f"{speed / 1e9:.0f} GB/s up to {size >> 10} KiB" for size, speed in peaks.copies
    )
    peak = f"{peaks.macs_per_second / 1e9:.0f} GMAC/s"
    real = f"{peaks.float_macs_per_second / 1e9:.0f} GMAC/s in float"
    return f"{medians}; measured here: dot {peak}, {real}, copy {copies}"


def float_lines(explanation: Explanation) -> list[str]:
    """Return a line for each reason: what it costs, and the nodes."""
    reasons = dict.fromkeys(row.float_reason for row in explanation.rows if row.float_reason)
    lines = []
    for reason in reasons:
        rows = [row for row in explanation.rows if row.float_reason == reason]
        names = dict.fromkeys(row.node for row in rows)
        cost = sum(row.ms for row in rows)
        lines.append(f"float, {cost:.3f} ms: {reason}: {', '.join(names)}")
    return lines


def percent(part: float | None) -> str:
    """Return a share in whole per cents."""
    return "" if part is None else f"{100 * part:.0f} %"


def cut(text: str) -> str:
    """Return a text that is not too long for a column; its end says most."""
    return text if len(text) <= LONGEST else f"...{text[-LONGEST + 3 :]}"
