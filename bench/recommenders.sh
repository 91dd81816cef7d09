#!/usr/bin/env bash
# Recommenders beside PyTorch and ONNX Runtime: quality of three trainings each on the same sequences, and speed in turn. Prints
# the tables and writes bench/results/. What is finished is kept in build/bench/recommenders, and not done again.
# PYTHON may name an interpreter that has bench/peers/requirements.txt already.
# Usage: recommenders.sh [--quality | --speed] [--rounds N]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=build/bench/recommenders lastfm=../shared/data/lastfm
. bench/venv.sh
mkdir -p "$folder" bench/results
go build -o "$folder/recommenders" ./bench/recommenders
ln -sfn "$(bin/recint data fetch ml-100k | tail -n 1)" "$folder/ml-100k"
if [ ! -e "$folder/lastfm" ]; then
    if [ -e "$lastfm" ]; then
        bin/recint data import "$lastfm" --to "$folder/lastfm"
    else
        echo "LastFM is left out: $lastfm is not there" >&2
    fi
fi
for data in ml-100k lastfm; do
    [ -e "$folder/$data" ] || continue
    "$python" bench/peers/split.py "$folder/$data" >"$folder/$data.json"
    "$folder/recommenders" split "$folder/$data" | cmp - "$folder/$data.json"
done
"$python" bench/recommenders.py "$folder" "$@"
