"""Does HSTU's bias of times help? Trains it in PyTorch without times, with the times of the history, and with the time of the
request as well, on the same sequences and seeds, under the protocol of train_recommender.py. The loss is at the last positions.

Zhai et al. 2024 (arXiv 2402.17152) add to each weight of attention a learnt number for the logarithm of the time between two
items. In the authors' research code (github.com/meta-recsys/generative-recommenders) a query stands at the time of the item that
follows, which a service knows as the time of the request; the state of a history alone can only use the times of its own items.
Prints a JSON line for each training.
"""

import argparse
import copy
import json
import os

import torch
from torch import nn
from torch.nn import functional as F

import recommenders
import split
import train_recommender

BUCKETS, BASE = 128, 0.301  # the authors'
NONE, HISTORY, REQUEST = "none", "history", "request"


def sequences(folder):
    """The parts of split.py's chronological cut, each sequence with the times of its items and of the next, and its user."""
    items = {item: place for place, (item,) in enumerate(split.rows(folder, "items.tsv", ("item_id",)))}
    events = {}
    for user, item, time in split.rows(folder, "events.tsv", ("user_id", "item_id", "time")):
        events.setdefault(user, []).append((int(time), items[item]))
    found = []
    for user in sorted(events, key=lambda u: (int(u), u)):
        own = sorted(events[user])
        for at in range(split.MIN_HISTORY, len(own)):
            past = own[max(0, at - split.MAX_HISTORY) : at]
            found.append((own[at][0], [item for _, item in past], own[at][1], [time for time, _ in past] + [own[at][0]], user))
    found.sort(key=lambda s: s[0])
    first, second = len(found) * 8 // 10, len(found) * 9 // 10
    return len(items), (found[:first], found[first:second], found[second:])


def tensors(part, items, positions):
    """Histories, lengths, next items, and times [n, positions + 1] in seconds after each sequence's first."""
    histories, lengths = recommenders.pad([history for _, history, *_ in part], items, positions)
    times = torch.zeros(len(part), positions + 1, dtype=torch.int64)
    for row, (_, _, _, own, _) in zip(times, part):
        row[: len(own)] = torch.tensor(own) - own[0]
    return histories, lengths, torch.tensor([following for _, _, following, *_ in part]), times


class Timed(recommenders.HSTU):
    """HSTU with a bias of times in each block, added to that of distances."""

    def __init__(self, items, of, **sizes):
        super().__init__(items, **sizes)
        self.of = of
        for block in self.blocks if of != NONE else ():
            block.time_bias = nn.Parameter(torch.randn(BUCKETS + 1) * 0.02)

    def states(self, histories, lengths, times):
        """The states after the last items."""
        count = histories.shape[1]
        at = times[:, 1:] if self.of == REQUEST else times[:, :-1]  # of the queries
        apart = (at.unsqueeze(2) - times[:, :-1].unsqueeze(1)).abs().clamp(min=1)
        buckets = (apart.float().log() / BASE).long().clamp(max=BUCKETS)
        distances = torch.arange(count).unsqueeze(1) - torch.arange(count)
        x = self.embed(histories)
        for block in self.blocks:
            y = block.norm(x)
            gates, v, q, k = F.silu(block.uvqk(y)).chunk(4, -1)
            v, q, k = (z.unflatten(-1, (block.heads, -1)).transpose(1, 2) for z in (v, q, k))
            bias = block.distance_bias[distances.clamp(min=0)]
            if self.of != NONE:
                bias = bias + block.time_bias[buckets].unsqueeze(1)
            weights = F.silu(q @ k.transpose(2, 3) + bias) / block.positions * (distances >= 0)
            attended = block.attended_norm((weights @ v).transpose(1, 2).flatten(2))
            x = block.output(block.dropout(attended * gates)) + x
        return self.last_norm(x)[recommenders.rows(len(x), lengths - 1)]


@torch.inference_mode()
def ranks(model, part):
    """The rank of each next item; ties count half."""
    model.eval()
    found = []
    for histories, lengths, following, times in zip(*(t.split(1024) for t in part)):
        scores = model.scores(model.states(histories, lengths, times))
        own = scores.gather(1, following.unsqueeze(1))
        found.append(1 + (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2)
    return torch.cat(found).double()


def measure(model, part):
    return train_recommender.metrics(ranks(model, part))


def train(items, parts, of, seed, epochs, patience, save):
    torch.manual_seed(seed)
    settings = train_recommender.DEFAULTS["hstu"]
    model = Timed(items, of, dropout=settings["dropout"])
    learning, validation, test = parts
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings["lr"], weight_decay=0.0, fused=True)
    best, waited, epoch = None, 0, 0
    while epoch < epochs and waited < patience:
        epoch += 1
        model.train()
        for chosen in torch.randperm(len(learning[0])).split(256):
            histories, lengths, following, times = (t[chosen] for t in learning)
            optimiser.zero_grad()
            F.cross_entropy(model.scores(model.states(histories, lengths, times)), following).backward()
            optimiser.step()
        found = measure(model, validation)
        key = found["hr@10"], found["ndcg@10"]
        waited += 1
        if best is None or key > best[0]:
            best, waited = (key, epoch, copy.deepcopy(model.state_dict())), 0
    model.load_state_dict(best[2])
    of_test = measure(model, test)
    if save:
        recommenders.save(model, os.path.join(save, f"hstu-{of}-{seed}.safetensors"))
    return {"times": of, "seed": seed, "epoch": best[1], "validation hr@10": best[0][0], "validation ndcg@10": best[0][1],
            "test hr@10": of_test["hr@10"], "test ndcg@10": of_test["ndcg@10"], "n": len(test[0])}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="data set folder with events.tsv")
    parser.add_argument("--times", nargs="+", choices=(NONE, HISTORY, REQUEST), default=(NONE, HISTORY, REQUEST))
    parser.add_argument("--seeds", nargs="+", type=int, default=(1, 2, 3))
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--patience", type=int, default=5)
    parser.add_argument("--out", help="file of JSON lines; trainings that it holds are not done again")
    parser.add_argument("--save", help="folder for weights")
    args = parser.parse_args()
    torch.set_num_threads(1)
    done = []
    if args.out and os.path.exists(args.out):
        with open(args.out) as file:
            done = [(line["times"], line["seed"]) for line in map(json.loads, file)]
    items, parts = sequences(args.folder)
    parts = [tensors(part, items, recommenders.POSITIONS) for part in parts]
    for seed in args.seeds:
        for of in args.times:
            if (of, seed) in done:
                continue
            line = json.dumps(train(items, parts, of, seed, args.epochs, args.patience, args.save))
            print(line, flush=True)
            if args.out:
                with open(args.out, "a") as file:
                    file.write(line + "\n")


if __name__ == "__main__":
    main()
