"""What README, CONTRIBUTING and the samples' pages say exists, and is so."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_ir.passes.common import RemoveUnusedNodesPass

from qcompile.calibration.calibrators import CALIBRATORS
from qcompile.cli import main
from qcompile.pass_docs import pass_docs
from qcompile.targets import NATIVE, TARGETS
from tests.graphs import assert_graph, graph

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / name
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "samples/README.md")
]
README = PAGES[0].read_text()
EXAMPLES = {
    "passes/remove_double_neg.py",
    "tests/passes/test_remove_double_neg.py",
}
"""Files that CONTRIBUTING lets its reader write."""

CONTRIBUTING = PAGES[1].read_text()
ADD_A_KERNEL = CONTRIBUTING.partition("\n## Add a kernel\n")[2]
EXCERPTS = re.findall(
    r"^\d\. \[[^\]]*\]\(([^)]*)\).*?```\w+\n(.*?)```", ADD_A_KERNEL, re.DOTALL | re.MULTILINE
)
"""Each step's file and what is quoted from it."""

PYTHON_EXAMPLES = re.findall(
    r"^```python\n(.*?)^```\n\n```\n(.*?)^```$", README, re.DOTALL | re.MULTILINE
)
"""Code, and what it prints."""

FILE = re.compile(r"(?:[\w.-]+/)+[\w.-]+\.(?:py|sh|md|onnx|npz|toml)\b")
COMMAND_ROW = re.compile(r"^\| `qcompile (\w+)([^`]*)` \|(.*)\|$", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not link.startswith("https://"):
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files(page: Path) -> None:
    outside_links = re.sub(r"\]\([^)]*\)", "]", page.read_text())
    for name in set(FILE.findall(outside_links)) - EXAMPLES:
        assert (ROOT / name).exists(), name


def test_examples_are_not_there_yet() -> None:
    assert not [name for name in EXAMPLES if (ROOT / name).exists()]


def test_the_two_commands() -> None:
    sample, tests = re.findall(r"^```sh\n(.*)\n```$", README, re.MULTILINE)
    assert sample == "bash samples/fashion_mnist/run.sh"
    install = "pip install -e '.[dev]'"
    assert tests == f"python3 -m venv .venv && .venv/bin/{install} && .venv/bin/pytest"
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert any(each.startswith("pytest") for each in config["optional-dependencies"]["dev"])
    ci = (ROOT / ".ci/run").read_text()
    assert sample in ci
    assert "-e '.[dev]'" in ci
    assert "\npytest && " in ci


SCRIPTS = [ROOT / ".ci/run", *sorted(ROOT.glob("samples/*/*.sh"))]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    said = help_of(capsys)
    listed = re.findall(r"^    (\w+)  ", said, re.MULTILINE)
    assert [command for command, _, _ in COMMAND_ROW.findall(README)] == listed


@pytest.mark.parametrize("row", COMMAND_ROW.findall(README), ids=lambda row: row[0])
def test_help_lists_the_options(
    row: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    command, usage, about = row
    said = help_of(capsys, command)
    for option in re.findall(r"(?<!\w)--?[a-z]+", usage + about):
        assert re.search(rf"(?<!\w){option}\b", said), option


def test_tables_of_targets_and_calibrators() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", README, re.MULTILINE)
    assert rows == [*TARGETS, NATIVE]
    for name in CALIBRATORS:
        assert f"`{name}`" in README


def test_python_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, prints = PYTHON_EXAMPLES[0]
    copy_sample(tmp_path / "samples" / "fashion_mnist", pictures=50)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    said, expected = capsys.readouterr().out.splitlines(), prints.splitlines()
    # Not the accuracies: they are those of all pictures.
    assert [said[0], said[1][:5], *said[2:]] == [expected[0], expected[1][:5], *expected[2:]]


def test_example_of_the_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, prints = PYTHON_EXAMPLES[1]
    copy_sample(tmp_path / "samples" / "fashion_mnist", pictures=1)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == prints
    onnx.checker.check_model("folded.onnx", full_check=True)


def test_pass_of_contributing() -> None:
    code, tables = re.findall(r"^```python\n(.*?)^```$", CONTRIBUTING, re.DOTALL | re.M)[:2]
    content: dict[str, Any] = {}
    exec(compile(code, "CONTRIBUTING.md", "exec"), content)
    exec(compile(tables.partition("\n\n\n")[0], "CONTRIBUTING.md", "exec"), content)
    found = content["RemoveDoubleNeg"]
    docs = pass_docs(found)
    changes = {"docstring": (docs.before, docs.after), **content["CHANGES"]}
    for before, after in changes.values():
        result = found()(graph(before))
        assert result.modified
        if after == docs.after:
            RemoveUnusedNodesPass()(result.model)
        assert_graph(result.model, after)
    for kept in content["KEPT"].values():
        assert not found()(graph(kept)).modified


@pytest.mark.parametrize(("name", "excerpt"), EXCERPTS, ids=[name for name, _ in EXCERPTS])
def test_excerpts_stand_in_their_files(name: str, excerpt: str) -> None:
    written = [line.strip() for line in (ROOT / name).read_text().splitlines()]
    quoted = [line.strip() for line in excerpt.strip().splitlines()]
    starts = range(len(written) - len(quoted) + 1)
    assert any(written[start : start + len(quoted)] == quoted for start in starts)


def test_every_step_of_a_kernel_is_quoted() -> None:
    assert len(EXCERPTS) == len(re.findall(r"^\d\. ", ADD_A_KERNEL, re.MULTILINE)) > 0


def copy_sample(folder: Path, pictures: int) -> None:
    """Copy the sample with the first of its test pictures."""
    source = ROOT / "samples" / "fashion_mnist"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("test.npz", "*.qcm"))
    with np.load(source / "test.npz") as arrays:
        np.savez(folder / "test.npz", **{name: arrays[name][:pictures] for name in arrays})


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    return capsys.readouterr().out
