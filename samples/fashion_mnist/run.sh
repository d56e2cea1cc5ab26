#!/usr/bin/env bash
# Compile a small network for this machine's CPU, validate it on 2 000 labelled pictures, and
# measure it. Uses the active Python environment if qcompile is in it; otherwise makes .venv.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
preprocess=(--scale 0.00392156862745098 --mean 0.286 --std 0.353)

show() {
    printf '\n$ %s\n' "$*"
    "$@"
}

if ! command -v g++ >/dev/null; then
    echo "g++ is needed to link what is compiled: apt-get install g++" >&2
    exit 1
fi

if command -v qcompile >/dev/null; then
    echo "using $(command -v qcompile)"
else
    env=$root/.venv
    if [[ ! -x $env/bin/qcompile ]]; then
        python=${PYTHON:-python3}
        if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            echo "Python 3.11 or newer is needed, $python is not: set PYTHON" >&2
            exit 1
        fi
        show "$python" -m venv "$env"
        show "$env/bin/python" -m pip install --quiet -e "$root"
    fi
    PATH=$env/bin:$PATH
fi

cd "$here"
show qcompile compile model.onnx --target native --calib calibration.npz --labels label \
    -o model.qcm "${preprocess[@]}"
show qcompile validate model.qcm --data test.npz --labels label --reference model.onnx \
    "${preprocess[@]}"
show qcompile bench model.qcm --against onnxruntime --reference model.onnx
