#!/usr/bin/env bash
# Proves, on a machine with neither a GPU nor CUDA, that the core and its CUDA backend compile for an H100 and link: below FOLDER, with
# the toolkit that third_party/cuda_toolkit.sh puts together. 80 minutes of one core, once for each version of all that goes in.
# Usage: cuda_compile.sh FOLDER
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
toolkit=$(bash "$root/third_party/cuda_toolkit.sh" "$folder")
PATH=$toolkit/bin:$PATH RECINT_CUDA=90-real bash "$root/native/build.sh" "$folder/cuda" -DRECINT_TESTS=OFF >"$folder/cuda.log" || {
    tail -n 20 "$folder/cuda.log" >&2
    exit 1
}

# Whatever a library names must be in those that it names, the driver's in the one that stands for it.
driver=$(mktemp -d)
trap 'rm -rf "$driver"' EXIT
ln -s "$toolkit/lib/stubs/libcuda.so" "$driver/libcuda.so.1"
for library in libggml-cuda.so librecint.so; do
    missing=$(LD_LIBRARY_PATH=$toolkit/lib:$driver ldd -r "$folder/cuda/lib/$library" 2>&1 | grep -E 'undefined|not found|No such' || true)
    [ -z "$missing" ] || {
        printf '%s does not link:\n%s\n' "$library" "$missing" >&2
        exit 1
    }
done
printf 'CUDA: %s and librecint compile and link (%s)\n' libggml-cuda "$folder/cuda/lib"
