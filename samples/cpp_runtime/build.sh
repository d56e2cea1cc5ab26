#!/usr/bin/env bash
# Build cpp_runtime: `bash build.sh [OUT]`. CXX is the compiler, else g++.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
"${CXX:-g++}" -std=c++17 -O2 -Wall -Wextra "$here/main.cc" -o "${1:-$here/cpp_runtime}" -ldl
