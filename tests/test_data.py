"""Data: every way to give it, every way to turn it, and every way it can be wrong."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from qcompile.data.dataset import Data, Dataset, InputSpec, Preprocess, load_data
from qcompile.errors import CompileError

F32, I64 = np.dtype(np.float32), np.dtype(np.int64)
IMAGE = InputSpec("input", F32, (1, 2, 4, 3))
COLOR = InputSpec("input", F32, (1, 3, 4, 5))
TEXT = (InputSpec("ids", I64, (1, 6)), InputSpec("mask", F32, (1, 6)))
RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 2, 4, 3)).astype(np.float32)


def npz(path: Path, **arrays: npt.ArrayLike) -> Path:
    named = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez(path / "data.npz", allow_pickle=True, **named)
    return path / "data.npz"


def all_of(data: Dataset, name: str = "input") -> npt.NDArray[np.generic]:
    return np.concatenate([sample[name] for sample in data])


def folder(path: Path, arrays: npt.NDArray[np.generic]) -> Path:
    for index, array in enumerate(arrays):
        np.save(path / f"{index}.npy", array)
    return path


GIVEN: dict[str, Callable[[Path], Data]] = {
    "npz": lambda path: npz(path, input=X, unused=[1, 2]),
    "npz with batch axes": lambda path: npz(path, input=X[:, np.newaxis]),
    "npz in Fortran order": lambda path: npz(path, input=np.asfortranarray(X)),
    "npz, big-endian float64": lambda path: npz(path, input=X.astype(">f8")),
    "path as text": lambda path: str(npz(path, input=X)),
    "folder": lambda path: folder(path, X),
    "folder with batch axes": lambda path: folder(path, X[:, np.newaxis]),
    "one dict": lambda path: {"input": X},
    "list of samples": lambda path: [{"input": x} for x in X],
    "list of nested lists": lambda path: [{"input": x.tolist()} for x in X],
    "list of batches": lambda path: [{"input": X[:3]}, {"input": X[3:]}],
    "generator": lambda path: ({"input": x} for x in X),
}


@pytest.mark.parametrize("give", GIVEN.values(), ids=GIVEN)
def test_samples(tmp_path: Path, give: Callable[[Path], Data]) -> None:
    data = load_data(give(tmp_path), [IMAGE])
    samples = list(data)
    assert {sample["input"].shape for sample in samples} == {(1, 2, 4, 3)}
    np.testing.assert_array_equal(np.concatenate([s["input"] for s in samples]), X)
    assert data.count == 5
    assert data.labels is None


def test_compressed_npz(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "data.npz", input=X)
    np.testing.assert_array_equal(all_of(load_data(tmp_path / "data.npz", [IMAGE])), X)


def test_several_inputs(tmp_path: Path) -> None:
    ids = RNG.integers(0, 99, (4, 6), dtype=np.int32)
    path = npz(tmp_path, mask=np.ones((4, 6), np.uint8), ids=ids)
    data = load_data(path, TEXT)
    assert {name: array.dtype for name, array in next(iter(data)).items()} == {
        "ids": I64,
        "mask": F32,
    }
    np.testing.assert_array_equal(all_of(data, "ids"), ids)


def test_inputs_without_a_common_batch_axis_are_whole_samples(tmp_path: Path) -> None:
    inputs = [InputSpec("a", F32, (2, 3)), InputSpec("b", F32, ())]
    path = npz(tmp_path, a=np.ones((4, 2, 3)), b=np.arange(4.0))
    data = load_data(path, inputs)
    assert [float(sample["b"]) for sample in data] == [0, 1, 2, 3]
    assert [valid for _, valid in data.batches(8)] == [1] * 4


def test_can_be_read_again(tmp_path: Path) -> None:
    data = load_data(npz(tmp_path, input=X), [IMAGE])
    np.testing.assert_array_equal(all_of(data), all_of(data))


def test_digest_is_of_the_numbers_not_of_the_container(tmp_path: Path) -> None:
    from_file = load_data(npz(tmp_path, input=X), [IMAGE])
    from_list = load_data([{"input": X}], [IMAGE])
    other = load_data([{"input": X + 1}], [IMAGE])
    assert from_file.digest == ""
    for data in (from_file, from_list, other):
        list(data)
    assert from_file.digest == from_list.digest != other.digest


def test_last_batch_is_filled_up() -> None:
    spec = InputSpec("input", F32, (3, 2, 4, 3))
    batches = list(load_data([{"input": X}], [spec]).batches())
    assert [valid for _, valid in batches] == [3, 2]
    np.testing.assert_array_equal(batches[0][0]["input"], X[:3])
    np.testing.assert_array_equal(batches[1][0]["input"], X[[3, 4, 3]])


def test_labels(tmp_path: Path) -> None:
    labels = np.array([3, 1, 4, 1, 5], np.uint8)
    items = [{"input": x, "label": label} for x, label in zip(X, labels, strict=True)]
    for source in (npz(tmp_path, input=X, label=labels), items, iter(items)):
        data = load_data(source, [IMAGE], labels="label")
        list(data)
        assert data.labels is not None
        assert data.labels.dtype == np.int64
        np.testing.assert_array_equal(data.labels, labels)


def test_reads_an_npz_sample_by_sample(tmp_path: Path) -> None:
    x = RNG.normal(size=(5, 10_000)).astype(np.float32)
    path = npz(tmp_path, input=x)
    data = load_data(path, [InputSpec("input", F32, (1, 10_000))])
    whole = path.read_bytes()
    at = whole.index(x[2].tobytes())
    path.write_bytes(whole[:at] + bytes(x[2:].nbytes) + whole[at + x[2:].nbytes :])
    # From the third sample on the file is rubbish: the first must come without them.
    np.testing.assert_array_equal(next(iter(data))["input"][0], x[0])
    with pytest.raises(CompileError, match="Bad CRC"):
        list(data)


# What preprocessing does.

PIXELS = RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)
NORMAL = Preprocess(scale=1 / 255, mean=MEAN, std=STD)
EXPECTED = ((PIXELS * np.float64(1 / 255) - MEAN) / STD).astype(np.float32)


def turned(layout: str | None) -> Preprocess:
    return Preprocess(scale=1 / 255, mean=MEAN, std=STD, layout=layout)


LAYOUTS = {
    "nhwc to nchw": (PIXELS, (3, 4, 5), "nhwc", EXPECTED.transpose(2, 0, 1)),
    "nchw to nhwc": (PIXELS.transpose(2, 0, 1), (4, 5, 3), "nchw", EXPECTED),
    "nhwc stays": (PIXELS, (4, 5, 3), "nhwc", EXPECTED),
    "nchw stays": (
        PIXELS.transpose(2, 0, 1),
        (3, 4, 5),
        "nchw",
        EXPECTED.transpose(2, 0, 1),
    ),
    "channels found first": (
        PIXELS.transpose(2, 0, 1),
        (3, 4, 5),
        None,
        EXPECTED.transpose(2, 0, 1),
    ),
    "channels found last": (PIXELS, (4, 5, 3), None, EXPECTED),
}


@pytest.mark.parametrize(
    ("stored", "shape", "layout", "expected"), LAYOUTS.values(), ids=LAYOUTS
)
def test_layout(
    stored: npt.NDArray[np.uint8],
    shape: tuple[int, ...],
    layout: str | None,
    expected: npt.NDArray[np.float32],
) -> None:
    spec = InputSpec("input", F32, (1, *shape))
    data = load_data([{"input": stored}], [spec], preprocess=turned(layout))
    np.testing.assert_array_equal(all_of(data)[0], expected)


def test_one_number_for_all_channels() -> None:
    spec = InputSpec("input", F32, (1, 4, 5, 3))
    preprocess = Preprocess(scale=1 / 255, mean=(0.286,), std=(0.353,))
    data = load_data([{"input": PIXELS}], [spec], preprocess=preprocess)
    expected = ((PIXELS * np.float64(1 / 255) - 0.286) / 0.353).astype(np.float32)
    np.testing.assert_array_equal(all_of(data)[0], expected)


def test_a_cube_goes_to_nchw() -> None:
    x = np.arange(27.0).reshape(3, 3, 3)
    spec = InputSpec("input", F32, (1, 3, 3, 3))
    for layout, expected in (("nhwc", x.transpose(2, 0, 1)), ("nchw", x)):
        data = load_data([{"input": x}], [spec], preprocess=Preprocess(layout=layout))
        np.testing.assert_array_equal(all_of(data)[0], expected)


def test_integers_are_not_scaled() -> None:
    spec = InputSpec("input", np.dtype(np.uint8), (1, 4, 5, 3))
    data = load_data([{"input": PIXELS}], [spec], preprocess=NORMAL)
    np.testing.assert_array_equal(all_of(data)[0], PIXELS)


def test_images(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "b.png")
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_text("not an image")
    samples = all_of(load_data(tmp_path, [COLOR], preprocess=NORMAL))
    gray = np.repeat(PIXELS[..., :1], 3, axis=2)
    np.testing.assert_array_equal(samples[1], EXPECTED.transpose(2, 0, 1))
    expected = ((gray * np.float64(1 / 255) - MEAN) / STD).astype(np.float32)
    np.testing.assert_array_equal(samples[0], expected.transpose(2, 0, 1))


@pytest.mark.parametrize("shape", [(1, 1, 4, 5), (1, 4, 5, 1)])
def test_gray_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "a.png")
    samples = all_of(load_data(tmp_path, [InputSpec("input", F32, shape)]))
    np.testing.assert_array_equal(samples.reshape(4, 5), PIXELS[..., 0])


# What is refused. Each row: what is given, the inputs, words of the error, words of the hint.


def write(path: Path, content: bytes, name: str = "data.npz") -> Path:
    (path / name).write_bytes(content)
    return path / name


def damaged(path: Path, cut: int) -> Path:
    whole = npz(path, input=X).read_bytes()
    return write(path, whole[:cut])


def wrong_header(path: Path) -> Path:
    with zipfile.ZipFile(path / "data.npz", "w") as archive:
        archive.writestr("input.npy", b"no array at all")
    return path / "data.npz"


def short_array(path: Path) -> Path:
    np.save(path / "whole.npy", X)
    with zipfile.ZipFile(path / "data.npz", "w") as archive:
        archive.writestr("input.npy", (path / "whole.npy").read_bytes()[:-4])
    return path / "data.npz"


class Explosive:
    """Unpickling it would raise: nothing may try."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (pytest.fail, ("it was unpickled",))


