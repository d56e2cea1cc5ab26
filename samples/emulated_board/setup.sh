#!/usr/bin/env bash
# Set up an aarch64 user space (Debian's python3.11, TVM's runtime) that runs under qemu-user.
#
# Installs with apt-get, only where missing: qemu-user, g++-aarch64-linux-gnu.
# Writes everything else under $QCOMPILE_BOARD (~/.cache/qcompile/emulated-board); does nothing
# where that is complete and of the versions that pyproject.toml pins. At most LIMIT seconds.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
LIMIT=${QCOMPILE_BOARD_LIMIT:-900}
SUITE=bookworm
VERSION=3.11
DEBS=(python3.11 libstdc++6)

if [[ -z ${QCOMPILE_BOARD_TIMED:-} ]]; then
    export QCOMPILE_BOARD_TIMED=1
    status=0
    timeout "$LIMIT" bash "${BASH_SOURCE[0]}" "$@" || status=$?
    [[ $status != 124 ]] || fail "not done after $LIMIT seconds" "more time: QCOMPILE_BOARD_LIMIT=SECONDS"
    exit "$status"
fi

pin() {
    local line
    line=$(grep -oE "\"$1[=<>][^\"]*\"" "$checkout/pyproject.toml" | head -n 1)
    [[ -n $line ]] || fail "pyproject.toml has no $1"
    tr -d '"' <<<"$line"
}
WHEELS=("$(pin apache-tvm)" "$(pin apache-tvm-ffi)" "$(pin numpy)" ml_dtypes typing_extensions)
wanted="$SUITE ${DEBS[*]} ${WHEELS[*]}"

install_tools() {
    local missing=()
    command -v "$emulator" >/dev/null || missing+=(qemu-user)
    command -v aarch64-linux-gnu-g++ >/dev/null || missing+=(g++-aarch64-linux-gnu)
    [[ ${#missing[@]} -gt 0 ]] || return 0
    command -v apt-get >/dev/null ||
        fail "needs ${missing[*]}, and there is no apt-get" "install them, then run this again"
    local sudo=()
    [[ $(id -u) == 0 ]] || sudo=(sudo)
    say "installs with apt-get: ${missing[*]}"
    "${sudo[@]}" apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -qy --no-install-recommends \
        "${missing[@]}" >/dev/null || fail "cannot install ${missing[*]}" "see apt-get above"
}

# A private apt state: this machine's own package lists and architectures stay as they are.
private_apt() {
    apt-get -q \
        -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root \
        -o APT::Install-Recommends=false -o APT::Get::AllowUnauthenticated=false \
        -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Update::Error-Mode=any \
        -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=- \
        -o Dir::State="$apt/state" -o Dir::State::status="$apt/status" \
        -o Dir::Cache="$apt/cache" -o Debug::NoLocking=1 "$@"
}

# The Debian mirror that this machine itself uses.
own_mirror() {
    apt-get indextargets --format '$(REPO_URI)' "Codename: $SUITE" "Created-By: Packages" |
        head -n 1
}

fetch_sysroot() {
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    local mirror=${QCOMPILE_BOARD_MIRROR:-$(own_mirror)}
    [[ -n $mirror ]] ||
        fail "this machine has no mirror of Debian $SUITE" "name one: QCOMPILE_BOARD_MIRROR=URL"
    [[ -f $keyring ]] || fail "no $keyring" "apt-get install debian-archive-keyring"
    mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial"
    : >"$apt/status"
    echo "deb [signed-by=$keyring] $mirror $SUITE main" >"$apt/sources.list"
    private_apt update >/dev/null && private_apt install -y --download-only "${DEBS[@]}" >/dev/null ||
        fail "cannot get ${DEBS[*]} from $mirror" "another mirror: QCOMPILE_BOARD_MIRROR=URL"
    local deb
    for deb in "$apt"/cache/archives/*.deb; do
        dpkg-deb -x "$deb" "$sysroot"
    done
}

fetch_wheels() {
    local python=${PYTHON:-python3} wheel
    "$python" -m pip --version >/dev/null 2>&1 ||
        fail "$python has no pip" "apt-get install python3-pip, or set PYTHON"
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps \
        --only-binary=:all: --implementation cp --python-version "$VERSION" \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
        --platform manylinux2014_aarch64 -d "$board/wheels" "${WHEELS[@]}" ||
        fail "cannot get the wheels" "is the package index reachable?"
    mkdir -p "$site"
    for wheel in "$board"/wheels/*.whl; do
        "$python" -m zipfile -e "$wheel" "$site"
    done
    # A board runs kernels and compiles none: 260 MB less.
    rm -rf "$site/tvm/lib/libtvm_compiler.so" "$board/wheels"
}

mkdir -p "$board"
exec 9>"$board/lock"
flock 9 # one setup at a time
install_tools
if [[ $(cat "$board/complete" 2>/dev/null) == "$wanted" ]]; then
    say "complete: $board"
    exit 0
fi
say "makes $board: Debian $SUITE arm64 ${DEBS[*]}; aarch64 wheels ${WHEELS[*]}"
rm -rf "$sysroot" "$site" "$board/complete"
apt=$board/apt
fetch_sysroot
fetch_wheels
rm -rf "$apt"
version=$(bash "$here/python.sh" -c 'import platform, tvm; print(platform.machine(), tvm.__version__)')
echo "$wanted" >"$board/complete"
say "complete: $version, $(du -sh "$board" | cut -f 1), $board"
