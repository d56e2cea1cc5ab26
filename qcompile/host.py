"""What this machine's processor offers, read before any native code runs."""

from __future__ import annotations

import platform
from pathlib import Path

from qcompile.hwcap import aarch64_features

CPUINFO = Path("/proc/cpuinfo")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
FLAG_LINES = {"x86_64": "flags"}
"""Which line of /proc/cpuinfo lists the instruction sets, by architecture."""


def host_arch() -> str:
    """Return the machine's architecture as Linux names it."""
    name = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)


def host_caches(folder: Path = CACHES) -> tuple[int, ...]:
    """Return the bytes of the first- and second-level data cache; empty where unknown."""
    found: dict[str, int] = {}
    for index in sorted(folder.glob("index*")):
        try:
            level, kind, size = (
                (index / name).read_text().strip() for name in ("level", "type", "size")
            )
        except OSError:
            continue
        if kind != "Instruction" and size.endswith("K") and size[:-1].isdigit():
            found[level] = int(size[:-1]) * 1024
    return (found["1"], found["2"]) if {"1", "2"} <= found.keys() else ()


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
