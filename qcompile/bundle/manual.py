"""README.txt and CMakeLists.txt of a bundle."""

from __future__ import annotations

from qcompile.host import host_arch


def manual(target: str, arch: str) -> str:
    """Return README.txt."""
    own = arch == host_arch()
    compiler = "cc" if own else f"{arch}-linux-gnu-gcc -static"
    run = (
        "./model_check" if own else f"./model_check on the device, or qemu-{arch} model_check"
    )
    return MANUAL.format(target=target, compiler=compiler, run=run)


MANUAL = """\
A model that qcompile compiled for {target}, as C: no runtime, no heap, no files.

Build and check it (exit status 0: every output is as it must be):

    {compiler} -std=c99 -O2 main.c model.c weights.c kernels.o -lm -o model_check
    {run}

or with CMake:

    cmake -B build && cmake --build build && ctest --test-dir build

Use it: compile model.c and weights.c, link kernels.o, include model.h. model.h says what the
inputs and outputs are and how much memory the arena takes.

kernels.o   the kernels, machine code
model.c     calls them in order; the plan of the memory
model.h     model_init, model_run, and the facts as macros
weights.c   the weights, constant
golden.h    one input and the outputs to it
main.c      the check
"""

CMAKE = """\
cmake_minimum_required(VERSION 3.13)
project(model C)
set(CMAKE_C_STANDARD 99)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

set(kernels ${CMAKE_CURRENT_SOURCE_DIR}/kernels.o)
set_source_files_properties(${kernels} PROPERTIES EXTERNAL_OBJECT TRUE)
add_library(model STATIC model.c weights.c ${kernels})
target_include_directories(model PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(model PUBLIC m)

add_executable(model_check main.c)
target_link_libraries(model_check PRIVATE model)

enable_testing()
add_test(NAME golden COMMAND model_check)
"""
