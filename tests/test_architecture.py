"""The imports that may be, and the folders that ship."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = {"qcompile": "qcompile", "passes": "qcompile.passes", "targets": "qcompile.targets"}

ALLOWED = {
    "qcompile": {"qcompile", "passes", "targets"},
    "passes": {"qcompile"},
    "targets": {"qcompile", "targets"},
}
COMPOSERS = {
    "qcompile/cli/compile.py",
    "qcompile/cli/device.py",
    "qcompile/cli/doctor.py",
    "qcompile/cli/export.py",
    "qcompile/cli/passes.py",
    "qcompile/cli/run.py",
    "qcompile/cli/show.py",
    "qcompile/cli/tune.py",
    "qcompile/compiler.py",
    "qcompile/quantization.py",
    "qcompile/doctor/repair.py",
    "qcompile/artifact/loader.py",
    "qcompile/session.py",
}
"""The only files of qcompile/ that may import passes and targets."""


def imports(path: Path) -> set[str]:
    """Return the folders of this repository that a file imports from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            for folder, package in sorted(SHIPPED.items(), key=lambda item: -len(item[1])):
                if name == package or name.startswith(package + "."):
                    found.add(folder)
                    break
    return found


def test_layers() -> None:
    for folder, allowed in ALLOWED.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            may = allowed if folder != "qcompile" or name in COMPOSERS else {"qcompile"}
            assert imports(path) <= may, name


def test_every_package_ships() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {
        ".".join([SHIPPED[folder], *path.parent.relative_to(ROOT / folder).parts])
        for folder in SHIPPED
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert packages == set(config["packages"]) == set(config["package-dir"])


def test_only_targets_import_tvm() -> None:
    for folder in ("qcompile", "passes"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "targets" in path.relative_to(ROOT).parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                names = (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else []
                )
                if isinstance(node, ast.ImportFrom) and node.module:
                    names = [node.module]
                assert not any(name.split(".")[0] == "tvm" for name in names), path
