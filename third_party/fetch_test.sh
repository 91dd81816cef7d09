#!/usr/bin/env bash
# Tests fetch.sh, build.sh and cuda_toolkit.sh on a small made-up source tree: each source, a wrong hash, no network, no compiler, no
# CUDA. Nothing is downloaded.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
unset LLAMA_CPP_DIR

check() { # check NAME CONDITION…
    if "${@:2}"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n' "$1"
        sed 's/^/    /' "$work/said"
    fi
}
says() { grep -q -- "$1" "$work/said"; }
fetch() { bash "$here/fetch.sh" "$1" "$2" >"$work/said" 2>&1; }
nothing_left() { [ -z "$(find "$work/out" -mindepth 1 2>/dev/null)" ]; }

# A source tree, its repository, its source distribution, and a python3 whose pip "downloads" that.
mkdir -p "$work/tree/src" "$work/out" "$work/bin" "$work/sdist/package-1/vendor"
echo 'int main(void) { return 0; }' >"$work/tree/src/main.c"
printf '#!/bin/sh\n' >"$work/tree/run.sh"
chmod +x "$work/tree/run.sh"
printf 'a\r\nb\n' >"$work/tree/mixed.txt"
cp -R "$work/tree" "$work/repository"
git=(git -C "$work/repository" -c user.name=t -c user.email=t@t -c core.autocrlf=false)
git init -q "$work/repository"
"${git[@]}" add -A -f .
"${git[@]}" commit -qm 'the tree'
commit=$("${git[@]}" rev-parse HEAD) tree=$("${git[@]}" rev-parse 'HEAD^{tree}')
cp -R "$work/tree" "$work/sdist/package-1/vendor/tree"
tar -czf "$work/package-1.tar.gz" -C "$work/sdist" package-1
cat >"$work/bin/python3" <<FAKE
#!/bin/sh
case "\$*" in *--version*) exit 0 ;; esac
while [ \$# -gt 0 ]; do [ "\$1" = --dest ] && dest=\$2; shift; done
cp "$work/package-1.tar.gz" "\$dest/"
FAKE
printf '#!/bin/sh\ncase "$*" in *--version*) exit 0 ;; esac\necho "ERROR: no such index" >&2\nexit 1\n' >"$work/bin/broken"
chmod +x "$work/bin/python3" "$work/bin/broken"
pin() { # pin REPOSITORY TREE
    printf 'commit=%s\ntree=%s\nrepository=%s\nsdist=package==1\nsdist_folder=vendor/tree\n' "$commit" "$2" "$1" >"$work/pin"
}
absent="file://$work/absent"

pin "file://$work/repository" "$tree"
check 'from git' fetch "$work/out/a" "$work/pin"
check 'the files are there' cmp -s "$work/out/a/mixed.txt" "$work/tree/mixed.txt"
pin "$absent" "$tree"
check 'a second call does nothing' fetch "$work/out/a" "$work/pin"
check 'and says nothing' test ! -s "$work/said"
rm -rf "$work/out/a"

PATH=$work/bin:$PATH check 'from the source distribution' fetch "$work/out/a" "$work/pin"
check 'which says where from' says 'from package==1, MIT'
rm -rf "$work/out/a"

export LLAMA_CPP_DIR=$work/repository
check 'from LLAMA_CPP_DIR' fetch "$work/out/a" "$work/pin"
check 'the checkout itself is not touched' test -d "$work/repository/.git"
rm -rf "$work/out/a"
pin "$absent" 0000000000000000000000000000000000000000
check 'a wrong hash is refused' eval '! fetch "$work/out/a" "$work/pin"'
check 'with both hashes' says "is tree $tree, not the pinned 0000"
check 'and what to do' says 'unset LLAMA_CPP_DIR'
check 'nothing is left' nothing_left
unset LLAMA_CPP_DIR

mv "$work/bin/broken" "$work/bin/python3"
PATH=$work/bin:$PATH check 'no network' eval '! fetch "$work/out/a" "$work/pin"'
check 'says why git failed' says 'cannot be reached'
check 'says why pip failed' says 'no such index'
check 'says what to do' says 'connect to a network, or set LLAMA_CPP_DIR'
check 'nothing is left either' nothing_left
PATH=$work/bin:$PATH check 'no CUDA toolkit without a network' eval '! bash "$here/cuda_toolkit.sh" "$work/out" >"$work/said" 2>&1'
check 'says why' says 'cuda-toolkit.txt names: ERROR: no such index'
check 'nothing is left of it' nothing_left

# No compiler: only what build.sh needs before it looks for one.
mkdir "$work/path"
for tool in bash dirname mkdir cmake; do ln -s "$(command -v "$tool")" "$work/path/$tool"; done
PATH=$work/path check 'no compiler' eval '! bash "$here/build.sh" "$work/out/b" >"$work/said" 2>&1'
check 'says what to install' says 'a C++ compiler is not installed; on Debian: apt-get install g++'

# No CUDA, then a compiler without a GPU.
for tool in c++ make; do ln -s "$(type -P true)" "$work/path/$tool"; done
RECINT_CUDA=1 PATH=$work/path check 'no nvcc' eval '! bash "$here/build.sh" "$work/out/b" >"$work/said" 2>&1'
check 'says how to get it' says "CUDA's compiler nvcc is not installed; on Debian: apt-get install nvidia-cuda-toolkit"
for tool in true sort sed paste; do ln -s "$(type -P "$tool")" "$work/path/$tool"; done
ln -s true "$work/path/nvcc"
RECINT_CUDA=1 PATH=$work/path check 'no GPU to build for' eval '! bash "$here/build.sh" "$work/out/b" >"$work/said" 2>&1'
check 'says how to name one' says 'RECINT_CUDA=90-real builds for H100'
check 'each package of the CUDA toolkit has its version' eval '! grep -vE "^(#.*|[a-z0-9-]+==[0-9.]+)$" "$here/cuda-toolkit.txt"'

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
