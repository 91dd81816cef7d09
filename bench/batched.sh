#!/usr/bin/env bash
# Our generator beside llama.cpp's own llama-batched-bench, built from the same pinned source: 32 samples side by side, 10 tokens each,
# in turn, order swapped in every round. Whole answers, and generation alone; the peer with the model's file as it is, and with its
# weights as BF16, which is what ours runs on a processor with AVX512-BF16. The figures go to bench/results/.
# Needs what `make demo` leaves.
# Usage: batched.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rounds=${1:-5}

. bench/answers.sh
bf16=$folder/smollm2-bf16.gguf
[ -e "$bf16" ] || bin/llama-quantize --allow-requantize --pure "$model" "$bf16" BF16 >"$folder/quantize.log" 2>&1 || {
    tail -n 5 "$folder/quantize.log" >&2
    exit 1
}
compare() { # compare NAME OUR-COMMAND PEER-MODEL PEER-OPTION…
    python3 bench/compare.py -n "$rounds" --out "bench/results/$1-$(uname -m)-$(nproc)cpu.json" \
        "$folder/align $2 $model $workload" "python3 bench/peers/generate_llama_cpp.py bin/llama-batched-bench $3 $workload ${*:4}"
}
compare generate-llama-cpp generate "$model"
compare generate-llama-cpp-bf16 generate "$bf16"
compare decode-llama-cpp decode "$model" --alone
compare decode-llama-cpp-bf16 decode "$bf16" --alone
