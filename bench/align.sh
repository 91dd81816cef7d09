#!/usr/bin/env bash
# Adapter training beside PyTorch, tuned and in the authors' way: the same real samples, in turn, order swapped in every round.
# Before anything is timed both must give the same loss and gradient norm. The figures go to bench/results/.
# Needs what `make demo` leaves. PYTHON may name an interpreter that has bench/peers/requirements.txt already.
# Usage: align.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rounds=${1:-5} folder=build/bench recommender=demo/sasrec.safetensors

[ -e "$recommender" ] || { echo "$recommender is missing; run make demo first" >&2; exit 1; }
. bench/venv.sh
mkdir -p "$folder" bench/results
go build -o "$folder/align" ./bench/align
model=$(bin/recint models fetch smollm2-135m | tail -n 1)
data=$(bin/recint data fetch ml-100k | tail -n 1)

for prompt in residual recovery; do
    workload=$folder/workload-$prompt samples=512
    if [ $prompt = recovery ]; then samples=128; fi # whose answers are ten times as long
    rm -rf "$workload"
    "$folder/align" make -recommender "$recommender" -data "$data" -llm "$model" -prompt $prompt -samples $samples "$workload"
    ours="$folder/align time" what="$model $workload"
    $ours -check $what >"$folder/ours.json"
    for peer in tuned authors; do
        # The authors' way takes so long that steps spread over all lengths stand for the whole; it takes 16 samples at a time,
        # since the logits of 64 whole prompts would be gigabytes.
        timed="--steps 0"
        if [ $peer = authors ]; then timed="--batch 16 --steps 4"; fi
        theirs="$python bench/peers/align_$peer.py"
        $theirs --check $what >"$folder/peer.json"
        "$python" bench/same.py "$folder/ours.json" "$folder/peer.json"
        "$python" bench/compare.py -n "$rounds" --out "bench/results/align-$prompt-$peer-$(uname -m)-$(nproc)cpu.json" \
            "$ours $what" "$theirs $timed $what"
    done
done
