"""The C files of a bundle, from a program and its memory plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from qcompile.bundle.c_text import c_string, c_type, c_words
from qcompile.bundle.cpu_check import X86_NAMES, cpu_check
from qcompile.bundle.memory import Arena, aligned, direct_outputs
from qcompile.bundle.program import Program

MARK = "/* Made by `qcompile export --format c`"
"""How model.h begins: it tells an earlier export from other people's files."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """What the C files are made from.

    Attributes:
        target: Name of the target.
        arch: Its architecture.
        features: What `model_init` asks of its CPU.
        inputs: The graph inputs.
        outputs: The graph outputs.
        program: The kernel calls.
        arena: Where their buffers lie.
    """

    target: str
    arch: str = ""
    features: Sequence[str] = ()
    inputs: Sequence[ir.Value]
    outputs: Sequence[ir.Value]
    program: Program
    arena: Arena

    @property
    def weight_bytes(self) -> int:
        """Bytes of the constants."""
        return sum(aligned(len(data)) for data in self.program.constants.values())

    def header(self) -> str:
        """Return model.h."""
        described = "".join(
            describe(kind, number, value)
            for kind, values in (("INPUT", self.inputs), ("OUTPUT", self.outputs))
            for number, value in enumerate(values)
        )
        return HEADER.format(
            mark=MARK,
            target=self.target,
            features=c_string(" ".join(self.features)),
            inputs=len(self.inputs),
            outputs=len(self.outputs),
            arena=self.arena.size,
            weights=self.weight_bytes,
            described=described,
        )

    def model(self) -> str:
        """Return model.c."""
        include, check = cpu_check(self.arch, self.features)
        kernels = {
            call.kernel: (len(call.reads), len(call.writes)) for call in self.program.calls
        }
        declared = "".join(
            f"int {kernel}({', '.join(['const void*'] * reads + ['void*'] * writes)});\n"
            for kernel, (reads, writes) in kernels.items()
        )
        return MODEL.format(
            include=include,
            check=check,
            declared=declared + self._chosen(kernels),
            arena=ARENA if self.arena.size else "",
            calls="\n".join(self._statements(self._calls())),
        )

    def profile(self) -> str:
        """Return what follows model.c in a library that can time its calls."""
        timed = [f"{line} MEASURE({number})" for number, line in enumerate(self._calls())]
        return PROFILE.format(
            count=len(self.program.calls), calls="\n".join(self._statements(timed))
        )

    def weights(self) -> str:
        """Return weights.c."""
        data = b"".join(
            each.ljust(aligned(len(each)), b"\0") for each in self.program.constants.values()
        )
        return WEIGHTS + c_words("model_weights", data)

    def _chosen(self, kernels: Mapping[str, tuple[int, int]]) -> str:
        """Return the pointers to kernels that are there twice, set when the code is loaded."""
        faster = self.program.faster
        if faster is None:
            return ""
        lines, chosen = [""], []
        for plain, fast in faster.kernels.items():
            reads, writes = kernels[plain]
            types = ", ".join(["const void*"] * reads + ["void*"] * writes)
            lines.append(f"int {fast}({types});")
            lines.append(f"static int (*best_{plain})({types}) = {plain};")
            chosen.append(f"  best_{plain} = {fast};")
        lines.append("__attribute__((constructor)) static void choose(void) {")
        lines.append("  __builtin_cpu_init();")
        lines.append(f'  if (!__builtin_cpu_supports("{X86_NAMES[faster.feature]}")) return;')
        return "\n".join([*lines, *chosen, "}\n"])

    def _calls(self) -> list[str]:
        """Return the kernel calls, a line each."""
        places, faster = self._places(), self.program.faster
        twice = faster.kernels if faster is not None else {}
        lines = []
        for call in self.program.calls:
            arguments = (places[buffer] for buffer in (*call.reads, *call.writes))
            best = "best_" if call.kernel in twice else ""
            lines.append(f"  {best}{call.kernel}({', '.join(arguments)});")
        return lines

    def _statements(self, calls: Sequence[str]) -> list[str]:
        """Return the body of a function that runs the model."""
        places, lines = self._places(), list(calls)
        direct = direct_outputs(self.program)
        lines += [
            f"  memcpy(outputs[{position}], {places[buffer]}, {self.program.sizes[buffer]});"
            for position, buffer in enumerate(self.program.outputs)
            if direct.get(buffer) != position
        ]
        for name, count in (("inputs", len(self.inputs)), ("outputs", len(self.outputs))):
            if not any(f"{name}[" in line for line in lines):
                lines.insert(0, f"  (void){name}; /* {count} of them, and none is needed */")
        return lines

    def _places(self) -> dict[int, str]:
        """Return the C expression of where each buffer lies."""
        places = {buffer: f"ARENA({offset})" for buffer, offset in self.arena.offsets.items()}
        offset = 0
        for buffer, data in self.program.constants.items():
            places[buffer] = f"WEIGHT({offset})"
            offset += aligned(len(data))
        for position, buffer in enumerate(self.program.inputs):
            places[buffer] = f"inputs[{position}]"
        for buffer, position in direct_outputs(self.program).items():
            places[buffer] = f"outputs[{position}]"
        return places


def describe(kind: str, number: int, value: ir.Value) -> str:
    """Return the macros of one input or output."""
    assert value.dtype is not None
    assert value.shape is not None
    name, shape = f"MODEL_{kind}_{number}", [int(size) for size in value.shape.numpy()]
    elements = int(np.prod(shape, dtype=np.int64))
    facts = {
        "NAME": c_string(str(value.name)),
        "TYPE": c_type(value),
        "DTYPE": c_string(value.dtype.numpy().name),
        "RANK": len(shape),
        "SHAPE": f"{{{', '.join(map(str, shape or [1]))}}}",
        "ELEMENTS": elements,
        "BYTES": elements * value.dtype.numpy().itemsize,
    }
    return "\n" + "".join(f"#define {name}_{key} {fact}\n" for key, fact in facts.items())


HEADER = """\
{mark} for {target}.
 *
 * Call model_init once, then model_run as often as you like, from one thread at a time: the
 * activations lie in one static arena. Inputs and outputs are row-major arrays of the shapes
 * below, at any address; no two of them may overlap. Everything else is constant.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __GNUC__
