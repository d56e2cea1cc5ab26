#!/usr/bin/env bash
# The board's Python: `bash python.sh ARGS...` runs aarch64 python3.11 under the emulator.
#
# QCOMPILE_BOARD_CPU names the CPU model: max, cortex-a72 (plain v8.0), neoverse-n1 (dotprod),
# ... Instructions that the model lacks are illegal, as on the hardware.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
libraries=$sysroot/usr/lib/aarch64-linux-gnu:$sysroot/lib/aarch64-linux-gnu
exec "$emulator" -cpu "$cpu" -L "$sysroot" \
    -E LD_LIBRARY_PATH="$libraries" -E PYTHONHOME="$sysroot/usr" \
    -E PYTHONPATH="$site:$checkout" -E PYTHONDONTWRITEBYTECODE=1 \
    -E TVM_USE_RUNTIME_LIB=1 -E QCOMPILE_EMULATED=1 \
    "$sysroot/usr/bin/python3.11" "$@"
