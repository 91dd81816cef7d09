"""Trains every recommender with RecInt and with PyTorch on the same sequences, and prints how well each ranks.

FOLDER holds data sets, and their splits as JSON; bench/recommenders.sh makes it. Trainings that are finished are kept there. The
report goes to bench/results/. With --only, the report's rows of other recommenders and data sets stay as they are. How fast both
are, `recint bench encoder` says.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

# As Petrov and Macdonald 2023 (arXiv 2308.07192) recommend; it takes more epochs than the full softmax.
GBCE = ["--negatives", "256", "--calibration", "0.75", "--epochs", "30", "--patience", "5"]
# What is trained: a recommender, and flags that both sides have.
MODELS = {"gru4rec": ("gru4rec", []), "caser": ("caser", []), "sasrec": ("sasrec", []),
          "sasrec-norm-first": ("sasrec", ["--norm-first"]), "sasrec-gbce": ("sasrec", GBCE),
          "sasrec-modern": ("sasrec", [*GBCE, "--norm-first", "--rotary"]), "bert4rec": ("bert4rec", []), "hstu": ("hstu", []),
          "dreamrec": ("dreamrec", [])}
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


def peer_quality(folder, data, name, seed):
    model, flags = MODELS[name]
    text = once(os.path.join(folder, f"peer-{data}-{name}-{seed}.jsonl"),
                [sys.executable, os.path.join(PEERS, "train_recommender.py"), os.path.join(folder, data + ".json"),
                 "--model", model, "--seed", str(seed), *flags])
    lines = [json.loads(line) for line in text.splitlines()]
    return {line["part"]: {"hr@10": line["hr@10"], "ndcg@10": line["ndcg@10"], "n": line["n"]} for line in lines if "part" in line}


def our_quality(folder, data, name, seed, suffix="", extra=()):
    model, flags = MODELS[name]
    out = os.path.join(folder, f"ours-{data}-{name}{suffix}-{seed}")
    if not os.path.exists(out + ".json") and os.path.exists(out + ".safetensors") and not os.path.exists(out + ".checkpoint.safetensors"):
        os.remove(out + ".safetensors")  # of a call that was cut off between its weights and its figures
    text = once(out + ".json", ["bin/recint", "recommender", "train", "--json", "--data", os.path.join(folder, data), "--model", model,
                                "--seed", str(seed), "--out", out + ".safetensors", *flags, *extra])
    found = {}
    for row in json.loads(text):
        if row["weights"].startswith("best"):
            found[row["part"]] = {"hr@10": row["hr"]["10"], "ndcg@10": row["ndcg"]["10"], "n": row["n"]}
    return found


def mean(runs, part, metric):
    values = [run[part][metric] for run in runs]
    return {"mean": statistics.mean(values), "min": min(values), "max": max(values), "n": runs[0][part]["n"]}


def quality(folder, models):
    rows = []
    for data in ("ml-100k", "lastfm"):
        if not os.path.exists(os.path.join(folder, data)):
            continue
        for model in models:
            sides = {"RecInt": [our_quality(folder, data, model, s, "-authors" * (model in AUTHORS_LOSS), AUTHORS_LOSS.get(model, ()))
                                for s in SEEDS],
                     "PyTorch": [peer_quality(folder, data, model, s) for s in SEEDS]}
            if model in AUTHORS_LOSS:
                sides["RecInt, with rounding"] = [our_quality(folder, data, model, s) for s in SEEDS]
            for side, runs in sides.items():
                rows.append({"data": data, "model": model, "side": side, "seeds": len(runs),
                             **{f"{part} {metric}": mean(runs, part, metric)
                                for part in ("validation", "test") for metric in ("hr@10", "ndcg@10")}})
    return rows


def cell(s, digits):
    return f"{s['mean']:.{digits}f} ({s['min']:.{digits}f} to {s['max']:.{digits}f})"


def show(report):
    print("| data | model | trained by | validation HR@10 | test HR@10 | test NDCG@10 |\n| --- | --- | --- | --- | --- | --- |")
    for row in report["quality"]:
        print(f"| {row['data']} | {row['model']} | {row['side']} | {cell(row['validation hr@10'], 4)} | "
              f"{cell(row['test hr@10'], 4)} | {cell(row['test ndcg@10'], 4)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--only", action="append", choices=MODELS, help="train this recommender alone; may be repeated")
    args = parser.parse_args()
    path, rows = "bench/results/recommenders.json", quality(args.folder, args.only or MODELS)
    if args.only:
        new = {(row["data"], row["model"]) for row in rows}
        with open(path) as file:
            rows += [row for row in json.load(file)["quality"] if (row["data"], row["model"]) not in new]
        rows.sort(key=lambda row: (-len(row["data"]), list(MODELS).index(row["model"])))  # ml-100k first
    report = {"quality": rows}
    with open(path, "w") as file:
        json.dump(report, file, indent=2)
        file.write("\n")
    show(report)


if __name__ == "__main__":
    main()
