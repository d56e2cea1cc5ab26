#!/usr/bin/env bash
# Start the emulated board: `bash start.sh [PORT] [KEY]` serves it at rpc://127.0.0.1:PORT/KEY.
#
# PORT is 9190 and KEY "board" unless told; QCOMPILE_BOARD_CPU is the CPU model (python.sh);
# QCOMPILE_BOARD_TRACKER=HOST:PORT tells a tracker of it. Ends when the board answers.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
LIMIT=120
port=${1:-9190}
key=${2:-board}
[[ $port =~ ^[0-9]+$ ]] || fail "PORT is a number, not '$port'" "bash start.sh [PORT] [KEY]"
[[ -f $board/complete ]] || fail "not set up" "bash $here/setup.sh"
mkdir -p "$run"
pidfile=$run/$port.pid
log=$run/$port.log
if [[ -f $pidfile ]] && kill -0 "$(cat "$pidfile")" 2>/dev/null; then
    say "runs already: rpc://127.0.0.1:$port (stop it: bash $here/stop.sh $port)"
    exit 0
fi
tracker=()
[[ -z ${QCOMPILE_BOARD_TRACKER:-} ]] || tracker=(--tracker "$QCOMPILE_BOARD_TRACKER")

: >"$log"
# A session of its own: what ends this shell does not end the board, stop.sh does.
setsid bash "$here/python.sh" -m qcompile device serve --port "$port" --key "$key" \
    ${tracker[@]+"${tracker[@]}"} >"$log" 2>&1 </dev/null &
pid=$!
echo "$pid" >"$pidfile"
for ((tenths = 0; tenths < LIMIT * 10; tenths++)); do
    if grep -q '^serves ' "$log"; then
        say "cpu $cpu: $(grep '^serves ' "$log") (log: $log)"
        exit 0
    fi
    if ! kill -0 "$pid" 2>/dev/null; then
        tail -n 5 "$log" >&2
        rm -f "$pidfile"
        fail "it ended at the start" "the log: $log"
    fi
    sleep 0.1
done
bash "$here/stop.sh" "$port" >/dev/null
fail "no answer after $LIMIT seconds" "the log: $log"
