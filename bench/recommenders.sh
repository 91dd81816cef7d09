#!/usr/bin/env bash
# How well recommenders rank that recint and PyTorch have trained on the same sequences, three times each. Prints the table and
# writes bench/results/recommenders.json. What is finished is kept in build/bench/recommenders, and not done again.
# PYTHON names an interpreter that has the packages of bench/peers/requirements.txt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=build/bench/recommenders lastfm=${RECINT_REFERENCE:+${RECINT_REFERENCE%/reference}/data/lastfm}
mkdir -p "$folder" bench/results
ln -sfn "$(bin/recint data fetch ml-100k | tail -n 1)" "$folder/ml-100k"
if [ ! -e "$folder/lastfm" ]; then
    if [ -n "$lastfm" ]; then
        bin/recint data import "$lastfm" --to "$folder/lastfm"
    else
        echo "LastFM is skipped: RECINT_REFERENCE=FOLDER does not name the folder that has data/lastfm" >&2
    fi
fi
for data in ml-100k lastfm; do
    [ -e "$folder/$data" ] || continue
    "$PYTHON" bench/peers/split.py "$folder/$data" >"$folder/$data.json"
done
"$PYTHON" bench/recommenders.py "$folder"
