#!/usr/bin/env bash
# Build cpp_runtime with the headers and libraries of TVM's wheels: `bash build.sh [OUT]`.
#
# SITE is the folder that the wheels tvm and tvm_ffi are installed in (of another architecture,
# for a cross compiler); unless set, that of PYTHON, else python3. CXX is the compiler, else g++.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
out=${1:-$here/cpp_runtime}
site=${SITE:-$("${PYTHON:-python3}" -c 'import importlib.util as u; print(u.find_spec("tvm").submodule_search_locations[0] + "/..")')}
"${CXX:-g++}" -std=c++17 -O2 -Wall -Wextra "$here/main.cc" -o "$out" \
    -isystem "$site/tvm_ffi/include" -L"$site/tvm/lib" -L"$site/tvm_ffi/lib" \
    -Wl,--no-as-needed -ltvm_runtime -ltvm_ffi -Wl,-rpath,"$site/tvm/lib:$site/tvm_ffi/lib"
