"""Load an artifact: find its target, and check this machine before native code runs."""

from __future__ import annotations

from pathlib import Path

from qcompile import artifact
from qcompile.device import Device, check_fits
from qcompile.errors import CompileError
from qcompile.model import CompiledModel
from qcompile.target import Target


def load(
    path: Path | str, *, target: Target | None = None, device: Device | None = None
) -> CompiledModel:
    """Return the compiled model of a .qcm file.

    Args:
        path: The file.
        target: The target that it was compiled for, where that is not one of qcompile's own.
        device: Where to run it (`qcompile.targets.open_device`); None is this process.

    Raises:
        CompileError: No artifact, damaged or tampered with, or compiled for another machine.
    """
    from qcompile.host import host_arch, host_features
    from qcompile.targets import find_target

    path = Path(path)
    contents = artifact.load(path)
    manifest = contents.manifest
    if device is None:
        machine = (host_arch(), host_features())
        artifact.check_host(manifest, where=str(path), arch=machine[0], features=machine[1])
    else:
        needs = (manifest["target"], manifest["arch"], manifest["features"])
        check_fits(*needs, device.facts, where=device.url)
    target = target or find_target(manifest["target"])
    if target.name != manifest["target"]:
        raise CompileError(
            f"compiled for {manifest['target']}, not for {target.name}",
            where=str(path),
            hint="hand in the target that it was compiled for",
        )
    return CompiledModel.from_artifact(contents, target).on(device)
