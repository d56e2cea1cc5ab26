"""The targets by name, and which of them a machine can run."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from qcompile.errors import ConfigError
from qcompile.host import host_arch, host_features
from qcompile.target import Target
from qcompile.targets.arm import ARM_DOTPROD, ARM_I8MM, ARM_NEON
from qcompile.targets.x86 import X86_AVX2, X86_AVXVNNI, X86_VNNI

TARGETS = {
    target.name: target
    for target in (X86_VNNI, X86_AVXVNNI, X86_AVX2, ARM_I8MM, ARM_DOTPROD, ARM_NEON)
}
"""By name; of one architecture the fastest first, which is how `native` picks."""

NATIVE = "native"


def find_target(name: str) -> Target:
    """Return the target of that name, or say which names exist.

    Raises:
        ConfigError: There is no such target, or `native` finds none for this machine.
    """
    if name == NATIVE:
        return native()
    if name in TARGETS:
        return TARGETS[name]
    names = [*TARGETS, NATIVE]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"targets: {', '.join(names)}"
    raise ConfigError(f"unknown target {name!r}", where="--target", hint=hint)


def native() -> Target:
    """Return the first target that this machine's CPU can run."""
    for target in fitting(host_arch(), host_features()):
        return target
    raise ConfigError(
        f"no target fits this machine ({host_arch()})",
        where="--target native",
        hint=f"name one and run it elsewhere: {', '.join(TARGETS)}",
    )


def fitting(arch: str, features: Collection[str]) -> list[Target]:
    """Return the targets that a machine of that architecture and those flags can run."""
    return [
        target
        for target in TARGETS.values()
        if target.arch == arch and set(target.features) <= set(features)
    ]
