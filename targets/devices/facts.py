"""What this machine is, for a client that asks over RPC; needs nothing but tvm."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import qcompile
from qcompile.device import DeviceFacts
from qcompile.host import CPUINFO, host_arch, host_caches, host_features

EMULATED = "QCOMPILE_EMULATED"
"""Environment variable that says so where it cannot be seen: in a whole emulated machine."""

CPU_NAMES = {"x86_64": "model name"}
"""Which line of /proc/cpuinfo names the CPU; elsewhere the kernel's numbers do."""

NUMBERS = ("CPU implementer", "CPU part")


def host_facts() -> DeviceFacts:
    """Return what this machine is."""
    memory = meminfo()
    return {
        "arch": host_arch(),
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "features": sorted(host_features()),
        "memory_bytes": memory.get("MemTotal", 0),
        "free_memory_bytes": memory.get("MemAvailable", 0),
        "system": f"{platform.system()} {platform.release()}",
        "versions": {
            "qcompile": qcompile.__version__,
            "apache-tvm": tvm_version(),
            "python": platform.python_version(),
        },
        "emulated": is_emulated(),
        "caches": list(host_caches()),
    }


def tvm_version() -> str:
    """Return the version of the installed TVM, without importing it."""
    return importlib.metadata.version("apache-tvm")


def cpu_name(cpuinfo: Path = CPUINFO) -> str:
    """Return the CPU's name, or its maker's numbers; empty where the kernel gives neither."""
    lines = {
        key.strip(): text.strip()
        for key, _, text in (line.partition(":") for line in read(cpuinfo).splitlines())
    }
    label = CPU_NAMES.get(host_arch())
    if label is not None:
        return lines.get(label, "")
    return " ".join(f"{name} {lines[name]}" for name in NUMBERS if name in lines)


def meminfo(path: Path = Path("/proc/meminfo")) -> dict[str, int]:
    """Return the bytes that each line of /proc/meminfo says."""
    found = {}
    for line in read(path).splitlines():
        key, _, text = line.partition(":")
        words = text.split()
        if words and words[0].isdigit():
            found[key] = int(words[0]) * (1024 if words[-1] == "kB" else 1)
    return found


def is_emulated() -> bool:
    """Whether an emulator runs this process.

    A user-mode emulator shows its guest in /proc/self/exe, and itself under the thread's.
    """
    if os.environ.get(EMULATED, "0") != "0":
        return True
    try:
        return Path(os.readlink("/proc/thread-self/exe")).name.startswith("qemu-")
    except OSError:
        return False


def read(path: Path) -> str:
    """Return the text of a file of /proc; empty where there is none."""
    return path.read_text(errors="replace") if path.is_file() else ""
