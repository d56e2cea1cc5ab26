"""The C statements that ask a CPU, before any kernel runs, for the instructions they need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from qcompile.hwcap import HWCAP, HWCAP2

X86_NAMES = {
    "avx2": "avx2",
    "fma": "fma",
    "bmi1": "bmi",
    "bmi2": "bmi2",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512cd": "avx512cd",
    "avx512dq": "avx512dq",
    "avx512vl": "avx512vl",
    "avx512_vnni": "avx512vnni",
    "avx512_vbmi": "avx512vbmi",
}
"""What GCC 8 and Clang 7 can ask for, by the name in /proc/cpuinfo; no CPU has these alone."""


def cpu_check(arch: str, features: Sequence[str]) -> tuple[str, str]:
    """Return what to include, and the body of a C function that returns 0 where all are there.

    Nothing is asked on an architecture or a system that offers no way to ask.
    """
    return CHECKS[arch](features) if arch in CHECKS else ("", "  return 0;\n")


def _x86_check(features: Sequence[str]) -> tuple[str, str]:
    lines = [
        f'  if (!__builtin_cpu_supports("{X86_NAMES[name]}")) return 1;\n'
        for name in features
        if name in X86_NAMES
    ]
    if "avx_vnni" not in features:
        return "", "  __builtin_cpu_init();\n" + "".join(lines) + "  return 0;\n"
    leaf = (
        "  unsigned a, b, c, d;\n"
        "  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a >> 4 & 1)) return 1;\n"
    )
    body = f"{leaf}  __builtin_cpu_init();\n{''.join(lines)}  return 0;\n"
    return "#include <cpuid.h>\n", body


def _aarch64_check(features: Sequence[str]) -> tuple[str, str]:
    words = (("AT_HWCAP", HWCAP.split()), ("AT_HWCAP2", HWCAP2.split()))
    lines = [
        f"  if (!(getauxval({entry}) >> {names.index(name)} & 1)) return 1; /* {name} */\n"
        for entry, names in words
        for name in features
        if name in names
    ]
    include = "#ifdef __linux__\n#include <sys/auxv.h>\n#endif\n"
    return include, f"#ifdef __linux__\n{''.join(lines)}#endif\n  return 0;\n"


CHECKS: Mapping[str, Callable[[Sequence[str]], tuple[str, str]]] = {
    "x86_64": _x86_check,
    "aarch64": _aarch64_check,
}
