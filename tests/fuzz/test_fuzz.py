"""No file makes a reader crash, hang, eat the memory or show a traceback."""

from __future__ import annotations

import hashlib
import io
import json
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from qcompile.artifact import sealed
from tests.compiled import compiled
from tests.fuzz import seeds
from tests.fuzz.harness import Mutation, Worker, fuzz
from tests.fuzz.mutate import mutate_bytes, mutate_model


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """One process for all mutants, started again where one kills it."""
    with Worker() as process:
        yield process


def of_models(models: list[bytes]) -> Mutation:
    """Return what changes fields of ONNX files, and sometimes bytes."""

    def mutant(rng: random.Random) -> bytes:
        change = mutate_model if rng.random() < 0.7 else mutate_bytes
        return change(rng.choice(models), rng)

    return mutant


def of_bytes(files: list[bytes]) -> Mutation:
    """Return what changes bytes of files."""
    return lambda rng: mutate_bytes(rng.choice(files), rng)


def of_entries(files: list[bytes]) -> Mutation:
    """Return what changes bytes of what lies in a zip, and packs it again."""
    return lambda rng: repacked(rng.choice(files), rng, seal=False)


def of_artifact(file: bytes) -> Mutation:
    """Return what changes an artifact, often with hashes that fit again."""

    def mutant(rng: random.Random) -> bytes:
        if rng.random() < 0.3:
            return mutate_bytes(file, rng)
        return repacked(file, rng, seal=rng.random() < 0.8)

    return mutant


def repacked(file: bytes, rng: random.Random, *, seal: bool) -> bytes:
    """Return the zip with one entry mutated; `seal` makes an artifact's hashes fit."""
    with zipfile.ZipFile(io.BytesIO(file)) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    name = rng.choice(sorted(contents))
    change = mutate_model if name.endswith(".onnx") else mutate_bytes
    contents[name] = change(contents[name], rng)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        if seal and name != sealed.MANIFEST:
            manifest = json.loads(contents[sealed.MANIFEST])
            manifest["entries"][name] = hashlib.sha256(contents[name]).hexdigest()
            contents[sealed.MANIFEST] = json.dumps(manifest).encode()
        for key, data in contents.items():
            new.writestr(key, data)
        if seal:
            digest = hashlib.sha256(contents[sealed.MANIFEST]).hexdigest()
            new.comment = (sealed.SEAL + digest).encode()
    return stream.getvalue()


def sizes(quick: int, slow: int) -> pytest.MarkDecorator:
    """Return the two sizes of a set: the one of every run, and the large one."""
    return pytest.mark.parametrize(
        "count", [quick, pytest.param(slow, marks=pytest.mark.slow)]
    )


@sizes(150, 6000)
def test_models(count: int, worker: Worker, tmp_path: Path) -> None:
    outcomes = fuzz(worker, "model", of_models(seeds.models()), count, tmp_path, ".onnx")
    assert outcomes["read"]
    assert outcomes["refused"]


@sizes(6, 400)
def test_real_models(count: int, worker: Worker, tmp_path: Path) -> None:
    assert fuzz(worker, "model", of_models(seeds.light_models()), count, tmp_path, ".onnx")


@sizes(15, 1000)
def test_compiles(count: int, worker: Worker, tmp_path: Path) -> None:
    assert fuzz(worker, "compile", of_models(seeds.models()), count, tmp_path, ".onnx")


@sizes(60, 1500)
def test_archives_of_data(count: int, worker: Worker, tmp_path: Path) -> None:
    mutants = of_bytes(seeds.archives()), of_entries(seeds.archives())
    outcomes = fuzz(
        worker, "data", lambda rng: rng.choice(mutants)(rng), count, tmp_path, ".npz"
    )
    assert outcomes["refused"]


@sizes(20, 600)
def test_folders_of_data(count: int, worker: Worker, tmp_path: Path) -> None:
    files = [(data, ".npy") for data in seeds.arrays()]
    files += [(data, f".{kind}") for kind, data in seeds.pictures().items()]
    for number in range(count):
        rng = random.Random(number)
        data, suffix = rng.choice(files)
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / f"0{suffix}").write_bytes(mutate_bytes(data, rng))
        outcome, text = worker.ask("data", folder)
        assert outcome != "fault", f"{folder}: {text}"


@sizes(60, 1500)
def test_artifacts(count: int, worker: Worker, tmp_path: Path) -> None:
    compiled().save(tmp_path / "whole.qcm")
    mutant = of_artifact((tmp_path / "whole.qcm").read_bytes())
    assert fuzz(worker, "artifact", mutant, count, tmp_path, ".qcm")["refused"]


@sizes(60, 1000)
def test_configs(count: int, worker: Worker, tmp_path: Path) -> None:
    mutant = of_bytes([seeds.CONFIG])
    assert fuzz(worker, "config", mutant, count, tmp_path, ".toml")["refused"]
