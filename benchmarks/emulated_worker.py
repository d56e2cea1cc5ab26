"""Run on the emulated board: open a model, run it a few times, then more often, with marks.

Started with the folder of the runtimes, the name of one, a model, an .npz of inputs, an .npz
to write the outputs to, and the numbers of runs. The emulator's plugin (count_instructions.c)
writes its counts at every mark. Prints where the libraries lie in memory.

Nothing but NumPy and the measured runtime is imported: the board has no more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

MARK = 0x71636F6D
WARM_UP = 2

Arrays = Mapping[str, Any]
Model = tuple[Callable[[], Any], Callable[[], dict[str, Any]]]
"""One run without anything around it, and what then gives the outputs."""


def open_qcompile(path: Path, inputs: Arrays) -> Model:
    """Return a run of a library that qcompile built."""
    import ctypes

    import numpy

    library = ctypes.CDLL(str(path))
    interface = ctypes.string_at(library.model_interface).decode().splitlines()
    output = next(line for line in interface if line.startswith("output"))
    _, dtype, shape, _ = output.split(" ", 3)
    answer = numpy.empty([int(size) for size in shape.split(",")], dtype)
    given = [numpy.ascontiguousarray(array) for array in inputs.values()]
    pointers = (ctypes.c_void_p * len(given))(*(array.ctypes.data for array in given))
    target = (ctypes.c_void_p * 1)(answer.ctypes.data)
    return (
        lambda: library.model_run(pointers, target),
        lambda: (library.model_run(pointers, target), {"output": answer})[1],
    )


def open_onnxruntime(path: Path, inputs: Arrays) -> Model:
    """Return a run of onnxruntime, with inputs and outputs bound beforehand."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_cpu_input(name, array)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return (
        lambda: session.run_with_iobinding(binding),
        lambda: {"output": binding.copy_outputs_to_cpu()[0]},
    )


def open_litert(path: Path, inputs: Arrays) -> Model:
    """Return a run of LiteRT with XNNPACK, which it uses unless told otherwise."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    (place,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    (array,) = inputs.values()
    interpreter.set_tensor(place["index"], np.ascontiguousarray(array.transpose(0, 2, 3, 1)))
    return interpreter.invoke, lambda: {"output": interpreter.get_tensor(output["index"])}


RUNTIMES = {
    "qcompile": open_qcompile,
    "onnxruntime": open_onnxruntime,
    "litert": open_litert,
}


def main() -> int:
    """Run, and mark the beginning, the middle and the end."""
    site, runtime, model, inputs_file, outputs_file, *numbers = sys.argv[1:]
    sys.path.insert(0, site)
    with np.load(inputs_file) as arrays:
        inputs = {name: arrays[name] for name in arrays}
    run, outputs = RUNTIMES[runtime](Path(model), inputs)
    for _ in range(WARM_UP):
        run()
    mark()
    for number in numbers:
        for _ in range(int(number)):
            run()
        mark()
    np.savez(outputs_file, **outputs())
    print(Path("/proc/self/maps").read_text(encoding="utf-8"))
    return 0


def mark() -> None:
    """Tell the plugin; without it this does nothing."""
    try:
        os.lseek(-1, MARK, os.SEEK_SET)
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main())
