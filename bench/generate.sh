#!/usr/bin/env bash
# Answers beside PyTorch as the paper's authors generate them: the same states and adapter, 10 tokens for each sample, in turn, order
# swapped in every round. Before anything is timed, most first answers must agree token by token. The figures go to bench/results/.
# Then, by itself, how long the probabilities of all titles take for one state.
# Needs what `make demo` leaves. PYTHON may name an interpreter that has bench/peers/requirements.txt already.
# Usage: generate.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rounds=${1:-5}

. bench/answers.sh
. bench/venv.sh
ours="$folder/align generate $model $workload" theirs="$python bench/peers/generate_authors.py $model $workload"
"$folder/align" generate -check "$model" "$workload" >"$folder/ours.json"
$theirs --check >"$folder/peer.json"
"$python" bench/same.py --answers "$folder/ours.json" "$folder/peer.json"
"$python" bench/compare.py -n "$rounds" --out "bench/results/generate-authors-$(uname -m)-$(nproc)cpu.json" "$ours" "$theirs"
"$folder/align" generate -titles "$data" "$model" "$workload"
