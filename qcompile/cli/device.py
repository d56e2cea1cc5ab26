"""The command `device`: serve this machine over TVM's RPC, or see what a device is."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from qcompile.cli import options
from qcompile.errors import CompileError

if TYPE_CHECKING:
    from qcompile.device import DeviceFacts


def add_commands(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("device", help="serve or check a device over TVM RPC")
    actions = parser.add_subparsers(
        title="actions", metavar="serve|check", dest="action", required=True
    )

    parser = actions.add_parser(
        "serve",
        help="on the board: serve it",
        description="Serve this machine to one client after the other. TVM RPC has no "
        "authentication: whoever reaches the port can run any code here.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=options.port, default=9090, help="0 for any free one")
    parser.add_argument("--key", type=key, default="", help="what clients must name")
    parser.add_argument("--tracker", type=address, metavar="HOST:PORT")
    parser.set_defaults(command=run_serve)

    parser = actions.add_parser("check", help="say what a device is and what fits it")
    parser.add_argument("url", metavar="URL", help="rpc://host:port/key or tracker://...")
    options.add_timeout(parser)
    options.add_json(parser)
    parser.set_defaults(command=run_check)


def run_serve(args: argparse.Namespace) -> int:
    """Serve until interrupted; needs neither onnx nor the compiler."""
    from qcompile.targets.devices.facts import host_facts
    from qcompile.targets.devices.server import is_loopback, serve
    from qcompile.targets.devices.url import host_port

    if args.tracker is not None and not args.key:
        raise CompileError("a tracker needs a key", where="--tracker", hint="add --key KEY")

    fits = fitting_here()

    def ready(port: int) -> None:
        where = host_port(args.host, port)
        if not is_loopback(args.host):
            print(
                f"qcompile: warning: TVM RPC has no authentication: whoever reaches {where} "
                "can run any code on this machine",
                file=sys.stderr,
            )
        print(describe(host_facts(), fits))
        print(f"serves rpc://{where}{'/' if args.key else ''}{args.key}", flush=True)

    serve(args.host, args.port, args.key, args.tracker, ready)


def run_check(args: argparse.Namespace) -> int:
    """Connect, and say what is there."""
    from qcompile.report import json_text
    from qcompile.targets import fitting, open_device

    with open_device(args.url, timeout=args.timeout) as device:
        facts, round_trip = device.facts, device.round_trip()
    fits = [target.name for target in fitting(facts["arch"], facts["features"])]
    if args.json:
        print(json_text({**facts, "targets": fits, "round_trip_ms": round_trip * 1e3}))
    else:
        print(describe(facts, fits, round_trip))
    return 0


def fitting_here() -> list[str] | None:
    """Return the targets that this machine can run; None on a board without the compiler.

    In a process of its own: the targets need the whole compiler, the server its runtime only.
    """
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(names_that_fit)


def names_that_fit() -> list[str] | None:
    """Return what `fitting_here` returns."""
    from qcompile.host import host_arch, host_features

    try:
        from qcompile.targets import fitting
    except ImportError:
        return None
    return [target.name for target in fitting(host_arch(), host_features())]


def describe(
    facts: DeviceFacts, fits: list[str] | None, round_trip: float | None = None
) -> str:
    """Return what a device is, for people."""
    from qcompile.cli.tables import bytes_text, table

    emulated = ", emulated: its times say nothing about hardware" if facts["emulated"] else ""
    targets = "`qcompile device check` says, where the compiler is installed"
    if fits is not None:
        targets = ", ".join(fits) or "none fits"
    free = bytes_text(facts["free_memory_bytes"])
    lines = [
        ("cpu", f"{facts['arch']}, {facts['cores']} cores{emulated}"),
        ("model", facts["cpu"] or "the kernel does not say"),
        ("features", " ".join(facts["features"])),
        ("memory", f"{bytes_text(facts['memory_bytes'])}, {free} free"),
        ("system", facts["system"]),
        ("versions", ", ".join(f"{name} {each}" for name, each in facts["versions"].items())),
        ("targets", targets),
    ]
    if round_trip is not None:
        lines.append(("round trip", f"{round_trip * 1e3:.2f} ms"))
    return table(lines)


def key(text: str) -> str:
    """Return a key that the protocol can carry."""
    if any(each.isspace() or each in "/:" for each in text):
        raise argparse.ArgumentTypeError(f"{text!r} has a space, a slash or a colon")
    return text


def address(text: str) -> tuple[str, int]:
    """Return the parts of HOST:PORT."""
    host, colon, port = text.rpartition(":")
    if not host or not colon or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)
