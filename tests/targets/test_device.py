"""Devices over RPC, with servers on this machine: exact answers, and one line a failure."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import qcompile
from qcompile import cli, oracle, tuning_log
from qcompile.device import DeviceFacts, check_fits
from qcompile.errors import CompileError, ConfigError
from qcompile.host import host_arch, host_features
from qcompile.hwcap import HWCAP, HWCAP2, named_bits
from qcompile.model import CompiledModel
from qcompile.targets import native, open_device
from qcompile.targets.devices.server import is_loopback
from qcompile.targets.devices.url import DeviceUrl
from tests.nets import NETS, net, samples
from tests.targets.servers import ROOT, Server, serving, tracker

SOON = 0.5
"""Seconds to connect to what is not there."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("--key", "k") as running:
        yield running


@pytest.fixture(scope="module")
def model() -> CompiledModel:
    """A net with two outputs, compiled for this machine."""
    try:
        target = native()
    except ConfigError:
        pytest.skip("no target fits this machine")
    source = net(NETS["branches that meet"])
    return qcompile.compile(source, target, calibration=samples(source, 2))


def facts(**changes: object) -> DeviceFacts:
    known: DeviceFacts = {
        "arch": "aarch64",
        "cpu": "",
        "cores": 1,
        "features": ["asimd"],
        "memory_bytes": 0,
        "free_memory_bytes": 0,
        "system": "",
        "versions": {},
        "emulated": False,
    }
    return {**known, **changes}  # type: ignore[typeddict-item]


def test_integers_on_the_device_are_the_oracles(server: Server, model: CompiledModel) -> None:
    with open_device(server.url) as device:
        there = model.on(device)
        for inputs in samples(net(NETS["branches that meet"]), 3, seed=1):
            got, expected = there.run(inputs), oracle.run(model.integer_graph, inputs)
            assert got.keys() == expected.keys()
            for name, array in expected.items():
                np.testing.assert_array_equal(got[name], array, strict=True)
    assert not server.sessions() or wait_until(lambda: not server.sessions())


def wait_until(condition: object, seconds: float = 5.0) -> bool:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


def test_every_node_is_judged_on_the_device(server: Server, model: CompiledModel) -> None:
    data = samples(net(NETS["branches that meet"]), 2, seed=2)
    with open_device(server.url) as device:
        report = model.on(device).validate(data, layers=True)
    layers = report["oracle"]["layers"]
    names = {node.name for node in model.integer_graph.graph}
    assert {layer["node"] for layer in layers} == names
    assert all(layer["differences"] == 0 < layer["values"] for layer in layers)
    assert (report["device"], report["emulated"]) == (server.url, False)
    assert report["golden"]
    assert report["oracle"]["bit_exact"]


def test_kernels_are_timed_on_the_device(server: Server, model: CompiledModel) -> None:
    with open_device(server.url) as device:
        report = model.on(device).explain(threads=1, runs=2)
    timed = [row for row in report.rows if row.ms > 0]
    assert len(timed) == len(model.manifest["kernels"])
    assert report.peaks is not None


def test_kernels_are_tuned_on_the_device(server: Server, tmp_path: Path) -> None:
    source, log = net(NETS["branches that meet"]), tmp_path / "log.jsonl"
    with open_device(server.url) as device:
        report = qcompile.tune(source, native(), log, device=device)
        caches = tuple(device.facts.get("caches", ()))
    assert report.measured == report.kernels > 0
    assert {record.caches for record in tuning_log.read(log)} == {caches}


def test_facts_are_this_machines(server: Server) -> None:
    with open_device(server.url) as device:
        assert device.facts["arch"] == host_arch()
        assert set(device.facts["features"]) == host_features()
        assert device.facts["memory_bytes"] > device.facts["free_memory_bytes"] > 0
        assert not device.facts["emulated"]
        assert 0 < device.round_trip() < 1


