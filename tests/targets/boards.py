"""The emulated board of samples/emulated_board, where it is set up."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.targets.servers import ROOT

SAMPLE = ROOT / "samples" / "emulated_board"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
BOARD = Path(os.environ.get("QCOMPILE_BOARD") or CACHE / "qcompile" / "emulated-board")
LINKER = "aarch64-linux-gnu-g++"
SECONDS = 180

READY = (BOARD / "complete").is_file() and all(map(shutil.which, ("qemu-aarch64", LINKER)))
REQUIRED = os.environ.get("QCOMPILE_REQUIRE_BOARD") == "1"
needs_board = pytest.mark.skipif(
    not READY and not REQUIRED,
    reason="the emulated board is not set up: bash samples/emulated_board/setup.sh",
)
"""Skips a test where there is no board, unless QCOMPILE_REQUIRE_BOARD=1."""


@contextlib.contextmanager
def board(cpu: str) -> Iterator[str]:
    """Start the board with that CPU model, give its URL, stop it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    try:
        said = script("start.sh", port, "board", cpu=cpu)
        yield re.findall(r"serves (rpc://\S+)", said)[0]
    finally:
        script("stop.sh", port, cpu=cpu)


def script(name: str, *arguments: str, cpu: str) -> str:
    """Run a script of the sample and return what it says."""
    result = subprocess.run(
        ["bash", str(SAMPLE / name), *arguments],
        env={**os.environ, "QCOMPILE_BOARD_CPU": cpu},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
