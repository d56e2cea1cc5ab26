"""golden.h of a bundle: one input, and what the oracle answers to it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qcompile.artifact import Golden
from qcompile.bundle.c_text import c_string, c_words

Array = npt.NDArray[np.generic]

KINDS = {"float32": "GOLDEN_FLOAT32", "float64": "GOLDEN_FLOAT64"}


def golden_header(golden: Golden, inputs: list[str], outputs: dict[str, float]) -> str:
    """Return golden.h.

    Args:
        golden: The run.
        inputs: Names of the inputs, in the order of the graph.
        outputs: Names of the outputs, in order, with the absolute error that each may have.
    """
    parts = [HEAD]
    for number, name in enumerate(inputs):
        data = np.ascontiguousarray(golden.inputs[name]).tobytes()
        parts.append(c_words(f"golden_input_{number}", data, storage="static "))
    rows = []
    for number, (name, bound) in enumerate(outputs.items()):
        array = golden.outputs[name]
        data = np.ascontiguousarray(array).tobytes()
        parts.append(c_words(f"golden_output_{number}", data, storage="static "))
        words = max(1, -(-len(data) // 8))
        parts.append(f"static uint64_t golden_got_{number}[{words}] MODEL_ALIGNED;\n")
        kind = KINDS.get(array.dtype.name, "GOLDEN_INTEGER")
        rows.append(
            f"  {{{c_string(name)}, {kind}, {array.size}, {array.itemsize}, {bound!r},\n"
            f"   golden_output_{number}, golden_got_{number}}}"
        )
    given = ", ".join(f"golden_input_{number}" for number in range(len(inputs))) or "0"
    got = ", ".join(f"golden_got_{number}" for number in range(len(outputs)))
    listed = ",\n".join(rows)
    parts.append(
        f"static const void* const golden_inputs[] = {{{given}}};\n"
        f"static void* const golden_got[] = {{{got}}};\n"
        f"static const golden_output golden_outputs[] = {{\n{listed}}};\n"
    )
    return "\n".join(parts)


HEAD = """\
/* One input, and what the oracle answers to it; only main.c includes this. */
#include "model.h"

enum { GOLDEN_INTEGER, GOLDEN_FLOAT32, GOLDEN_FLOAT64 };

/* `bound`: how far a value may lie from the expected one; 0 with no float kernel before. */
typedef struct {
  const char* name;
  int kind;
  size_t elements;
  size_t element_bytes;
  double bound;
  const void* expected;
  const void* got;
} golden_output;
"""