def test_commands(
    server: Server,
    model: CompiledModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model.save(tmp_path / "m.qcm")
    np.savez(tmp_path / "x.npz", **dict(model.golden.inputs))  # type: ignore[arg-type]
    on, qcm = ["--device", server.url], str(tmp_path / "m.qcm")
    out = str(tmp_path / "y.npz")
    assert cli.main(["run", qcm, "--input", str(tmp_path / "x.npz"), "-o", out, *on]) == 0
    with np.load(out) as outputs:
        for name, expected in model.golden.outputs.items():
            np.testing.assert_array_equal(outputs[name], expected)
    capsys.readouterr()
    assert cli.main(["bench", qcm, "--runs", "7", "--json", *on]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["device"], report["emulated"], report["runs"]) == (server.url, False, 7)
    assert 0 < report["latency_ms"]["min"] <= report["latency_ms"]["median"]
    validate = ["validate", qcm, "--data", str(tmp_path / "x.npz"), "--layers", *on]
    assert cli.main(validate) == 0
    assert "bit-exact on 1 samples" in capsys.readouterr().out
    assert cli.main(["bench", qcm, "--against", "onnxruntime", *on]) == 1
    assert "peers are measured on this machine" in capsys.readouterr().err
    assert cli.main(["device", "check", server.url, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert native().name in report["targets"]
    assert report["round_trip_ms"] > 0


def test_killed_in_the_middle_of_a_call(server: Server, model: CompiledModel) -> None:
    with open_device(server.url) as device:
        there = model.on(device)
        there.run(model.golden.inputs)
        server.signal_session(signal.SIGSTOP)
        threading.Timer(0.3, server.signal_session, [signal.SIGKILL]).start()
        with pytest.raises(CompileError, match="cannot run: the device ended the connection"):
            there.run(model.golden.inputs)
        with pytest.raises(CompileError, match=r"connection is closed\n  hint: connect again"):
            there.run(model.golden.inputs)
    with open_device(server.url) as device:  # the server outlives its session
        assert device.facts["arch"] == host_arch()


def test_hanging_device_is_given_up_in_time(server: Server, model: CompiledModel) -> None:
    with open_device(server.url, timeout=1.0) as device:
        there = model.on(device)
        there.run(model.golden.inputs)
        server.signal_session(signal.SIGSTOP)
        start = time.monotonic()
        with pytest.raises(CompileError, match=r"no answer within 1 seconds\n.*--timeout"):
            there.run(model.golden.inputs)
        del there  # what is dropped asks the device too: it must not hang
        assert time.monotonic() - start < 3
        server.signal_session(signal.SIGKILL)


WAIT = """
import sys
from qcompile.cli import main
sys.exit(main(["device", "check", sys.argv[1]]))
"""


def test_interrupt_from_the_keyboard_ends_a_call() -> None:
    """The whole process group gets it, as from a terminal."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"rpc://127.0.0.1:{listener.getsockname()[1]}"
        client = subprocess.Popen(
            [sys.executable, "-c", WAIT, url],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        device, _ = listener.accept()
        with device:  # it greets, and then says nothing
            device.recv(100)
            device.sendall(struct.pack("<ii", 0xFF271, 0))
            assert device.recv(100)
            os.killpg(client.pid, signal.SIGINT)
            _, said = client.communicate(timeout=10)
    assert (client.returncode, said) == (130, "qcompile: interrupted\n")


def test_device_that_is_busy_says_so(server: Server) -> None:
    with (
        open_device(server.url),
        pytest.raises(CompileError, match="busy with another client"),
    ):
        open_device(server.url, connect_timeout=SOON)


def test_wrong_key(server: Server) -> None:
    with pytest.raises(CompileError, match=r"has another key than 'other'\n  hint: name the"):
        open_device(f"rpc://{server.address}/other")


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    start = time.monotonic()
    with pytest.raises(CompileError, match=r"no device at .*refused \(\d tries in 0\.\d sec"):
        open_device(f"rpc://127.0.0.1:{port}/k", connect_timeout=SOON)
    assert time.monotonic() - start < 2 * SOON


@pytest.mark.parametrize(
    ("says", "problem"),
    {
        b"": "the server hung up at the greeting",
        struct.pack("<i", 12345): "this is no TVM RPC server",
        None: "no greeting: the device is busy",
    }.items(),
)
def test_no_rpc_server(says: bytes | None, problem: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            connection.recv(100)
            if says is None:
                time.sleep(3 * SOON)
            else:
                connection.sendall(says)
            connection.close()

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(CompileError, match=problem):
            open_device(f"rpc://127.0.0.1:{listener.getsockname()[1]}", connect_timeout=SOON)


OTHER_VERSION = """
from qcompile.targets.devices import facts
facts.tvm_version = lambda: "0.1.0"
"""
WITHOUT_FACTS = """
from qcompile.targets.devices import server
server.FACTS = "some.other.name"
"""


@pytest.mark.parametrize(
    ("before", "problem"),
    [
        (OTHER_VERSION, r"has apache-tvm 0\.1\.0, here it is \S+\n  hint: install the same"),
        (WITHOUT_FACTS, r"does not say what its CPU is.*\n.*`qcompile device serve`"),
    ],
    ids=["version", "server of TVM's own"],
)
def test_server_that_does_not_fit(before: str, problem: str) -> None:
    with serving(before=before) as server, pytest.raises(CompileError, match=problem):
        open_device(server.url)


def test_tracker(model: CompiledModel) -> None:
    with tracker() as address, serving("--key", "board", "--tracker", address):
        url = f"tracker://{address}/board"
        with open_device(url) as device:
            there = model.on(device).run(model.golden.inputs)
            with pytest.raises(CompileError, match="no free device with key 'board'"):
                open_device(url, connect_timeout=SOON)
        for name, expected in model.golden.outputs.items():
            np.testing.assert_array_equal(there[name], expected)
        with pytest.raises(CompileError, match=r"no device with key 'x'\n  hint: .* board"):
            open_device(f"tracker://{address}/x", connect_timeout=SOON)


def test_tracker_is_absent(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(CompileError, match=r"no tracker at .*refused"):
        open_device(f"tracker://127.0.0.1:{port}/k", connect_timeout=SOON)
    result = serve_fails("--tracker", f"127.0.0.1:{port}", "--key", "k")
    assert f"127.0.0.1:{port}: no tracker: " in result
    with pytest.raises(CompileError, match="this is no TVM tracker"):
        open_device(f"tracker://{server.address}/k", connect_timeout=SOON)


def serve_fails(*options: str) -> str:
    """Return what `device serve` says where it does not start."""
    result = subprocess.run(
        [sys.executable, "-m", "qcompile", "device", "serve", *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1, result
    assert len(result.stderr.splitlines()) == 2, result.stderr
    return result.stderr


def test_port_is_taken(server: Server) -> None:
    said = serve_fails("--port", server.address.rpartition(":")[2])
    assert "cannot listen: Address already in use\n  hint: take another --port" in said


def test_serve_says_what_the_cpu_offers_and_warns_where_others_reach_it(
    server: Server,
) -> None:
    assert "no authentication" not in server.log
    assert all(feature in server.log for feature in host_features())
    with serving("--host", "0.0.0.0") as reachable:
        assert "warning: TVM RPC has no authentication: whoever reaches" in reachable.log


def test_end_of_the_server_ends_its_sessions() -> None:
    with serving() as server, open_device(server.url):
        (session,) = server.sessions()
        server.process.terminate()
        assert server.process.wait(10) == 0
        assert wait_until(lambda: not Path(f"/proc/{session}").exists())


def test_device_without_the_architecture_or_the_features(model: CompiledModel) -> None:
    with pytest.raises(CompileError, match=r"for t \(x86_64\), the device is aarch64\n  hint"):
        check_fits("t", "x86_64", ["avx2"], facts(), where="rpc://b:1")
    with pytest.raises(CompileError, match=r"rpc://b:1: .* the device's CPU lacks asimddp\n"):
        check_fits("t", "aarch64", ["asimd", "asimddp"], facts(), where="rpc://b:1")
    check_fits("t", "aarch64", ["asimd"], facts(), where="rpc://b:1")


URLS = {
    "rpc://board:9090/key": DeviceUrl("rpc", "board", 9090, "key"),
    "rpc://board": DeviceUrl("rpc", "board", 9090),
    "rpc://[::1]:1/k": DeviceUrl("rpc", "::1", 1, "k"),
    "tracker://10.0.0.1/rasp": DeviceUrl("tracker", "10.0.0.1", 9190, "rasp"),
}


@pytest.mark.parametrize(("text", "url"), URLS.items())
def test_url(text: str, url: DeviceUrl) -> None:
    assert DeviceUrl.parse(text) == DeviceUrl.parse(str(url)) == url


BAD_URLS = {
    "board:9090": "not the address of a device",
    "http://board:9090/k": "not the address of a device",
    "rpc://board:9090/a b": "not the address of a device",
    "rpc://board:0/k": "there is no port 0",
    "rpc://board:65536": "there is no port 65536",
    "tracker://board:9190": "a tracker has devices of several keys: which one",
}


@pytest.mark.parametrize(("text", "problem"), BAD_URLS.items())
def test_bad_url(text: str, problem: str) -> None:
    with pytest.raises(CompileError, match=problem):
        DeviceUrl.parse(text)


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.0.1", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "board")))


def test_names_of_the_bits() -> None:
    assert named_bits(HWCAP, 1 << 1 | 1 << 20) == {"asimd", "asimddp"}
    assert named_bits(HWCAP2, 1 << 13) == {"i8mm"}
    assert named_bits(HWCAP2, 0) == frozenset()
