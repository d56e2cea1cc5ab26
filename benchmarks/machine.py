"""What the machine is that figures were measured on, and with which versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import qcompile
from qcompile.host import host_features
from qcompile.threads import own_cores

RIVALS = ("onnxruntime", "openvino", "nncf", "ai-edge-litert")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
VECTOR_SETS = ("avx", "amx", "fma", "f16c", "asimd", "sve", "i8mm", "bf16")
"""How the flags begin that kernels are chosen by."""


def machine() -> dict[str, str]:
    """Return the facts that figures depend on."""
    return {
        "cpu": cpu_name(),
        "cores": str(own_cores()),
        "caches": caches(),
        "instruction sets": " ".join(vector_sets()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": versions(),
    }


def vector_sets() -> list[str]:
    """Return the instruction sets that kernels are chosen by."""
    return sorted(flag for flag in host_features() if flag.startswith(VECTOR_SETS))


def load_average() -> float:
    """Return how many processes wanted a core, over the last minute."""
    return round(os.getloadavg()[0], 2)


def versions() -> str:
    """Return ours, and what the rivals' packages that are installed call themselves."""
    names = [f"qcompile {qcompile.__version__}"]
    for name in RIVALS:
        try:
            names.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            names.append(f"{name} not installed")
    return ", ".join(names)


def cpu_name() -> str:
    """Return what the processor calls itself."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def caches() -> str:
    """Return the caches of the first core."""
    found = []
    for index in sorted(CACHES.glob("index*")):
        level, kind, size = (
            (index / name).read_text(encoding="utf-8").strip()
            for name in ("level", "type", "size")
        )
        found.append(f"L{level} {kind.lower()} {size}")
    return ", ".join(found) or "not told"
