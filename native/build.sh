#!/usr/bin/env bash
# Configures and builds the native core in FOLDER, and llama.cpp below build/third_party where that has not been done.
# Usage: build.sh FOLDER [CMAKE ARGUMENT…]
set -euo pipefail

folder=$1
shift
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
where=$(bash "$root/third_party/build.sh" "$root/build/third_party")
eval "$where"
# shellcheck source=../third_party/llama.cpp.pin
source "$root/third_party/llama.cpp.pin"
generator=()
[ -e "$folder/CMakeCache.txt" ] || { command -v ninja >/dev/null && generator=(-G Ninja); }
mkdir -p "$folder"
cmake "${generator[@]}" -S "$root/native" -B "$folder" -DLLAMA_SOURCE="$LLAMA_SOURCE" -DLLAMA_BUILD="$LLAMA_BUILD" \
    -DLLAMA_COMMIT="$commit" "$@" >"$folder/configure.log" || {
    tail -n 20 "$folder/configure.log" >&2
    exit 1
}
cmake --build "$folder" --parallel "$(getconf _NPROCESSORS_ONLN)"