def not_finite(index: int, number: float) -> npt.NDArray[np.float32]:
    x = X.copy()
    x[index, 0, 0, 0] = number
    return x


def images(path: Path, *names: str) -> Path:
    for name in names:
        Image.fromarray(PIXELS).save(path / name)
    return path


TEXT_OK = {"ids": np.ones((4, 6), np.int64), "mask": np.ones((4, 6))}
Row = tuple[Callable[[Path], object], tuple[InputSpec, ...], str, str]
REFUSED: dict[str, Row] = {
    "missing file": (lambda p: p / "no.npz", (IMAGE,), "no.npz: no such file or folder", ""),
    "empty file": (lambda p: write(p, b""), (IMAGE,), "data.npz: cannot be read", "damaged"),
    "text file": (lambda p: write(p, b"a,b"), (IMAGE,), "data.npz: cannot be read", "damaged"),
    "pickle": (
        lambda p: write(p, pickle.dumps({"input": Explosive()})),
        (IMAGE,),
        "data.npz: cannot be read",
        "damaged",
    ),
    "pickled array in npz": (
        lambda p: npz(p, input=np.array([Explosive()], object)),
        (IMAGE,),
        "array 'input': holds pickled Python objects",
        "numeric dtype",
    ),
    "pickled array in a folder": (
        lambda p: folder(p, np.array([[Explosive()]], object)),
        (IMAGE,),
        "0.npy: holds pickled Python objects",
        "numeric dtype",
    ),
    "truncated npz": (lambda p: damaged(p, 200), (IMAGE,), "cannot be read", "damaged"),
    "no array in the entry": (wrong_header, (IMAGE,), "not an array in NumPy's", ""),
    "entry too short": (short_array, (IMAGE,), "bytes where its shape", "damaged"),
    "not an npy": (
        lambda p: write(p, b"rubbish", "a.npy").parent,
        (IMAGE,),
        "a.npy: not an array",
        "",
    ),
    "wrong name": (
        lambda p: npz(p, image=X, label=[1]),
        (IMAGE,),
        "no array 'input'",
        "it holds 'image', 'label'; arrays are named",
    ),
    "empty npz": (lambda p: npz(p), (IMAGE,), "no array 'input'", "it holds nothing"),
    "wrong shape": (
        lambda p: npz(p, input=X[:, :1]),
        (IMAGE,),
        "'input': a sample of shape [1, 4, 3], the model takes [2, 4, 3]",
        "resize or reshape",
    ),
    "no axis of samples": (
        lambda p: npz(p, input=X[0]),
        (IMAGE,),
        "a sample of shape [4, 3], the model takes [2, 4, 3]",
        "resize or reshape",
    ),
    "scalar": (lambda p: npz(p, input=3.0), (IMAGE,), "holds no samples", ""),
    "channels last": (
        lambda p: npz(p, input=X.transpose(0, 2, 3, 1)),
        (IMAGE,),
        "a sample of shape [4, 3, 2]",
        "--layout nhwc",
    ),
    "channels first": (
        lambda p: npz(p, input=np.ones((2, 3, 4, 5))),
        (InputSpec("input", F32, (1, 4, 5, 3)),),
        "a sample of shape [3, 4, 5]",
        "--layout nchw",
    ),
    "text array": (lambda p: npz(p, input=["a", "b"]), (IMAGE,), "is <U1", "convert it"),
    "complex array": (lambda p: npz(p, input=X * 1j), (IMAGE,), "is complex64", "convert it"),
    "floats for integers": (
        lambda p: npz(p, **{**TEXT_OK, "ids": np.ones((4, 6))}),
        TEXT,
        "array 'ids': is float64, the input 'ids' takes int64",
        "convert it",
    ),
    "integers too large": (
        lambda p: npz(p, input=[[300]]),
        (InputSpec("input", np.dtype(np.uint8), (1, 1)),),
        "numbers that uint8 cannot hold",
        "",
    ),
    "different lengths": (
        lambda p: npz(p, **{**TEXT_OK, "ids": np.ones((3, 6), int)}),
        TEXT,
        "different numbers of samples: 'ids' 3, 'mask' 4",
        "first axis",
    ),
    "no samples": (lambda p: npz(p, input=X[:0]), (IMAGE,), "holds no samples", "at least"),
    "nan": (
        lambda p: npz(p, input=not_finite(3, np.nan)),
        (IMAGE,),
        "sample 3: array 'input': holds a number that is NaN or infinite",
        "--scale",
    ),
    "infinity": (
        lambda p: npz(p, input=not_finite(0, -np.inf)),
        (IMAGE,),
        "sample 0: array 'input': holds a number that is NaN",
        "--scale",
    ),
    "beyond float32": (
        lambda p: npz(p, input=np.full((1, 2, 4, 3), 1e39)),
        (IMAGE,),
        "NaN or infinite as float32",
        "--scale",
    ),
    "empty folder": (lambda p: p, (IMAGE,), "no .npy files and no images", "one file"),
    "folder for two inputs": (lambda p: folder(p, X), TEXT, "models with one input", ".npz"),
    "arrays and images": (
        lambda p: images(folder(p, X), "a.png"),
        (COLOR,),
        "both arrays (0.npy) and images (a.png)",
        "one kind",
    ),
    "image of another size": (
        lambda p: images(p, "a.png"),
        (InputSpec("input", F32, (1, 3, 8, 8)),),
        "a.png: array 'input': a sample of shape [4, 5, 3], the model takes [3, 8, 8]",
        "resize",
    ),
    "not an image": (
        lambda p: write(p, b"rubbish", "a.jpg").parent,
        (COLOR,),
        "a.jpg: cannot be read: cannot identify image",
        "damaged",
    ),
    "list of arrays": (
        lambda p: list(X),
        (IMAGE,),
        "item 0 of the data: is ndarray",
        "'input'",
    ),
    "an array": (lambda p: X, (IMAGE,), "is ndarray, not a path or an iterable", "'input'"),
    "a number": (lambda p: 3, (IMAGE,), "is int, not a path or an iterable", "'input'"),
    "item without the name": (
        lambda p: [{"input": X[0]}, {"inptu": X[0]}],
        (IMAGE,),
        "item 1 of the data: no array 'input'",
        "it holds 'inptu'",
    ),
    "ragged item": (lambda p: [{"input": [[1], [1, 2]]}], (IMAGE,), "not arrays", ""),
    "item of another shape": (
        lambda p: [{"input": X[:2, :1]}],
        (IMAGE,),
        "item 0 of the data, sample 0: array 'input': a sample of shape [1, 4, 3]",
        "resize",
    ),
    "items of different lengths": (
        lambda p: [{**TEXT_OK, "mask": np.ones((2, 6))}],
        TEXT,
        "different numbers of samples: 'ids' 4, 'mask' 2",
        "first axis",
    ),
    "empty list": (lambda p: [], (IMAGE,), "data: holds no samples", "at least one"),
    "empty generator": (lambda p: iter(()), (IMAGE,), "data: holds no samples", "at least"),
    "model without inputs": (lambda p: [{}], (), "the model has no inputs", "no data"),
}


