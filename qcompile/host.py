"""What this machine's processor offers, read before any native code runs."""

from __future__ import annotations

import platform
from pathlib import Path

from qcompile.hwcap import aarch64_features

CPUINFO = Path("/proc/cpuinfo")
FLAG_LINES = {"x86_64": "flags"}
"""Which line of /proc/cpuinfo lists the instruction sets, by architecture."""


def host_arch() -> str:
    """Return the machine's architecture as Linux names it."""
    name = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)


def host_features(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """Return the instruction-set flags of this machine; empty where they cannot be read."""
    if host_arch() == "aarch64":
        return aarch64_features()
    label = FLAG_LINES.get(host_arch())
    if label is None or not cpuinfo.is_file():
        return frozenset()
    for line in cpuinfo.read_text(errors="replace").splitlines():
        key, _, flags = line.partition(":")
        if key.strip() == label:
            return frozenset(flags.split())
    return frozenset()
