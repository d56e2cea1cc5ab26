"""Options that several commands share, and how their text becomes values."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qcompile.data.preprocess import Preprocess


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def add_explain(parser: argparse.ArgumentParser) -> None:
    """Add --explain."""
    parser.add_argument(
        "--explain", action="store_true", help="time every kernel, and show what it is"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device and --timeout."""
    parser.add_argument(
        "--device", metavar="URL", help="rpc://host:port/key or tracker://...: run it there"
    )
    add_timeout(parser)


def add_timeout(parser: argparse.ArgumentParser) -> None:
    """Add --timeout."""
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long the device may take for an answer (default 60)",
    )


def add_preprocess(parser: argparse.ArgumentParser) -> None:
    """Add what turns stored numbers into what the model wants."""
    group = parser.add_argument_group("preprocessing: (x * scale - mean) / std")
    group.add_argument("--scale", type=float, metavar="S", help="factor, e.g. 0.0039215686")
    group.add_argument(
        "--mean", type=numbers, metavar="M[,M...]", help="one, or one a channel"
    )
    group.add_argument("--std", type=numbers, metavar="S[,S...]", help="one, or one a channel")
    group.add_argument("--layout", metavar="nchw|nhwc", help="how the stored arrays lie")


def preprocess(args: argparse.Namespace) -> Preprocess | None:
    """Return the preprocessing that the options describe, None where there is none."""
    from qcompile.data.preprocess import Preprocess

    fields = {name: getattr(args, name) for name in ("scale", "mean", "std", "layout")}
    given = {name: value for name, value in fields.items() if value is not None}
    return Preprocess(**given) if given else None


def numbers(text: str) -> tuple[float, ...]:
    """Return numbers that commas part."""
    return tuple(float(part) for part in text.split(","))


def names(text: str) -> tuple[str, ...]:
    """Return names that commas part; at least one."""
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not parts:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing")
    return parts


def shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Return the name and the sizes of `input=1,3,224,224`."""
    name, equals, listed = text.rpartition("=")
    parts = listed.split(",")
    if not name or not equals or not all(part.strip().isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not like input=1,3,224,224")
    return name, tuple(int(part) for part in parts)


def positive(text: str) -> int:
    """Return an integer of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


LONGEST = 86400.0
"""Most seconds that a timeout may ask for."""

LAST_PORT = 65535


def seconds(text: str) -> float:
    """Return a time of more than nothing."""
    try:
        time = float(text)
    except ValueError:
        time = 0.0
    if not 0.0 < time <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds up to a day")
    return time


def port(text: str) -> int:
    """Return a TCP port; 0 is any free one."""
    if not text.isdigit() or int(text) > LAST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port from 0 to {LAST_PORT}")
    return int(text)


def count(text: str) -> int:
    """Return an integer of at least 0."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a count")
    return int(text)


def beside(model: Path, suffix: str) -> Path:
    """Return where the output goes if no -o says: in this folder, under the model's name."""
    return Path(model.with_suffix(suffix).name)
