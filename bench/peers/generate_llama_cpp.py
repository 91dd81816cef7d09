"""llama.cpp's own llama-batched-bench in the shape of a workload of bench/align: as many samples side by side, as many tokens.
Its tokens are random and none is chosen; only the time counts.

Without --alone: the tokens of each sample's question (soft tokens count as such) and of its answer, of which the question's last
position gives the first. There is no prefix, so that the peer looks back at fewer positions. With --alone: the answer tokens alone,
behind the workload's prefix, which is computed once and not timed."""

import argparse
import json
import os
import subprocess


def main():
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("program", help="llama-batched-bench")
    parser.add_argument("model", help="GGUF file")
    parser.add_argument("workload", help="workload folder")
    parser.add_argument("--alone", action="store_true", help="generation behind the prefix alone")
    parser.add_argument("--slots", type=int, default=32, help="samples side by side")
    parser.add_argument("--tokens", type=int, default=10, help="tokens of an answer")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    with open(os.path.join(args.workload, "workload.json")) as file:
        work = json.load(file)
    question = next(p for p, target in enumerate(work["samples"][0]["targets"]) if target >= 0) + 1
    rounds = max(1, len(work["samples"]) // args.slots)
    # The same cache as ours: 256 positions for each sequence, keys and values in F16. The first round is the warm-up.
    words = [args.program, "-m", args.model, "-c", str(256 * args.slots), "-b", "512", "-ub", "512", "-t", str(args.threads)]
    words += ["-npl", ",".join([str(args.slots)] * (1 + rounds)), "--output-format", "jsonl"]
    if args.alone:
        words += ["-pps", "-npp", str(len(work["prefix"])), "-ntg", str(args.tokens)]
    else:
        words += ["-npp", str(question), "-ntg", str(args.tokens - 1)]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or len(lines) != 1 + rounds:
        raise SystemExit(f"{' '.join(words)} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    seconds = sum(line["t_tg" if args.alone else "t"] for line in lines[1:])
    print(json.dumps({"samples_per_s": rounds * args.slots / seconds, "seconds": seconds}))


if __name__ == "__main__":
    main()
