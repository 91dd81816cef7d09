#!/usr/bin/env bash
# Measures all that needs a GPU, in order of value, within MINUTES on one H100 or H200 (docs/gpu.md says how).
#
#   gpu.sh bundle FOLDER         packs what a run needs into FOLDER/gpu.tar.xz; make cuda-compile comes before it
#   gpu.sh run [OPTION…] OUT     runs everything; results land in OUT, with summary.md and results.tar.gz
#
# Options of run:
#   --minutes MINUTES   the time that all steps have together (12)
#   --work FOLDER       where weights and trainings are kept (/tmp/recint-gpu); finished steps are not repeated
#   --llm FILE          an LLM that was trained, for the steps that ask how good adapters are; without it they are left out
#   --dry               everything once on the CPU, as on a GPU, of tiny sizes: RECINT, DATA and TOKENIZER name the program,
#                       a data set and a small GGUF file. It has 60 times as long
#
# Each step has a limit of its own and is cut off at it; what it has written stays. PYTHON names the interpreter of the
# peers (python3). SCALE divides the number of samples.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
usage() {
    sed -n '4,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

# ---- bundle

# The release archive has recint for other machines; the CUDA module, the tests and llama.cpp's benchmark join its lib/.
bundle() {
    local folder=$1 cuda=$root/build/cuda/lib/libggml-cuda.so tree archive build=$root/build/gpu-tests where
    [ -e "$cuda" ] || { printf '%s is not there; make cuda-compile makes it\n' "$cuda" >&2; exit 1; }
    mkdir -p "$folder"
    folder=$(cd "$folder" && pwd)
    tree=$(mktemp -d "$folder/tree.XXXXXX")
    # shellcheck disable=SC2064 # it is local, and gone by then
    trap "rm -rf '$tree'" EXIT
    archive=$(bash "$root/packaging/release.sh" "$root/build/release")
    tar -xzf "$archive" --strip-components 1 -C "$tree"
    RECINT_PORTABLE=1 bash "$root/native/build.sh" "$build" -DCMAKE_SHARED_LINKER_FLAGS='-static-libstdc++ -static-libgcc' \
        -DCMAKE_EXE_LINKER_FLAGS='-static-libstdc++ -static-libgcc' >&2
    where=$(RECINT_PORTABLE=1 bash "$root/third_party/build.sh" "$root/build/third_party")
    eval "$where"
    RECINT_PORTABLE=1 bash "$root/third_party/tools.sh" "$root/build/third_party" "$build/links" >&2
    cp "$build"/lib/test_{diff,model,align,generator} "$LLAMA_BUILD/bin/llama-batched-bench" "$LLAMA_BUILD/bin/llama-quantize" \
        "$cuda" "$tree/lib/"
    cp "$LLAMA_BUILD"/bin/libllama-{batched-bench,quantize}-impl.so "$tree/lib/"
    cp -L "$LLAMA_BUILD/bin/libllama-common.so.0" "$tree/lib/"
    ln -s ../lib/llama-batched-bench ../lib/llama-quantize "$tree/bin/"
    strip --strip-unneeded "$tree"/lib/*
    mkdir -p "$tree/bench" "$tree/wheels"
    cp -r "$here/gpu.sh" "$here/peers" "$tree/bench/"
    # A data set, and an LLM of which only the tokenizer is used: its matrices are as small as they may be.
    cp -rL "$(RECINT_HOME=${RECINT_HOME:-} "$root/bin/recint" data fetch ml-100k | tail -n 1)" "$tree/data"
    "$root/bin/recint" models synthesize --like tiny --out "$tree/tokenizer.gguf"
    python3 -m pip download -q --no-deps --only-binary=:all: -d "$tree/wheels" gguf==0.19.0
    XZ_OPT='-9e -T0' tar -cJf "$folder/gpu.tar.xz" -C "$tree" .
    du -m "$folder/gpu.tar.xz"
}

[ $# -ge 1 ] || usage
case $1 in
bundle)
    [ $# -eq 2 ] || usage
    bundle "$2"
    exit
    ;;
run) shift ;;
*) usage ;;
esac

# ---- run

minutes='' slow=1 work=/tmp/recint-gpu llm='' dry='' out=''
while [ $# -gt 0 ]; do
    case $1 in
    --minutes) minutes=$2 && shift ;;
    --work) work=$2 && shift ;;
    --llm) llm=$(realpath "$2") && shift ;;
    --dry) dry=1 ;;
    -*) usage ;;
    *) out=$1 ;;
    esac
    shift
done
[ -n "$out" ] || usage
[ -z "$dry" ] || slow=60 # a CPU that other programs may use
minutes=${minutes:-$((12 * slow))}
began=$SECONDS end=$(awk -v now="$SECONDS" -v minutes="$minutes" 'BEGIN { printf "%d", now + 60 * minutes }')
recint=$(realpath "${RECINT:-$root/bin/recint}")
data=$(realpath "${DATA:-$root/data}") tokenizer=$(realpath "${TOKENIZER:-$root/tokenizer.gguf}")
mkdir -p "$work/done" "$out"
work=$(cd "$work" && pwd) out=$(cd "$out" && pwd)
tests=$root/lib
[ -x "$tests/test_align" ] || tests=$root/build/native/lib
python=${PYTHON:-python3} scale=${SCALE:-1}
backend=cuda strict=(--strict-device) times=50 at_once=8 rounds=4 batch=256 micro=() slots=() recommenders=(sasrec dreamrec) sizes=(smollm2-135m tinyllama-1.1b llama-7b)
if [ -n "$dry" ]; then
    backend=portable strict=() times=2 at_once=2 rounds=1 batch=8 micro=(--batch 8 --micro-batch 4) slots=(--batch 8) llm=${llm:-$tokenizer} scale=4096
    cp "$tokenizer" "$work/larger"
    sizes=("$tokenizer" "$work/larger")
fi
cd "$root" # where the peers' programs are

# CUDA's libraries, where only Python's packages have them; and what the peers need beside PyTorch.
if [ -z "$dry" ]; then
    for folder in $("$python" -c 'import site; print(*site.getsitepackages())' 2>/dev/null); do
        for libraries in "$folder"/nvidia/cu13/lib "$folder"/nvidia/*/lib; do
            [ ! -d "$libraries" ] || LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries
        done
    done
    export LD_LIBRARY_PATH
    "$python" -m pip install -q --no-index --no-deps --target "$work/site" "$root"/wheels/*.whl && export PYTHONPATH=$work/site
fi
peers=()
! "$python" -c 'import torch, gguf, safetensors' 2>/dev/null || peers=(--peer pytorch)

on() { "$recint" --backend "$backend" "${strict[@]}" "$@"; }
name_of() { basename "${1%.gguf}"; }
model() { printf '%s/%s.gguf' "$work" "$(name_of "$1")"; }

# Weights are drawn while other steps run. A file that is not whole has another name.
synthesized() {
    local size=$1 file
    file=$(model "$size")
    [ -e "$file" ] && return
    nice "$recint" models synthesize --like "$size" --tokenizer "$tokenizer" --type bf16 --out "$file.part.gguf"
    mv "$file.part.gguf" "$file"
}
# drawn SIZE: where its weights are, once they are there.
drawn() {
    until [ -e "$(model "$1")" ] || ! kill -0 "$drawing" 2>/dev/null; do sleep 0.2; done
    model "$1"
}

# A step's name, its limit in seconds, and what it does.
steps() {
    local size first=${sizes[0]}
    step device 20 device
    step check 60 check
    step wrong 75 wrong
    [ ${#peers[@]} -gt 0 ] || note "train: without PyTorch, since $python lacks torch, gguf or safetensors"
    step "train-$(name_of "$first")" 150 train "$first" "${peers[@]}"
    step "generate-$(name_of "$first")" 90 generate "$first"
    for size in "${sizes[@]:1}"; do step "train-$(name_of "$size")" 60 train "$size"; done
    step evaluate 45 evaluate "$first"
    [ ${#peers[@]} -eq 0 ] || step "generate-peer-$(name_of "$first")" 60 generate_peer "$first"
    if [ -n "$llm" ]; then
        for size in "${recommenders[@]}"; do step "converged-$size" 200 converged "$size"; done
    else
        note 'converged: left out, since --llm names no LLM that was trained'
    fi
    step encoder 60 encoder "$first"
    step sanitizer 60 sanitizer
    for size in "${sizes[@]:1}"; do step "generate-$(name_of "$size")" 30 generate "$size"; done
    step sweep 60 sweep "$first"
}

device() {
    on doctor
    nvidia-smi 2>/dev/null || true
}
check() { # gradients, log-probabilities and generation, before anything is measured
    local test failed=0
    for test in diff model align generator; do
        printf '== %s\n' "$test"
        RECINT_BACKEND=$backend NVIDIA_TF32_OVERRIDE=0 "$tests/test_$test" ${dry:+--list} || failed=1
    done
    return $failed
}
# The check that was once far off: how often it fails, as it is and without each suspect. Processes run side by side, since
# most of a run is starting CUDA.
wrong() {
    local setting log
    for setting in NOTHING=1 GGML_CUDA_DISABLE_GRAPHS=1 GGML_CUDA_PDL=0 GGML_CUDA_DISABLE_FUSION=1; do
        log=$out/wrong-${setting%%=*}
        : >"$log.txt"
        seq "$times" | env "$setting" RECINT_BACKEND="$backend" xargs -P "$at_once" -I{} bash -c \
            'said=$("$0" test_branches 2>&1) && echo right || printf "wrong: %s\n" "$said"' "$tests/test_align" >>"$log.txt"
        printf '%s: %d of %d runs were wrong\n' "$setting" "$(grep -c '^wrong' "$log.txt" || true)" "$(grep -c -E '^(right|wrong)' "$log.txt")"
    done
}
train() {
    local size=$1
    shift
    on bench train --data "$data" --llm "$(drawn "$size")" --rounds "$rounds" --python "$python" "${micro[@]}" "$@" \
        --out "$out/train-$(name_of "$size").json"
}
generate() {
    local peer=()
    [ ! -x "$(dirname "$recint")/llama-batched-bench" ] || peer=(--peer llamacpp)
    on bench generate --sweep batch --data "$data" --llm "$(drawn "$1")" --rounds 2 "${peer[@]}" --out "$out/generate-$(name_of "$1").json"
}
generate_peer() { # as many sequences as a GPU takes by default, beside PyTorch, with the same soft tokens
    on bench generate --data "$data" --llm "$(drawn "$1")" --rounds "$rounds" --python "$python" "${slots[@]}" "${peers[@]}" \
        --out "$out/generate-peer-$(name_of "$1").json"
}
evaluate() { on bench evaluate --data "$data" --llm "$(drawn "$1")" --rounds "$rounds" --out "$out/evaluate.json"; }
encoder() { on bench encoder --data "$data" --llm "$(drawn "$1")" --rounds "$rounds" --model sasrec --model dreamrec --out "$out/encoder.json"; }
sweep() { on bench train --sweep batch --data "$data" --llm "$(drawn "$1")" --rounds 1 "${micro[@]}" --out "$out/sweep-train.json"; }
converged() { # how often the linear adapter names the last item, held-out items apart
    local recommender=$work/$1.safetensors run=$work/linear-$1
    [ -e "$recommender" ] || on recommender train --data "$data" --model "$1" --out "$recommender" ${dry:+--epochs 1}
    on align --data "$data" --llm "$llm" --recommender "$recommender" --adapter linear --batch "$batch" \
        --samples $((524288 / scale / batch * batch)) --hold-out-items 0.1 --validate-every 256 --out "$run"
    on evaluate residual --run "$run" --samples $((2048 / scale + 1)) --json >"$out/converged-$1.json"
}
sanitizer() {
    command -v compute-sanitizer >/dev/null || { echo 'compute-sanitizer is not there' && return; }
    RECINT_BACKEND=$backend compute-sanitizer --error-exitcode 9 "$tests/test_align" test_branches
}

note() {
    printf '%s\n' "$1" | tee -a "$out/steps.txt"
    summary
}
# Written after each step, from whatever there is.
summary() {
    local results=()
    mapfile -t results < <(find "$out" -maxdepth 1 '(' -name '*.json' ! -name 'converged-*' -o -name '*.json.unfinished' ')' | sort)
    {
        printf '# A run on a GPU\n\n```\n'
        "$recint" version
        cat "$out/steps.txt"
        cat "$out"/wrong.log 2>/dev/null || true
        printf '```\n'
        if [ ${#results[@]} -gt 0 ] && "$recint" bench page --out "$out/figures.md" "${results[@]}" >/dev/null 2>&1; then
            tail -n +5 "$out/figures.md"
        fi
    } >"$out/summary.part" && mv "$out/summary.part" "$out/summary.md"
    tar -czf "$work/results.tar.gz" -C "$out" --exclude results.tar.gz . && mv "$work/results.tar.gz" "$out/"
}
# step NAME LIMIT COMMAND…: runs a command for at most LIMIT seconds, and at most for as long as is left. Its output goes to
# OUT/NAME.log. SIGTERM comes 10 seconds before the end, so that a result that is not finished is written.
step() {
    local name=$1 limit=$(($2 * slow)) left=$((end - SECONDS)) start=$SECONDS status=0 watch
    shift 2
    [ ! -e "$work/done/$name" ] || { note "$name: done before" && return; }
    [ "$limit" -lt "$left" ] || limit=$left
    [ "$limit" -ge 5 ] || { note "$name: no time left" && return; }
    set -m # a group of its own, so that all of it ends
    ("$@") >"$out/$name.log" 2>&1 &
    local job=$!
    set +m
    (sleep "$limit" && kill -TERM -- "-$job" && sleep 10 && kill -KILL -- "-$job") >/dev/null 2>&1 &
    watch=$!
    wait "$job" || status=$?
    pkill -P "$watch" 2>/dev/null || true
    kill "$watch" 2>/dev/null || true
    if [ "$status" -eq 0 ]; then
        touch "$work/done/$name"
        note "$name: done in $((SECONDS - start)) s"
    elif [ $((SECONDS - start)) -ge "$limit" ]; then
        note "$name: cut off after $limit s"
    else
        note "$name: failed ($status): $(tail -n 1 "$out/$name.log")"
    fi
}

: >>"$out/steps.txt"
(for size in "${sizes[@]}"; do synthesized "$size"; done) >"$out/weights.log" 2>&1 &
drawing=$!
trap 'kill "$drawing" 2>/dev/null || true' EXIT
steps
note "all of it: $((SECONDS - began)) s"
