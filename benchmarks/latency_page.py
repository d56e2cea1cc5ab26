"""The page of latencies: medians and ratios for each setting, then every configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from configurations import BOUND, OURS
from figures import Case, geomean
from tables import Row, markdown

MEANS = {
    "CNNs": lambda case: not case.transformer,
    "transformers": lambda case: case.transformer,
    "all": lambda case: True,
}
"""Which cases each geometric mean is of."""


def page(facts: Mapping[str, object], cases: list[Case], refused: Mapping[str, str]) -> str:
    """Return the page as Markdown."""
    lines = ["# Latency", "", *(f"- {key}: {value}" for key, value in facts.items()), ""]
    for threads, batch in dict.fromkeys((case.threads, case.batch) for case in cases):
        chosen = [case for case in cases if (case.threads, case.batch) == (threads, batch)]
        lines += setting(threads, batch, chosen)
    lines += ["## Every configuration", "", markdown(details(cases)), ""]
    lines += ["## Without figures", "", *without(cases, refused), ""]
    return "\n".join(lines)


def setting(threads: int, batch: int, cases: list[Case]) -> Iterator[str]:
    """Give the section of one number of threads and one batch."""
    yield f"## {threads} thread{'s' if threads > 1 else ''}, batch {batch}: medians in ms"
    yield ""
    yield markdown(medians(cases))
    yield ""
    yield "How many times as fast as the fastest rival ours is (from and to: single rounds):"
    yield ""
    yield markdown([row for case in cases for row in [ahead(case)] if row])
    yield ""
    yield markdown(means(cases))
    yield ""


def medians(cases: list[Case]) -> list[Row]:
    """Return a row a model and a column a configuration; what is fastest is bold."""
    names = list(dict.fromkeys(name for case in cases for name in case.measured))
    rows: list[Row] = []
    for case in cases:
        cells = dict.fromkeys(names, "") | {
            name: f"{each.median:.3g}" for name, each in case.measured.items()
        }
        fastest = min(case.measured, key=lambda name: case.measured[name].median)
        cells[fastest] = f"**{cells[fastest]}**"
        rows.append({"model": case.model, **cells, "load": case.load})
    return rows


def ahead(case: Case) -> Row | None:
    """Return a model's row of ratios; None where ours, or every rival, has no figure."""
    if not case.rivals():
        return None
    row: dict[str, object] = {"model": case.model}
    for title, int8 in (("of any precision", False), ("of int8", True)):
        rivals = case.rivals(int8=int8)
        if not rivals:
            row |= {title: "", f"fastest {title}": "none"}
            continue
        ratios = case.ratios(rivals[0])
        span = f"{min(ratios):.2f} to {max(ratios):.2f}"
        row |= {title: f"{case.ahead(int8=int8):.2f} ({span})", f"fastest {title}": rivals[0]}
    bound = case.ahead(ours=BOUND)
    return row | {"bound, of any precision": "" if bound is None else f"{bound:.2f}"}


def means(cases: list[Case]) -> list[Row]:
    """Return the geometric means of the ratios."""
    rows: list[Row] = []
    for name, chosen in MEANS.items():
        row: dict[str, object] = {"geometric mean over": name}
        for title, int8 in (("of any precision", False), ("of int8", True)):
            mean = geomean(cases, int8=int8, chosen=chosen)
            row[title] = "" if mean is None else f"{mean:.2f}"
        rows.append(row)
    return rows


def details(cases: list[Case]) -> list[Row]:
    """Return a row for every configuration of every case."""
    rows: list[Row] = []
    for case in cases:
        for name, each in case.measured.items():
            row: dict[str, object] = {
                "model": case.model,
                "threads": case.threads,
                "batch": case.batch,
                "configuration": name,
                "ms": f"{each.median:.3f}",
                "spread": f"{each.spread:.0%}",
                "fastest run": f"{each.least:.3f}",
            }
            if OURS in case.measured:
                ratios = sorted(case.ratios(name))
                row["times ours"] = f"{ratios[len(ratios) // 2]:.2f}"
                row["of all rounds"] = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
            rows.append(row)
    return rows


def without(cases: list[Case], refused: Mapping[str, str]) -> Iterator[str]:
    """Give a line for each reason why a configuration or a model has no figures."""
    for name, reason in refused.items():
        yield f"- {name}: {reason}"
    reasons: dict[tuple[str, str], list[str]] = {}
    for case in cases:
        for name, reason in case.failed.items():
            places = reasons.setdefault((name, reason), [])
            if case.model not in places:
                places.append(case.model)
    for (name, reason), models in reasons.items():
        yield f"- {name}: {reason} ({', '.join(models)})"
    if not refused and not reasons:
        yield "Nothing."
