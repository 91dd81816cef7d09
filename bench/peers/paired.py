"""Compares two lists of HSTU's weights, of RecInt or of PyTorch, on the same test sequences: the mean over the first list's files less
that over the second's, of HR@10 and of NDCG@10, and its 95 % interval if other users had been asked (a bootstrap over the users of
the test part, with all their sequences). The spread over seeds, which the interval does not hold, is printed beside it.
"""

import argparse
import json

import torch
from safetensors import safe_open

import hstu_times
import recommenders

DRAWS = 10_000


def load(path):
    with safe_open(path, "pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}
        heads = int((file.metadata() or {}).get("num_heads", 2))
    items, width = stored["item_embedding.weight"].shape
    of = hstu_times.HISTORY if "blocks.0.time_bias" in stored else hstu_times.NONE
    model = hstu_times.Timed(items - 1, of, width=width, positions=len(stored["position_embedding.weight"]), heads=heads,
                             blocks=sum(name.endswith("uvqk.weight") for name in stored))
    model.load_state_dict(stored)
    return model


def gains(path, part):
    """Of each sequence, whether its item is among the first ten, and what it adds to NDCG@10: [2, n]."""
    rank = hstu_times.ranks(load(path), part)
    hit = (rank <= 10).double()
    return torch.stack([hit, hit / torch.log2(rank + 1)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("folder", help="data set folder with events.tsv")
    parser.add_argument("--first", nargs="+", required=True, help="safetensors files, one a seed")
    parser.add_argument("--second", nargs="+", required=True, help="the same")
    args = parser.parse_args()
    torch.set_num_threads(1)
    items, (_, _, test) = hstu_times.sequences(args.folder)
    part = hstu_times.tensors(test, items, recommenders.POSITIONS)
    first, second = (torch.stack([gains(path, part) for path in paths]) for paths in (args.first, args.second))  # [seeds, 2, n]
    difference = first.mean(0) - second.mean(0)
    names = sorted({user for *_, user in test})
    place = {user: i for i, user in enumerate(names)}
    users = torch.tensor([place[user] for *_, user in test])
    sums = torch.zeros(2, len(names), dtype=torch.double).index_add_(1, users, difference)
    sizes = torch.zeros(len(names), dtype=torch.double).index_add_(0, users, torch.ones(len(test), dtype=torch.double))
    drawn = torch.randint(len(names), (DRAWS, len(names)), generator=torch.Generator().manual_seed(1))
    means = torch.stack([sums[metric][drawn].sum(1) / sizes[drawn].sum(1) for metric in range(2)])
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.double), dim=1)
    for metric, name in enumerate(("hr@10", "ndcg@10")):
        each = [[round(x, 4) for x in seeds[:, metric].mean(1).tolist()] for seeds in (first, second)]
        error = sum(seeds[:, metric].mean(1).var().item() / len(seeds) for seeds in (first, second)) ** 0.5  # nan of one seed
        print(json.dumps({"metric": name, "first": each[0], "second": each[1], "difference": round(difference[metric].mean().item(), 5),
                          "users' 95 %": [round(low[metric].item(), 5), round(high[metric].item(), 5)], "seeds' standard error": round(error, 5),
                          "sequences": len(test), "users": len(names)}))


if __name__ == "__main__":
    main()