#define MODEL_ALIGNED __attribute__((aligned(64)))
#else
#define MODEL_ALIGNED /* slower, and no less right */
#endif

#define MODEL_TARGET "{target}"
#define MODEL_FEATURES {features}
#define MODEL_INPUTS {inputs}
#define MODEL_OUTPUTS {outputs}
#define MODEL_ARENA_BYTES {arena}
#define MODEL_WEIGHT_BYTES {weights}
{described}
#ifdef __cplusplus
extern "C" {{
#endif

extern const uint64_t model_weights[];

/* Returns 0, or 1 where the CPU lacks what MODEL_FEATURES names. */
int model_init(void);

/* Runs once: reads MODEL_INPUTS arrays and writes MODEL_OUTPUTS arrays. */
void model_run(const void* const inputs[], void* const outputs[]);

#ifdef __cplusplus
}}
#endif

#endif
"""

WEIGHTS = """\
/* The weights, each at a multiple of 64 bytes. */
#include "model.h"

"""

ARENA = """\
#define ARENA(offset) (arena + (offset))

static char arena[MODEL_ARENA_BYTES] MODEL_ALIGNED;

"""

MODEL = """\
/* The kernels of the model, called in order over one arena. */
#include "model.h"

#include <string.h>
{include}
#define WEIGHT(offset) ((const char*)model_weights + (offset))

{declared}
{arena}int model_init(void) {{
{check}}}

void model_run(const void* const inputs[], void* const outputs[]) {{
{calls}
}}
"""

PROFILE = """
#include <time.h>

const int model_calls = {count};

static double now(void) {{
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec + 1e-9 * (double)at.tv_nsec;
}}

#define MEASURE(call) after = now(); seconds[call] = after - before; before = after;

/* Runs once, and says how many seconds each of model_calls kernel calls took. */
void model_profile(const void* const inputs[], void* const outputs[], double seconds[]) {{
  double after, before = now();
{calls}
  (void)after;
  (void)before;
  (void)seconds;
}}
"""
