#!/usr/bin/env bash
# Adapter training beside tuned PyTorch: the same real samples, in turn, order swapped in every round. Before anything is timed
# both must give the same loss and gradient norm. The figures go to bench/results/.
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
[ -e "$folder/workload/adapter.safetensors" ] ||
    "$folder/align" make -recommender "$recommender" -data "$data" -llm "$model" "$folder/workload"

ours="$folder/align time"
peer="$python bench/peers/align_tuned.py"
what="$model $folder/workload"
$ours -check $what >"$folder/ours.json"
$peer --check $what >"$folder/peer.json"
"$python" bench/same.py "$folder/ours.json" "$folder/peer.json"

result=bench/results/align-residual-$(uname -m)-$(nproc)cpu.json
"$python" bench/compare.py -n "$rounds" --out "$result" "$ours $what" "$peer --steps 0 $what"
