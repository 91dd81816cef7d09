"""Trains every recommender with RecInt and with PyTorch on the same sequences, times both in turn, and prints what came of it.

FOLDER holds `recommenders` (our side of the timing), data sets, and their splits as JSON; bench/recommenders.sh makes it.
Trainings that are finished are kept there. The report goes to bench/results/, with the machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

from compare import machine, rate, spread

MODELS = ("gru4rec", "caser", "sasrec", "dreamrec")
SEEDS = (1, 2, 3)
PEERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers")
# DreamRec is compared at the loss that its authors published, and shown with recint's default beside.
AUTHORS_LOSS = {"dreamrec": ["--rounding", "0", "--learning-rate", "0.001", "--strength", "2", "--epochs", "100", "--patience", "5"]}


def once(path, command):
    """The lines of JSON that a command prints, kept in a file once it has ended well."""
    if not os.path.exists(path):
        print(f"training: {os.path.basename(path)}", file=sys.stderr)
        with open(path + ".part", "w") as file:
            subprocess.run(command, stdout=file, check=True)
        os.replace(path + ".part", path)
    with open(path) as file:
        return file.read()


def peer_quality(folder, data, model, seed):
    text = once(os.path.join(folder, f"peer-{data}-{model}-{seed}.jsonl"),
                [sys.executable, os.path.join(PEERS, "train_recommender.py"), os.path.join(folder, data + ".json"),
                 "--model", model, "--seed", str(seed)])
    lines = [json.loads(line) for line in text.splitlines()]
    return {line["part"]: {"hr@10": line["hr@10"], "ndcg@10": line["ndcg@10"], "n": line["n"]} for line in lines if "part" in line}


def our_quality(folder, data, model, seed, name, extra=()):
    out = os.path.join(folder, f"ours-{data}-{name}-{seed}")
    if not os.path.exists(out + ".json") and os.path.exists(out + ".safetensors") and not os.path.exists(out + ".checkpoint.safetensors"):
        os.remove(out + ".safetensors")  # of a call that was cut off between its weights and its figures
    text = once(out + ".json", ["bin/recint", "recommender", "train", "--json", "--data", os.path.join(folder, data), "--model", model,
                                "--seed", str(seed), "--out", out + ".safetensors", *extra])
    found = {}
    for row in json.loads(text):
        if row["weights"].startswith("best"):
            found[row["part"]] = {"hr@10": row["hr"]["10"], "ndcg@10": row["ndcg"]["10"], "n": row["n"]}
    return found


def mean(runs, part, metric):
    values = [run[part][metric] for run in runs]
    return {"mean": statistics.mean(values), "min": min(values), "max": max(values), "n": runs[0][part]["n"]}


def quality(folder):
    rows = []
    for data in ("ml-100k", "lastfm"):
        if not os.path.exists(os.path.join(folder, data)):
            continue
        for model in MODELS:
            sides = {"RecInt": [our_quality(folder, data, model, s, model + "-authors" * (model in AUTHORS_LOSS),
                                            AUTHORS_LOSS.get(model, ())) for s in SEEDS],
                     "PyTorch": [peer_quality(folder, data, model, s) for s in SEEDS]}
            if model in AUTHORS_LOSS:
                sides["RecInt, with rounding"] = [our_quality(folder, data, model, s, model) for s in SEEDS]
            for side, runs in sides.items():
                rows.append({"data": data, "model": model, "side": side, "seeds": len(runs),
                             **{f"{part} {metric}": mean(runs, part, metric)
                                for part in ("validation", "test") for metric in ("hr@10", "ndcg@10")}})
    return rows


def same_work(ours, peer, keys):
    """Holds the figures of both programs' --check together: nothing is timed unless they compute the same."""
    def figures(command):
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])
    a, b = figures(ours), figures(peer)
    for key in keys:
        scale = abs(b[key.replace("_sum", "_absolute")])
        if not abs(a[key] - b[key]) <= 1e-4 * scale:
            raise SystemExit(f"the programs do not compute the same: {key} is {a[key]} and {b[key]}\n{ours}\n{peer}")


def best_threads(peer, key, better):
    """The peer with the number of threads that suits it best."""
    commands = [peer + ["--threads", str(n)] for n in (1, os.cpu_count())]
    return better(commands, key=lambda command: rate(command, key))


