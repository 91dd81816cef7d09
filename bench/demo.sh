#!/usr/bin/env bash
# The main job on real data, from nothing: MovieLens-100K -> SASRec -> adapter -> frozen LLM -> the name of the film. What
# is finished is kept in FOLDER; started again it goes on.
# Usage: demo.sh RECINT FOLDER MINUTES
set -euo pipefail
recint=$1 folder=$2 minutes=$3

step() { printf '\n== %s\n' "$*"; }

step 'data and model'
"$recint" data fetch ml-100k
"$recint" models fetch smollm2-135m

step 'SASRec'
if [ -e "$folder/sasrec.safetensors" ]; then
    echo "$folder/sasrec.safetensors is there already"
else
    "$recint" recommender train --out "$folder/sasrec.safetensors"
fi

step "the residual adapter, $minutes minutes of training through the frozen LLM"
"$recint" align --prompt residual --recommender "$folder/sasrec.safetensors" --minutes "$minutes" --out "$folder/residual"

step 'evaluation on held-out sequences'
"$recint" evaluate residual --run "$folder/residual" --samples 1000

step 'three interpretations in words'
for user in 1 42 100; do
    "$recint" interpret --run "$folder/residual" --user "$user"
done
