#!/usr/bin/env bash
# Puts a CUDA toolkit together below FOLDER from the packages of cuda-toolkit.txt, through pip, once for each version of that file, and
# prints where it is. It compiles and links on any x86-64 Linux; to run what it has built takes a GPU with its driver.
# Usage: cuda_toolkit.sh FOLDER
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
say() { printf 'CUDA toolkit: %s\n' "$*" >&2; }
mkdir -p "$1"
versions=$(git hash-object "$here/cuda-toolkit.txt")
toolkit=$(cd "$1" && pwd)/cuda-toolkit-${versions:0:8}
if [ ! -e "$toolkit" ]; then
    python3 -m pip --version >/dev/null 2>&1 || {
        say 'python3 with pip, which fetches its packages, is not installed; on Debian: apt-get install python3-pip'
        exit 1
    }
    work=$(mktemp -d "$toolkit.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    say "fetching NVIDIA's packages, about 500 MB, under NVIDIA's licence (${toolkit##*/}/*.dist-info/licenses)"
    python3 -m pip install -q --disable-pip-version-check --no-deps --target "$work/packages" --requirement "$here/cuda-toolkit.txt" \
        >"$work/pip.log" 2>&1 || {
        say "pip cannot install what cuda-toolkit.txt names: $(grep -v '^$' "$work/pip.log" | tail -n 1)"
        exit 1
    }
    cuda=$work/packages/nvidia/cu13
    # Libraries under the names by which a linker looks for them.
    for library in "$cuda"/lib/*.so.*; do ln -s "${library##*/}" "${library%.so.*}.so"; done
    ln -s lib "$cuda/lib64"
    # The driver is no package, and is not needed to link with: a library of the functions that its header declares will do, each of
    # which says CUDA_ERROR_NO_DEVICE.
    mkdir "$cuda/lib/stubs"
    "${CC:-cc}" -E -P "$cuda/include/cuda.h" | grep -oE '\bcu[A-Z]\w*\(' | sort -u | sed 's/(/(void) { return 100; }/; s/^/int /' |
        "${CC:-cc}" -shared -fPIC -Wl,-soname,libcuda.so.1 -x c -o "$cuda/lib/stubs/libcuda.so" -
    mv "$work/packages" "$toolkit"
fi
printf '%s\n' "$toolkit/nvidia/cu13"
