"""Measure the latency of a compiled model, in turn with peers in one process.

The speed of a machine drifts, so every round measures every candidate once, in rotating
order, and figures are compared only within one run. A candidate's turn is one untimed run,
which brings its data back into the caches and lets the last one's threads go to sleep, and
then `TURN` timed ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import numpy as np

from qcompile.benchmark.peers import PEERS, Peer
from qcompile.data.run_inputs import nearest
from qcompile.errors import CompileError
from qcompile.threads import check_cores, using

if TYPE_CHECKING:
    from qcompile.device import Device
    from qcompile.model import CompiledModel

RUNS = 100
TURN = 5
"""Timed runs of one turn."""

Key = TypeVar("Key")


class Latency(TypedDict):
    """Milliseconds of one run."""

    median: float
    min: float
    p95: float


class PeerResult(TypedDict):
    """A peer's best latency, and what it ran.

    `speedup` is its median over ours; `model` says which of the peer's models `latency_ms`
    is of, `models` holds the latency of each.
    """

    latency_ms: Latency
    speedup: float
    version: str
    model: str
    models: dict[str, Latency]


class _Required(TypedDict):
    target: str
    threads: int
    runs: int
    latency_ms: Latency
    against: dict[str, PeerResult]


class BenchReport(_Required, total=False):
    """What `bench --json` prints.

    `device` and `emulated` are there where it ran on a device; the times of an emulated one
    say nothing about hardware. `explain` is there with --explain (`qcompile.explanation`).
    """

    device: str
    emulated: bool
    explain: dict[str, Any]


def bench(
    model: CompiledModel,
    *,
    threads: int | None,
    against: Sequence[str],
    runs: int,
    reference: Path | None,
) -> BenchReport:
    """Measure the model on its golden inputs, and the peers in turn with it.

    Args:
        model: The compiled model.
        threads: Threads that each candidate may use; None takes what this process uses.
        against: Names of `qcompile.benchmark.peers.PEERS`.
        runs: Timed runs of each candidate.
        reference: The float model; with it the peers' float32 is measured too, and the
            faster of their two models is their latency.

    Raises:
        CompileError: An unknown or missing peer, or a thread count above the cores.
    """
    if model.device is not None:
        return bench_on_device(model, model.device, threads, against, runs)
    peers = {name: find_peer(name) for name in against}
    with using(threads) as count:
        return bench_here(model, count, peers, runs, reference)


def bench_here(
    model: CompiledModel,
    threads: int,
    peers: Mapping[str, Peer],
    runs: int,
    reference: Path | None,
) -> BenchReport:
    """Measure the model and its peers in this process."""
    inputs = model.golden.inputs
    candidates: dict[tuple[str, str], Callable[[], Any]] = {
        ("qcompile", ""): lambda: model.run(inputs)
    }
    for name, peer in peers.items():
        for kind, run in peer.prepare(model.qdq_graph, reference, threads, inputs).items():
            candidates[name, kind] = run
    times = interleave(candidates, runs)
    latencies = {key: latency(seconds) for key, seconds in times.items()}
    ours = latencies["qcompile", ""]
    return {
        "target": model.target.name,
        "threads": threads,
        "runs": len(times["qcompile", ""]),
        "latency_ms": ours,
        "against": {
            name: peer_result(
                peer.version(),
                {kind: each for (owner, kind), each in latencies.items() if owner == name},
                ours,
            )
            for name, peer in peers.items()
        },
    }


def bench_on_device(
    model: CompiledModel,
    device: Device,
    threads: int | None,
    against: Sequence[str],
    runs: int,
) -> BenchReport:
    """Measure the model on the device that it runs on, by the device's own clock.

    Raises:
        CompileError: Peers were named, which do not run there, or too many threads.
    """
    if against:
        raise CompileError(
            f"{', '.join(against)}: peers are measured on this machine, not on a device",
            where="--against",
            hint="measure with --device or with --against",
        )
    cores = device.facts["cores"]
    check_cores(threads, cores, "the device has")
    threads = threads or cores
    times = device.seconds(
        model.target,
        model.library,
        model.integer_graph,
        model.golden.inputs,
        runs=runs,
        threads=threads,
    )
    return {
        "target": model.target.name,
        "threads": threads,
        "runs": len(times),
        "latency_ms": latency(times),
        "against": {},
        "device": device.url,
        "emulated": device.facts["emulated"],
    }


def find_peer(name: str) -> Peer:
    """Return the peer of that name.

    Raises:
        CompileError: There is none.
    """
    if name not in PEERS:
        raise CompileError(
            f"unknown peer {name!r}", where="--against", hint=nearest(name, PEERS)
        )
    return PEERS[name]


def interleave(
    candidates: Mapping[Key, Callable[[], Any]],
    runs: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Key, list[float]]:
    """Return the seconds of each timed run; at least `runs` of each candidate."""
    keys = list(candidates)
    times: dict[Key, list[float]] = {key: [] for key in keys}
    for turn in range(-(-runs // TURN)):
        first = turn % len(keys)
        for key in keys[first:] + keys[:first]:
            run = candidates[key]
            run()
            for _ in range(min(TURN, runs - len(times[key]))):
                start = clock()
                run()
                times[key].append(clock() - start)
    return times


def latency(seconds: Sequence[float]) -> Latency:
    """Return the figures of some runs, in milliseconds."""
    median, p95 = np.percentile(seconds, [50, 95]) * 1e3
    return {"median": float(median), "min": min(seconds) * 1e3, "p95": float(p95)}


def peer_result(version: str, models: dict[str, Latency], ours: Latency) -> PeerResult:
    """Return a peer's result: its fastest model by median counts."""
    best = min(models, key=lambda kind: models[kind]["median"])
    return {
        "latency_ms": models[best],
        "speedup": models[best]["median"] / ours["median"],
        "version": version,
        "model": best,
        "models": models,
    }
