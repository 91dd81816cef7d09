# To be sourced in the top folder: makes $workload, 128 residual questions behind a beginning of 30 tokens, with the program
# $folder/align, the LLM's file $model and the data set $data. Needs what `make demo` leaves.
folder=build/bench recommender=demo/sasrec.safetensors workload=build/bench/workload-generate

[ -e "$recommender" ] || { echo "$recommender is missing; run make demo first" >&2; exit 1; }
mkdir -p "$folder" bench/results
go build -o "$folder/align" ./bench/align
model=$(bin/recint models fetch smollm2-135m | tail -n 1)
data=$(bin/recint data fetch ml-100k | tail -n 1)
rm -rf "$workload"
"$folder/align" make -recommender "$recommender" -data "$data" -llm "$model" -samples 128 -prefix 30 "$workload"
