#!/usr/bin/env bash
# Makes a release archive in FOLDER, its SHA-256 beside it, and prints its path: recint for any Linux machine of this
# architecture, with the libraries that it needs beside it. The same commit gives the same bytes.
# Options: RECINT_CUDA (see third_party/build.sh), RECINT_ARCH=aarch64 on another machine: cross-compiled for 64-bit Arm.
# Usage: release.sh FOLDER
set -euo pipefail

mkdir -p "$1"
folder=$(cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export GOTOOLCHAIN # with the corrections that vuln.sh has found to be needed
GOTOOLCHAIN=$(cat packaging/toolchain)
say() { printf 'release: %s\n' "$*" >&2; }

# The tag without its v; between two of them, and after the last, also the commit; "+" where files differ from it.
version=$(git describe --tags --match 'v[0-9]*' --dirty=+ 2>/dev/null ||
    printf 'v%s-g%s' "$(sed -n 's/^var Version = "\(.*\)"$/\1/p' cli/app/doctor.go)" "$(git describe --always --dirty=+ --exclude '*')")
version=${version#v}
arch=${RECINT_ARCH:-$(uname -m)}
name=recint-$version-linux-$arch${RECINT_CUDA:+-cuda}
build=build/portable/$arch
emulate=() strip=strip
if [ "$arch" != "$(uname -m)" ]; then
    for program in g++ strip; do
        command -v "$arch-linux-gnu-$program" >/dev/null || { say "$arch-linux-gnu-$program is not installed; on Debian: apt-get install g++-$arch-linux-gnu"; exit 1; }
    done
    command -v "qemu-$arch" >/dev/null || { say "qemu-$arch is not installed; on Debian: apt-get install qemu-user"; exit 1; }
    export CC=$arch-linux-gnu-gcc CXX=$arch-linux-gnu-g++ CGO_ENABLED=1 CMAKE_TOOLCHAIN_FILE=$PWD/packaging/$arch.cmake GOARCH
    case $arch in
    aarch64) GOARCH=arm64 ;;
    *) say "there is no cross-compilation for $arch; RECINT_ARCH may be aarch64"; exit 1 ;;
    esac
    emulate=("qemu-$arch" -L "/usr/$arch-linux-gnu") strip=$arch-linux-gnu-strip
fi
export SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)

say "building $name"
RECINT_PORTABLE=1 bash native/build.sh "$build" -DRECINT_TESTS=OFF -DCMAKE_SHARED_LINKER_FLAGS='-static-libstdc++ -static-libgcc' \
    -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON -DCMAKE_INSTALL_RPATH="\$ORIGIN" >&2
# DuckDB is linked into recint and asks for the C++ library, which another machine may lack: a folder with nothing but its archive
# makes the linker take that.
mkdir -p "$build/static"
ln -sf "$(${CXX:-c++} -print-file-name=libstdc++.a)" "$build/static/"
module=$(go list -m) commit=$(git describe --always --abbrev=12 --dirty=+ --exclude '*')
go build -trimpath -buildvcs=false -tags portable -o "$build/bin/recint" \
    -ldflags "-s -w -extldflags '-L$PWD/$build/static -static-libgcc' -X $module/cli/app.Version=$version -X $module/bench.commit=$commit" ./cli

tree=$folder/$name
rm -rf "$tree"
mkdir -p "$tree/bin" "$tree/lib" "$tree/share/man/man1" "$tree/share/bash-completion/completions" "$tree/share/zsh/site-functions" \
    "$tree/share/fish/vendor_completions.d" "$tree/share/recint" "$tree/share/licenses"
cp "$build/bin/recint" "$tree/bin/"
# Libraries under the names by which they are asked for; ggml looks for its backends by theirs.
cp "$build"/lib/librecint.so "$build"/lib/libggml-c*.so "$tree/lib/"
for library in llama ggml ggml-base; do cp -L "$build/lib/lib$library.so.0" "$tree/lib/"; done
"$strip" --strip-unneeded "$tree"/lib/*
"${emulate[@]}" "$tree/bin/recint" man >"$tree/share/man/man1/recint.1"
"${emulate[@]}" "$tree/bin/recint" completion bash >"$tree/share/bash-completion/completions/recint"
"${emulate[@]}" "$tree/bin/recint" completion zsh >"$tree/share/zsh/site-functions/_recint"
"${emulate[@]}" "$tree/bin/recint" completion fish >"$tree/share/fish/vendor_completions.d/recint.fish"
cp packaging/recint.service "$tree/share/recint/"
cp README.md CHANGELOG.md LICENSE "$tree/"
# The licences of what is linked: llama.cpp's, Go's, and those of all modules.
license() { # license NAME FOLDER
    for file in "$2"/LICEN[CS]E* "$2"/COPYING* "$2"/NOTICE*; do
        if [ -f "$file" ]; then install -D -m 644 "$file" "$tree/share/licenses/$1/${file##*/}"; fi
    done
}
license llama.cpp "$(sed -n 's/^LLAMA_SOURCE:PATH=//p' "$build/CMakeCache.txt")"
license go "$(go env GOROOT)"
while read -r module source; do license "$module" "$source"; done < <(
    go list -deps -tags portable -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}' ./cli | sort -u)

chmod -R u=rwX,go=rX "$tree"
archive=$folder/$name.tar.gz
tar --create --directory "$folder" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=gnu "$name" |
    gzip -9 --no-name >"$archive"
(cd "$folder" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
rm -rf "$tree"
printf '%s\n' "$archive"