def refuse(load: Callable[[], object], problem: str, hint: str) -> None:
    with pytest.raises(CompileError) as caught:
        load()
    first, *rest = str(caught.value).splitlines()
    assert problem in first
    assert len(rest) <= 1
    if hint:
        assert hint in rest[0]


@pytest.mark.parametrize(("give", "inputs", "problem", "hint"), REFUSED.values(), ids=REFUSED)
def test_refuses(
    tmp_path: Path,
    give: Callable[[Path], Data],
    inputs: tuple[InputSpec, ...],
    problem: str,
    hint: str,
) -> None:
    source = give(tmp_path)
    refuse(lambda: list(load_data(source, inputs)), problem, hint)


BAD_LABELS = {
    "missing": (lambda p: npz(p, input=X), "no array 'label'", "it holds 'input'"),
    "floats": (
        lambda p: npz(p, input=X, label=np.ones(5)),
        "labels are float64 of shape [] a sample",
        "number of the class",
    ),
    "one-hot": (
        lambda p: npz(p, input=X, label=np.ones((5, 10), int)),
        "labels are int64 of shape [10] a sample",
        "number of the class",
    ),
    "too few": (
        lambda p: npz(p, input=X, label=[1, 2]),
        "different numbers of samples: 'input' 5, 'label' 2",
        "first axis",
    ),
    "folder": (lambda p: folder(p, X), "a folder holds no labels", ".npz"),
    "item": (lambda p: [{"input": X[0]}], "no array 'label'", "it holds 'input'"),
    "item of floats": (
        lambda p: [{"input": X[0], "label": 0.5}],
        "the label: labels are float64",
        "number of the class",
    ),
}