def speed(folder, rounds):
    ours, script = os.path.join(folder, "recommenders"), os.path.join(PEERS, "time_recommender.py")
    split = os.path.join(folder, "ml-100k.json")
    rows = []

    def measure(what, model, target, mode, extra, peer_extra, key="samples_per_s", runtime="eager", peer="PyTorch"):
        weights = ["--weights", os.path.join(folder, f"ours-ml-100k-{model}{'-authors' * (model in AUTHORS_LOSS)}-1.safetensors")]
        mine = [ours, mode, "--model", model, *extra, split]
        other = [sys.executable, script, mode, split, "--model", model, *peer_extra]
        if runtime != "eager":
            other += ["--runtime", runtime]
        keys = ["loss", "gradient_norm"] if mode == "epoch" else ["n", "states_sum", "scores_sum"]
        if model == "dreamrec":
            # Its loss and oracles are drawn at random on both sides: what can be held together is the guidance. `recint verify`
            # and bench/peers/check_recommender.py hold the rest against the same reference cases.
            same_work([ours, "states", "--check", *weights, split],
                      [sys.executable, script, "states", split, "--model", model, "--check", *weights], ["n", "states_sum"])
        else:
            same_work([ours, mode, "--check", *weights, "--model", model, split], other + weights + ["--check"], keys)
        if mode != "epoch":
            mine, other = mine[:2] + weights + mine[2:], other + weights
        latency = key.endswith("_us")
        other = best_threads(other, key, min if latency else max)
        sides, ratios = {"ours": [], "peer": []}, []
        for n in range(rounds):
            for side in ("ours", "peer") if n % 2 else ("peer", "ours"):
                sides[side].append(rate(mine if side == "ours" else other, key))
            a, b = sides["ours"][-1], sides["peer"][-1]
            ratios.append(b / a if latency else a / b)
            print(f"{what}, {model}, round {n + 1}: ours {a:.4g}, peer {b:.4g}, {ratios[-1]:.2f} times", file=sys.stderr)
        rows.append({"what": what, "model": model, "peer": peer, "unit": key,
                     "ours": spread(sides["ours"]), "theirs": spread(sides["peer"]), "times faster": spread(ratios), "asked": target,
                     "peer threads": int(other[other.index("--threads") + 1])})

    for model, target in (("gru4rec", 2), ("caser", 2), ("sasrec", 3), ("dreamrec", None)):
        measure("training", model, target, "epoch", ["--repetitions", "2"], ["--repetitions", "1"])
    # The authors' sampler runs the denoiser twice in each step; the other one was given our own rearrangement of its first layer.
    measure("1,000 oracles, T = 200", "dreamrec", 5, "sample", [], ["--repetitions", "3", "--plain"], peer="PyTorch, the authors' way")
    measure("1,000 oracles, T = 200", "dreamrec", None, "sample", [], ["--repetitions", "3"], peer="PyTorch, rearranged")
    for model in ("gru4rec", "caser", "sasrec"):
        measure("one state", model, 10, "state", ["--repetitions", "2"], ["--repetitions", "2"], "p50_us")
        measure("one state", model, 2, "state", ["--repetitions", "2"], ["--repetitions", "2"], "p50_us", "onnx", "ONNX Runtime")
        measure("256 states", model, 2, "states", ["--repetitions", "2"], ["--repetitions", "2"])
    return rows


def cell(s, digits):
    return f"{s['mean' if 'mean' in s else 'median']:.{digits}f} ({s['min']:.{digits}f} to {s['max']:.{digits}f})"


def show(report):
    if "quality" in report:
        print("| data | model | trained by | validation HR@10 | test HR@10 | test NDCG@10 |\n| --- | --- | --- | --- | --- | --- |")
        for row in report["quality"]:
            print(f"| {row['data']} | {row['model']} | {row['side']} | {cell(row['validation hr@10'], 4)} | "
                  f"{cell(row['test hr@10'], 4)} | {cell(row['test ndcg@10'], 4)} |")
        print()
    if "speed" in report:
        print("| what | model | RecInt | peer | peer's figure | times faster | asked |\n| --- | --- | --- | --- | --- | --- | --- |")
        for row in report["speed"]:
            unit = "µs (p50)" if row["unit"] == "p50_us" else "/s"
            digits = 1 if row["unit"] == "p50_us" else 0
            print(f"| {row['what']} | {row['model']} | {row['ours']['median']:.{digits}f} {unit} | {row['peer']} | "
                  f"{row['theirs']['median']:.{digits}f} {unit} | {cell(row['times faster'], 2)} | {row['asked'] or '–'} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--quality", action="store_true", help="only the trainings")
    parser.add_argument("--speed", action="store_true", help="only the timing, which needs the trainings' weights")
    parser.add_argument("--rounds", type=int, default=5, help="of each timing")
    args = parser.parse_args()
    path = f"bench/results/recommenders-{os.uname().machine}-{os.cpu_count()}cpu.json"
    report = {}
    if os.path.exists(path):
        with open(path) as file:
            report = json.load(file)
    for part, wanted, measure in (("quality", not args.speed, lambda: quality(args.folder)),
                                  ("speed", not args.quality, lambda: speed(args.folder, args.rounds))):
        if wanted:
            report[part], report[part + " machine"] = measure(), machine()
            with open(path, "w") as file:
                json.dump(report, file, indent=2)
                file.write("\n")
    show(report)


if __name__ == "__main__":
    main()
