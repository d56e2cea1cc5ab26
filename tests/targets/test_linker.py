"""Which linker a target needs, and what is said where it is missing."""

from __future__ import annotations

import pytest

from qcompile.errors import CompileError
from qcompile.targets import linker

CASES = [
    ("x86_64", "x86_64-linux-gnu", "gcc", "g++"),
    ("x86_64", "aarch64-linux-gnu", "aarch64-linux-gnu-gcc", "g++-aarch64-linux-gnu"),
    ("aarch64", "aarch64-linux-gnu", "gcc", "g++"),
    ("aarch64", "x86_64-linux-gnu", "x86_64-linux-gnu-gcc", "g++-x86-64-linux-gnu"),
]


@pytest.mark.parametrize(("host", "triple", "command", "package"), CASES)
def test_missing_linker(
    monkeypatch: pytest.MonkeyPatch, host: str, triple: str, command: str, package: str
) -> None:
    monkeypatch.setattr(linker, "host_arch", lambda: host)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(CompileError) as caught:
        linker.linker(triple)
    assert str(caught.value) == (
        f"build: {command} is needed to link the library and is not installed\n"
        f"  hint: install it, e.g. apt-get install {package}"
    )
