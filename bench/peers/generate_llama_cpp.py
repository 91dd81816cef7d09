"""llama.cpp's own llama-batched-bench in the shape of a workload (workload.py): as many samples side by side, as many tokens.
Its tokens are random and none is chosen; only the time counts.

Without --alone: the tokens of each sample's question (soft tokens count as such) and of its answer, of which the question's last
position gives the first. There is no prefix, so that the peer looks back at fewer positions. With --alone: the answer tokens alone,
after as many positions as the workload's prefix and a sample's soft tokens have, which are computed once and not timed.

A repetition is a run of the program; loading the model is not timed. What it computes cannot be checked: it shows neither tokens nor
logits. The check gives the shape that it reports of one round, so that both sides are seen to do as much: samples side by side, tokens of
a question (with --alone: of those positions), tokens that it generates behind it, and positions in the cache at the end."""

import argparse
import json
import os
import subprocess

import pace


def main():
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("program", help="llama-batched-bench")
    parser.add_argument("model", help="GGUF file")
    parser.add_argument("workload", help="workload folder")
    parser.add_argument("--alone", action="store_true", help="generation alone, after the prefix and soft tokens")
    parser.add_argument("--slots", type=int, default=32, help="samples side by side")
    parser.add_argument("--tokens", type=int, default=10, help="tokens of an answer")
    parser.add_argument("--device", default="cpu", help="cpu, or a GPU, which then takes all layers")
    pace.arguments(parser)
    args = parser.parse_args()
    with open(os.path.join(args.workload, "workload.json")) as file:
        work = json.load(file)
    if args.alone:
        soft = sum(token < 0 for token in work["samples"][0]["tokens"])
        question, generated = len(work["prefix"]) + soft, args.tokens
    else:
        question = next(p for p, target in enumerate(work["samples"][0]["targets"]) if target >= 0) + 1
        generated = args.tokens - 1
    # As in ours the cache has multiples of 256 positions for each sequence, keys and values in F16.
    context = args.slots * 256 * -(-(question + generated) // 256)
    words = [args.program, "-m", args.model, "-c", str(context), "-b", "512", "-ub", "512", "-t", str(args.threads)]
    words += ["-ngl", "0" if args.device == "cpu" else "99"]
    words += ["--output-format", "jsonl", "-npp", str(question), "-ntg", str(generated)] + ["-pps"] * args.alone

    def lines(rounds):
        """What the program says of so many rounds."""
        command = words + ["-npl", ",".join([str(args.slots)] * rounds)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode or len(found) != rounds:
            raise SystemExit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
        return found

    def check():
        line = lines(1)[0]
        return {"samples": line["pl"], "question": line["pp"], "generated": line["tg"], "positions": line["n_kv"]}

    def repeat():
        rounds = max(1, len(work["samples"]) // args.slots)
        seconds = sum(line["t_tg" if args.alone else "t"] for line in lines(1 + rounds)[1:])  # the first is the warm-up
        samples = rounds * args.slots
        return {"samples_per_s": samples / seconds, "tokens_per_s": samples * args.tokens / seconds, "seconds": seconds}

    pace.run(args, "llama-batched-bench", check, repeat)


if __name__ == "__main__":
    main()
