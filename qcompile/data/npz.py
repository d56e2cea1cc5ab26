"""Read and write .npz files of plain arrays; pickles are refused."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qcompile.errors import CompileError
from qcompile.target import Arrays


def read_npz(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Return the arrays of a file.

    Raises:
        CompileError: It is missing, damaged, no .npz, or holds pickled objects.
    """
    where, hint = str(path), "write it with np.savez(path, **arrays)"
    try:
        loaded = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise CompileError(
                "one array, not an .npz of named arrays", where=where, hint=hint
            )
        return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError as error:
        raise CompileError("no such file", where=where, hint="check the path") from error
    except OSError as error:
        raise CompileError(f"cannot be read: {error.strerror}", where=where) from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        pickled = "allow_pickle" in str(error) or "Object arrays" in str(error)
        problem = "not an .npz of plain arrays (pickles are refused)" if pickled else "damaged"
        raise CompileError(problem, where=where, hint=hint) from error


def npz_bytes(arrays: Arrays) -> bytes:
    """Return the .npz file of these arrays; the same arrays give the same bytes."""
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    return stream.getvalue()
