"""Device servers in processes of their own, for the tests of both sides."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0

BOARD = """
import sys
for name in ("onnx", "onnx_ir", "onnxruntime", "onnxscript"):
    sys.modules[name] = None  # importing it fails: a board has none of them
{before}
from qcompile.cli import main
sys.exit(main(["device", "serve", "--port", "0", *{options!r}]))
"""


@dataclasses.dataclass
class Server:
    """A running server; `log` is what it said before it was ready."""

    process: subprocess.Popen[str]
    url: str
    log: str

    @property
    def address(self) -> str:
        return self.url.removeprefix("rpc://").partition("/")[0]

    def sessions(self) -> list[int]:
        """Return the processes that serve a client now."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(each) for each in path.read_text().split()]

    def signal_session(self, which: signal.Signals) -> None:
        for session in self.sessions():
            os.kill(session, which)


@contextlib.contextmanager
def serving(*options: str, before: str = "") -> Iterator[Server]:
    """Run `qcompile device serve` as a board without onnx would; `before` runs first."""
    code = BOARD.format(before=before, options=options)
    with running([sys.executable, "-c", code], r"^serves (rpc://\S+)") as (process, log):
        yield Server(process, re.findall(r"serves (rpc://\S+)", log)[-1], log)


@contextlib.contextmanager
def tracker() -> Iterator[str]:
    """Run TVM's tracker and give its HOST:PORT."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tvm.exec.rpc_tracker", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--port-end", str(port + 1)]
    with running(command, r"bind to "):
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def running(command: list[str], ready: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a program, wait for the line that says it is ready, end it and its children."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "TVM_USE_RUNTIME_LIB": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process, read_until(process, ready)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def read_until(process: subprocess.Popen[str], ready: str) -> str:
    """Return what a program says up to the line that matches."""
    assert process.stdout is not None
    log, deadline = b"", time.monotonic() + START_SECONDS
    while not re.search(ready, log.decode(), re.MULTILINE):
        left = deadline - time.monotonic()
        assert select.select([process.stdout], [], [], max(left, 0))[0], log.decode()
        data = os.read(process.stdout.fileno(), 1 << 16)
        assert data, log.decode()
        log += data
    return log.decode()
