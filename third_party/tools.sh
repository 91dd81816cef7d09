#!/usr/bin/env bash
# Builds llama.cpp's own server, benchmarks and quantiser below FOLDER, from the pinned source and beside the libraries that build.sh
# builds there, once for each version and set of options, and leaves links to them in LINKS. The server has no web page and no TLS:
# nothing is downloaded for it.
# Usage: tools.sh FOLDER LINKS
set -euo pipefail

programs=(llama-server llama-batched-bench llama-bench llama-quantize)
where=$(bash "$(dirname "${BASH_SOURCE[0]}")/build.sh" "$1")
eval "$where"
if [ ! -e "$LLAMA_BUILD/tools-complete" ]; then
    log=$LLAMA_BUILD-tools.log
    printf 'llama.cpp: building %s, about five minutes on two cores\n' "${programs[*]}" >&2
    if ! {
        cmake -DRECINT_TOOLS=ON "$LLAMA_BUILD" &&
            cmake --build "$LLAMA_BUILD" --parallel "$(getconf _NPROCESSORS_ONLN)" --target "${programs[@]}"
    } >"$log" 2>&1; then
        grep -iE -m 5 'error' "$log" >&2 || tail -n 20 "$log" >&2
        printf 'llama.cpp: the build of its programs failed; all of it is in %s\n' "$log" >&2
        exit 1
    fi
    touch "$LLAMA_BUILD/tools-complete"
fi
mkdir -p "$2"
for program in "${programs[@]}"; do ln -sfn "$LLAMA_BUILD/bin/$program" "$2/$program"; done
