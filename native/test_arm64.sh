#!/usr/bin/env bash
# Compiles the kernel sets and their tests for 64-bit Arm in FOLDER/arm64, and runs them under qemu's emulation.
# Usage: test_arm64.sh FOLDER
set -euo pipefail

need() {
    command -v "$1" >/dev/null && return
    printf '%s is not installed; on Debian: apt-get install %s\n' "$1" "$2" >&2
    exit 1
}
need cmake cmake
need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
need aarch64-linux-gnu-g++ g++-aarch64-linux-gnu
need qemu-aarch64 qemu-user

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
# shellcheck source=../third_party/llama.cpp.pin
source "$root/third_party/llama.cpp.pin"
llama=$folder/third_party/llama.cpp-${tree:0:12}
bash "$root/third_party/fetch.sh" "$llama"
mkdir -p "$folder/arm64"
cmake -S "$root/native/tests/arm64" -B "$folder/arm64" -DCMAKE_BUILD_TYPE=Release -DLLAMA_SOURCE="$llama" \
    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc \
    -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_EXE_LINKER_FLAGS=-static -DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64 \
    >"$folder/arm64/configure.log" || {
    tail -n 20 "$folder/arm64/configure.log" >&2
    exit 1
}
cmake --build "$folder/arm64" --parallel "$(getconf _NPROCESSORS_ONLN)"
ctest --test-dir "$folder/arm64" --output-on-failure
