"""What a device is: facts that decide what it can run, and a way to run it there."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NotRequired, Protocol, TypedDict

from qcompile.errors import CompileError

if TYPE_CHECKING:
    import onnx_ir as ir

    from qcompile.target import Arrays, Runner, Target


class DeviceFacts(TypedDict):
    """What a device says of itself.

    `features` are instruction sets as /proc/cpuinfo names them; `emulated` is true where an
    emulator runs it, and its times then say nothing about hardware. `caches` are the bytes of
    the first- and second-level data cache, empty where unknown.
    """

    arch: str
    cpu: str
    cores: int
    features: list[str]
    memory_bytes: int
    free_memory_bytes: int
    system: str
    versions: dict[str, str]
    emulated: bool
    caches: NotRequired[list[int]]


class Device(Protocol):
    """A machine that runs what is compiled here."""

    @property
    def url(self) -> str:
        """Where it is."""
        ...

    @property
    def facts(self) -> DeviceFacts:
        """What it is."""
        ...

    def load(
        self, target: Target, library: bytes, model: ir.Model, *, every_value: bool = False
    ) -> Runner:
        """Upload a library that was built for the target, and load it there.

        Raises:
            CompileError: The device cannot run it, or is gone.
        """
        ...

    def seconds(
        self,
        target: Target,
        library: bytes,
        model: ir.Model,
        inputs: Arrays,
        *,
        runs: int,
        threads: int,
    ) -> list[float]:
        """Return how long each of so many runs took, measured on the device."""
        ...


def check_fits(
    target: str, arch: str, features: Collection[str], facts: DeviceFacts, *, where: str
) -> None:
    """Refuse code that the device cannot run, before any of it is sent there.

    Args:
        target: Name of the target that the code is for.
        arch: The architecture that it needs.
        features: The instruction sets that it needs.
        facts: What the device says of itself.
        where: The device's address, for the message.

    Raises:
        CompileError: Another architecture, or missing instructions; says which.
    """
    hint = f"see which targets fit: qcompile device check {where}"
    if facts["arch"] != arch:
        raise CompileError(
            f"compiled for {target} ({arch}), the device is {facts['arch']}",
            where=where,
            hint=hint,
        )
    missing = [name for name in features if name not in facts["features"]]
    if missing:
        raise CompileError(
            f"compiled for {target}, the device's CPU lacks {', '.join(missing)}",
            where=where,
            hint=hint,
        )
