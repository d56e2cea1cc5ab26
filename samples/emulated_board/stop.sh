#!/usr/bin/env bash
# Stop the emulated board: `bash stop.sh [PORT]`; PORT is 9190 unless told.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
port=${1:-9190}
pidfile=$run/$port.pid
if [[ ! -f $pidfile ]]; then
    say "nothing runs at port $port"
    exit 0
fi
pid=$(cat "$pidfile")
# The whole group, the session of a client included; only if it still is the emulator.
if grep -qs "$emulator" "/proc/$pid/cmdline"; then
    kill -TERM -- "-$pid" 2>/dev/null || kill -TERM "$pid"
    for ((tenths = 0; tenths < 50; tenths++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL -- "-$pid" 2>/dev/null || true
fi
rm -f "$pidfile"
say "stopped port $port"
