# What setup.sh, start.sh, stop.sh and python.sh share; sourced, not run.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checkout=$(cd "$here/../.." && pwd)
board=${QCOMPILE_BOARD:-${XDG_CACHE_HOME:-$HOME/.cache}/qcompile/emulated-board}
sysroot=$board/sysroot
site=$board/site
run=$board/run
emulator=qemu-aarch64
cpu=${QCOMPILE_BOARD_CPU:-max}

fail() {
    printf 'emulated board: error: %s\n' "$1" >&2
    [[ -z ${2:-} ]] || printf '  hint: %s\n' "$2" >&2
    exit 1
}

say() {
    printf 'emulated board: %s\n' "$*"
}