@pytest.mark.parametrize(("give", "problem", "hint"), BAD_LABELS.values(), ids=BAD_LABELS)
def test_refuses_labels(
    tmp_path: Path, give: Callable[[Path], Data], problem: str, hint: str
) -> None:
    source = give(tmp_path)
    refuse(lambda: list(load_data(source, [IMAGE], labels="label")), problem, hint)


def test_an_iterator_is_used_once() -> None:
    data = load_data(iter([{"input": X}]), [IMAGE])
    assert len(list(data)) == 5
    refuse(lambda: list(data), "the iterator is used up", "give a list")


def test_an_error_in_the_iterable_is_the_users_own() -> None:
    def samples() -> Iterator[dict[str, npt.NDArray[np.float32]]]:
        yield {"input": X[0]}
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(load_data(samples(), [IMAGE]))


BAD_OPTIONS = {
    "layout": ({"layout": "NCHW"}, "--layout: unknown layout 'NCHW'", "nchw or nhwc"),
    "std of 0": ({"std": (0.0,)}, "--std: a standard deviation of 0", ""),
    "nan": ({"mean": (np.nan,)}, "--mean: not finite", ""),
    "lengths": ({"mean": (1, 2), "std": (1, 2, 3)}, "2 means and 3 deviations", "channel"),
}


@pytest.mark.parametrize(("options", "problem", "hint"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_refuses_options(options: dict[str, object], problem: str, hint: str) -> None:
    refuse(lambda: Preprocess(**options), problem, hint)  # type: ignore[arg-type]


def test_refuses_channels_that_are_not_there() -> None:
    preprocess = Preprocess(mean=(1.0, 2.0, 3.0, 4.0, 5.0))
    data = load_data([{"input": X}], [IMAGE], preprocess=preprocess)
    refuse(lambda: list(data), "5 channels in --mean or --std, none of that size", "one")


@pytest.mark.parametrize("as_file", [True, False])
def test_error_about_a_shape_says_how_the_batch_was_understood(
    tmp_path: Path, as_file: bool
) -> None:
    spec = InputSpec("x", np.dtype(np.float32), (28, 28))
    x = np.zeros((5, 28, 28), np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    with pytest.raises(
        CompileError,
        match=r"a sample of shape \[28, 28\], the model takes \[28\]: the first axis of its "
        r"\[28, 28\] is read as a batch of 28 samples\n",
    ):
        list(load_data(tmp_path / "x.npz" if as_file else [{"x": x}], [spec]))
