#!/bin/sh
# Copies llama.cpp's libraries and backend modules from one folder to another, where they differ.
# Usage: copy_libraries.sh FROM TO
set -eu

cd "$1"
for file in libggml* libllama.*; do
    cmp -s "$file" "$2/$file" && continue
    rm -f "$2/$file" # a program that runs keeps what it has opened
    cp -P "$file" "$2/"
done
