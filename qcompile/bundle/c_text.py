"""Small pieces of C source: strings, types, and arrays of bytes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from qcompile.errors import CompileError

TYPES = {
    "float32": "float",
    "float64": "double",
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "int64": "int64_t",
    "uint64": "uint64_t",
    "bool": "uint8_t",
}
"""The C type of each element type; C99 has none for the others."""

WORDS_A_LINE = 4
WORD_BYTES = 8


def c_type(value: ir.Value) -> str:
    """Return the C type of a graph input's or output's elements.

    Raises:
        CompileError: C has none, e.g. for float16.
    """
    assert value.dtype is not None
    name = value.dtype.numpy().name
    if name not in TYPES:
        raise CompileError(
            f"C has no type for {name}",
            where=f"input or output {value.name!r}",
            hint=f"give the model inputs and outputs of {', '.join(TYPES)}",
        )
    return TYPES[name]


def c_string(text: str) -> str:
    """Return a string literal; other than printable ASCII is written in octal."""
    plain = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in text.encode()
    )
    return f'"{plain}"'


def c_words(name: str, data: bytes, *, storage: str = "") -> str:
    """Return the definition of an aligned array that holds the bytes.

    It is of 64-bit words, in the byte order of every target (little-endian): that is an eighth
    of the numbers for a compiler to read.
    """
    padded = data + bytes(-len(data) % WORD_BYTES) or bytes(WORD_BYTES)
    words = [f"0x{int(word):x}" for word in np.frombuffer(padded, "<u8")]
    lines = [
        ", ".join(words[start : start + WORDS_A_LINE])
        for start in range(0, len(words), WORDS_A_LINE)
    ]
    body = ",\n  ".join(lines)
    return f"{storage}const uint64_t {name}[{len(words)}] MODEL_ALIGNED = {{\n  {body}}};\n"
