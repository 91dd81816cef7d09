#!/usr/bin/env bash
# Fetches and builds the pinned llama.cpp below FOLDER, once for each version and set of options, and prints where it is:
# FOLDER/llama.cpp-<tree> (source) and FOLDER/llama.cpp-<tree>-<options>-<recipe> (build; its libraries in bin/), where <recipe>
# stands for the files beside this one that say how it is built.
# Options: RECINT_CUDA=1, RECINT_METAL=1, LLAMA_CPP_DIR (see fetch.sh).
# Usage: build.sh FOLDER
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
# shellcheck source=llama.cpp.pin
source "$here/llama.cpp.pin"

need() {
    command -v "$1" >/dev/null && return
    printf '%s is not installed; on Debian: apt-get install %s\n' "$2" "$3" >&2
    exit 1
}
need cmake CMake cmake
need "${CXX:-c++}" 'a C++ compiler' g++
need make make make

options=cpu
[ -n "${RECINT_CUDA:-}" ] && options=$options-cuda && need nvcc "CUDA's compiler nvcc" nvidia-cuda-toolkit
[ -n "${RECINT_METAL:-}" ] && options=$options-metal
source=$folder/llama.cpp-${tree:0:12}
recipe=$(cat "$here/CMakeLists.txt" "$here/relax.h" | git hash-object --stdin)
build=$source-$options-${recipe:0:8}
if [ ! -e "$build/complete" ]; then
    bash "$here/fetch.sh" "$source"
    generator=()
    command -v ninja >/dev/null && generator=(-G Ninja)
    printf 'llama.cpp: building (%s), about three minutes on two cores\n' "$options" >&2
    if ! {
        cmake "${generator[@]}" -S "$here" -B "$build" -DCMAKE_BUILD_TYPE=Release -DLLAMA_SOURCE="$source" \
            -DRECINT_CUDA="${RECINT_CUDA:+ON}" -DRECINT_METAL="${RECINT_METAL:+ON}" &&
            cmake --build "$build" --parallel "$(getconf _NPROCESSORS_ONLN)"
    } >"$build.log" 2>&1; then
        grep -iE -m 5 'error' "$build.log" >&2 || tail -n 20 "$build.log" >&2
        printf 'llama.cpp: the build failed; all of it is in %s\n' "$build.log" >&2
        exit 1
    fi
    touch "$build/complete"
fi
printf 'LLAMA_SOURCE=%s\nLLAMA_BUILD=%s\n' "$source" "$build"
