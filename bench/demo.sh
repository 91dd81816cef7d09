#!/usr/bin/env bash
# The main job on real data, from nothing: MovieLens-100K -> SASRec -> adapter -> frozen LLM -> the name of the film. What
# is finished is kept in FOLDER; started again it goes on. All of it takes at most WITHIN minutes from the time BEGAN (seconds
# since 1970): training through the LLM gets MINUTES of them, or fewer on a machine where less is left, and the evaluation
# as many sequences as the rest has time for.
# Usage: demo.sh RECINT FOLDER MINUTES WITHIN BEGAN
set -euo pipefail
recint=$1 folder=$2 minutes=$3 within=$4 began=$5

# Minutes that are left, without those that are to stay.
left() { awk -v within="$within" -v began="$began" -v now="$(date +%s)" -v stay="$1" 'BEGIN { printf "%.1f", within - (now - began) / 60 - stay }'; }
# at_least A B, at_most A B: the larger and the smaller number.
at_least() { awk -v a="$1" -v b="$2" 'BEGIN { print (a + 0 > b + 0 ? a : b) }'; }
at_most() { awk -v a="$1" -v b="$2" 'BEGIN { print (a + 0 < b + 0 ? a : b) }'; }
# kept NAME VALUE: what was decided in an earlier sitting; at first the value. A run goes on only as it was begun.
kept() {
    mkdir -p "$folder"
    [ -s "$folder/$1" ] || printf '%s\n' "$2" >"$folder/$1"
    cat "$folder/$1"
}

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

# 3 minutes for the evaluation, the interpretations, and loading, which are at least a minute each.
minutes=$(kept "minutes-of-$minutes" "$(at_most "$minutes" "$(at_least "$(left 3)" 1)")")
step "the residual adapter, $minutes minutes of training through the frozen LLM"
"$recint" align --prompt residual --recommender "$folder/sasrec.safetensors" --minutes "$minutes" --out "$folder/residual"

answering=$(kept evaluation-minutes "$(at_most 3 "$(at_least "$(left 0.5)" 1)")")
step "evaluation on held-out sequences, $answering minutes"
"$recint" evaluate residual --run "$folder/residual" --minutes "$answering"

step 'three interpretations in words'
for user in 1 42 100; do
    "$recint" interpret --run "$folder/residual" --user "$user"
done
