#!/bin/sh
# Fails if an object file defines a weak or unique symbol: an inline function of which the linker keeps one copy, perhaps
# one with instructions that the processor at hand lacks.
# Usage: own_symbols.sh NM OBJECT…
set -eu

nm=$1
shift
shared=$("$nm" --defined-only --demangle --print-file-name "$@" | grep -E ' [WVu] ' || true)
[ -z "$shared" ] || {
    printf 'these are shared with other code; write them without inline functions of shared namespaces (set.h):\n%s\n' "$shared" >&2
    exit 1
}
