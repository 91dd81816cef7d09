#!/usr/bin/env bash
# Fetches and builds the pinned llama.cpp below FOLDER, once for each version and set of options, and prints where it is:
# FOLDER/llama.cpp-<tree> (source) and FOLDER/llama.cpp-<tree>-<options>-<recipe> (build; its libraries in bin/), where <recipe>
# stands for the files beside this one that say how it is built, and for CUDA's compiler.
# Options: RECINT_CUDA=1 (for this machine's GPU) or an architecture as CMake names it (90-real: H100 and H200),
# RECINT_METAL=1, CMAKE_TOOLCHAIN_FILE (CMake's, to cross-compile), RECINT_PORTABLE=1 (for other machines than this
# one), RECINT_MARCH=LEVEL (for that x86-64 level, as -march names it, and not for this machine's processor: with
# x86-64-v3 ggml uses no AVX-512), LLAMA_CPP_DIR (see fetch.sh), CMAKE_BUILD_PARALLEL_LEVEL.
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

options=cpu march=${RECINT_MARCH:-native}
recipe=("$here/CMakeLists.txt") settings=() nvcc=
if [ -n "${RECINT_CUDA:-}" ]; then
    need nvcc "CUDA's compiler nvcc" nvidia-cuda-toolkit
    nvcc=$(command -v nvcc && nvcc --version)
    architectures=$RECINT_CUDA
    if [ "$architectures" = 1 ]; then
        architectures=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sort -u |
            sed 's/\.//; s/$/-real/' | paste -sd ,) || true
        [ -n "$architectures" ] || {
            printf 'nvidia-smi finds no GPU to build for; RECINT_CUDA=90-real builds for H100 and H200, 86-real for RTX 30\n' >&2
            exit 1
        }
    fi
    options=$options-cuda-$architectures
    recipe+=("$here/cuda.cmake")
    settings=(-C "$here/cuda.cmake" -DCMAKE_CUDA_ARCHITECTURES="${architectures//,/;}")
fi
[ -n "${RECINT_METAL:-}" ] && options=$options-metal
[ -n "${CMAKE_TOOLCHAIN_FILE:-}" ] && options=$options-$(basename "$CMAKE_TOOLCHAIN_FILE" .cmake) recipe+=("$CMAKE_TOOLCHAIN_FILE")
if [ -n "${RECINT_PORTABLE:-}" ]; then
    options=$options-portable march=x86-64
elif [ -n "${RECINT_MARCH:-}" ]; then
    options=$options-$RECINT_MARCH
fi
source=$folder/llama.cpp-${tree:0:12}
hash=$({ cat "${recipe[@]}" && printf %s "$nvcc"; } | git hash-object --stdin)
build=$source-$options-${hash:0:8}
if [ ! -e "$build/complete" ]; then
    bash "$here/fetch.sh" "$source"
    generator=()
    command -v ninja >/dev/null && generator=(-G Ninja)
    printf 'llama.cpp: building (%s), about %s minutes on two cores\n' "$options" "$([ -n "$nvcc" ] && echo 40 || echo three)" >&2
    if ! {
        cmake "${generator[@]}" "${settings[@]}" -S "$here" -B "$build" -DCMAKE_BUILD_TYPE=Release -DLLAMA_SOURCE="$source" \
            -DRECINT_CUDA="${RECINT_CUDA:+ON}" -DRECINT_METAL="${RECINT_METAL:+ON}" \
            -DRECINT_PORTABLE="${RECINT_PORTABLE:+ON}" -DRECINT_MARCH="$march" &&
            cmake --build "$build" --parallel "${CMAKE_BUILD_PARALLEL_LEVEL:-$(getconf _NPROCESSORS_ONLN)}"
    } >"$build.log" 2>&1; then
        grep -iE -m 5 'error' "$build.log" >&2 || tail -n 20 "$build.log" >&2
        printf 'llama.cpp: the build failed; all of it is in %s\n' "$build.log" >&2
        exit 1
    fi
    touch "$build/complete"
fi
printf 'LLAMA_SOURCE=%s\nLLAMA_BUILD=%s\n' "$source" "$build"
