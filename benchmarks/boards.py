"""Start the emulated board of samples/emulated_board for a while."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from qcompile.errors import CompileError

SCRIPTS = Path(__file__).parents[1] / "samples" / "emulated_board"
SECONDS = 180


@contextlib.contextmanager
def board(cpu: str) -> Iterator[str]:
    """Start the board with that CPU model, give its URL, stop it.

    Raises:
        CompileError: It is not set up, or does not start.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    try:
        said = script("start.sh", port, "board", cpu=cpu)
        yield re.findall(r"serves (rpc://\S+)", said)[0]
    finally:
        script("stop.sh", port, cpu=cpu)


def script(name: str, *arguments: str, cpu: str) -> str:
    """Run a script of the sample and return what it says."""
    done = subprocess.run(
        ["bash", str(SCRIPTS / name), *arguments],
        env={**os.environ, "QCOMPILE_BOARD_CPU": cpu},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode:
        raise CompileError(done.stderr.strip() or f"exit status {done.returncode}", where=name)
    return done.stdout
