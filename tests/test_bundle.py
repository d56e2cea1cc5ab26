"""The parts of a C bundle that need no compiler: memory plan, folder, text."""

from __future__ import annotations

import os
from pathlib import Path

import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcompile.bundle.c_source import MARK
from qcompile.bundle.c_text import c_string, c_type, c_words
from qcompile.bundle.cpu_check import cpu_check
from qcompile.bundle.folder import check_replaceable, write_folder
from qcompile.bundle.memory import (
    ALIGNMENT,
    Lifetime,
    aligned,
    direct_outputs,
    find_lifetimes,
    first_fit,
    plan,
)
from qcompile.bundle.program import Call, Program
from qcompile.errors import CompileError
from tests.compiled import compiled

LIFETIMES = st.tuples(st.integers(0, 20), st.integers(0, 6)).map(
    lambda each: (each[0], each[0] + each[1])
)
FILES = {"model.h": MARK.encode() + b" v1", "main.c": b"int main(void);"}


@given(st.lists(st.tuples(st.integers(0, 1000), LIFETIMES), max_size=20))
def test_no_two_live_buffers_overlap(buffers: list[tuple[int, Lifetime]]) -> None:
    sizes = [size for size, _ in buffers]
    lives = {index: lifetime for index, (_, lifetime) in enumerate(buffers)}
    arena = first_fit(sizes, lives)
    assert arena.offsets.keys() == lives.keys()
    for a, start in arena.offsets.items():
        assert start % ALIGNMENT == 0
        assert start + sizes[a] <= arena.size
        for b, other in arena.offsets.items():
            if a != b and lives[a][0] <= lives[b][1] and lives[b][0] <= lives[a][1]:
                assert start + sizes[a] <= other or other + sizes[b] <= start
    at_once = [
        sum(
            aligned(sizes[each]) for each, (first, last) in lives.items() if first <= t <= last
        )
        for t in range(30)
    ]
    assert max(at_once) <= arena.size <= sum(aligned(size) for size in sizes)


def program(*calls: Call, outputs: tuple[int, ...]) -> Program:
    return Program(
        object_code=b"",
        calls=calls,
        sizes=(100, 4, 100, 200, 100),
        constants={1: b"four"},
        inputs=(0,),
        outputs=outputs,
    )


def test_a_chain_takes_two_places() -> None:
    chain = (Call("a", (0, 1), (2,)), Call("b", (2,), (3,)), Call("c", (3,), (4,)))
    planned = program(*chain, Call("d", (4,), (2,)), outputs=(2,))
    assert find_lifetimes(planned) == {0: (0, 0), 1: (0, 0), 2: (0, 3), 3: (1, 2), 4: (2, 3)}
    arena = plan(planned)
    assert arena.offsets.keys() == {3, 4}
    assert arena.size == 256 + 128


def test_an_output_is_the_callers_memory_once() -> None:
    twice = program(Call("a", (0,), (2,)), outputs=(2, 2, 0, 1))
    assert direct_outputs(twice) == {2: 0}
    assert plan(twice).size == 0


def test_replaces_an_earlier_export_and_what_was_built_in_it(tmp_path: Path) -> None:
    path = tmp_path / "out"
    write_folder(path, FILES)
    (path / "build").mkdir()
    (path / "build" / "x.o").write_bytes(b"x")
    (path / "model_check").write_bytes(b"x")
    write_folder(path, {"model.h": b"v2"})
    assert [each.name for each in path.iterdir()] == ["model.h"]
    assert (path / "model.h").read_bytes() == b"v2"
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_writes_into_an_empty_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, FILES)
    assert {each.name for each in tmp_path.iterdir()} == set(FILES)


@pytest.mark.parametrize(
    "files",
    [{"mine.txt": b""}, {**FILES, "mine.txt": b""}, {"model.h": b"mine"}, {"main.c": b"mine"}],
)
def test_refuses_a_folder_of_other_files(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = tmp_path / "out"
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    with pytest.raises(CompileError, match=r"holds files that are not of an export: \w+\.\w"):
        write_folder(path, FILES)
    assert {each.name: each.read_bytes() for each in path.iterdir()} == files


def test_refuses_what_is_no_place_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CompileError, match="not a folder"):
        check_replaceable(tmp_path / "file")
    with pytest.raises(CompileError, match=r"no such folder .*\n  hint: create it: mkdir -p"):
        check_replaceable(tmp_path / "none" / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_refuses_a_folder_that_takes_none(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CompileError, match="cannot write: Permission denied"):
        check_replaceable(tmp_path / "out")


def test_a_failure_leaves_the_earlier_export(tmp_path: Path) -> None:
    path = tmp_path / "out"
    write_folder(path, FILES)
    with pytest.raises(CompileError, match="cannot write"):
        write_folder(path, {"model.h": b"v2", "no/such/folder": b""})
    assert {each.name: each.read_bytes() for each in path.iterdir()} == FILES
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_text() -> None:
    assert c_string('a"b\\c??/ä\n') == r'"a\042b\134c\077\077/\303\244\012"'
    assert "{\n  0x201};" in c_words("w", b"\1\2")
    assert "w[1]" in c_words("w", b"")
    half = ir.Value(name="h", type=ir.TensorType(ir.DataType.FLOAT16))
    with pytest.raises(CompileError, match="C has no type for float16"):
        c_type(half)


def test_an_unknown_architecture_is_not_asked() -> None:
    assert cpu_check("riscv64", ("v",)) == ("", "  return 0;\n")


def test_a_target_without_c_kernels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="cannot be called from C"):
        compiled().export_c(tmp_path / "out")
    assert not list(tmp_path.iterdir())
