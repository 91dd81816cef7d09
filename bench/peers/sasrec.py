"""SASRec in plain PyTorch: the peer of `recint train`, and the place where its default settings were chosen.

Input: a JSON file {"items": n, "train": [[history, next], ...], "validation": [...], "test": [...]}; item ids are dense and
0-based, a history is oldest first and holds at most 10. Prints one JSON line per epoch with HR@10 and NDCG@10 on validation,
ranked against every item (rank = 1 + greater + ties / 2); --probe adds the readability of the states on the test split.
"""

import argparse
import json
import time

import torch
from torch import nn
from torch.nn import functional as F

WIDTH, POSITIONS, EPSILON, INIT = 64, 10, 1e-5, 0.02


class SASRec(nn.Module):
    """One block, one head. Queries are normalised, keys and values are not; the padding id is `items`, at the end."""

    def __init__(self, items, dropout):
        super().__init__()
        self.items = items
        self.item_embeddings = nn.Embedding(items + 1, WIDTH)
        self.positional_embeddings = nn.Embedding(POSITIONS, WIDTH)
        self.ln_1, self.ln_2, self.ln_3, self.ln_ff = (nn.LayerNorm(WIDTH, eps=EPSILON) for _ in range(4))
        self.q, self.k, self.v, self.w1, self.w2 = (nn.Linear(WIDTH, WIDTH) for _ in range(5))
        self.s_fc = nn.Linear(WIDTH, items)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.item_embeddings.weight, std=INIT)
        nn.init.normal_(self.positional_embeddings.weight, std=INIT)

    def states(self, histories):
        """Int64 [n, 10] to float32 states [n, 10, 64], one after each position; those of padding mean nothing."""
        real = (histories != self.items).unsqueeze(-1).float()
        x = self.dropout(self.item_embeddings(histories) + self.positional_embeddings.weight) * real
        queries = self.ln_1(x)
        attended = F.scaled_dot_product_attention(self.q(queries), self.k(x), self.v(x), is_causal=True)
        x = self.ln_2(self.dropout(attended) + queries)
        hidden = self.dropout(self.w2(self.dropout(F.relu(self.w1(x)))))
        return self.ln_3(self.ln_ff(hidden + x) * real)




def last_state(model, histories):
    """The state after the last real item of each history, [n, 64]."""
    lengths = (histories != model.items).sum(1)
    return model.states(histories)[torch.arange(len(histories)), lengths - 1]


def pad(sequences, items):
    """Histories [n, 10] padded at the end with `items`, and the next items [n]."""
    rows = [history + [items] * (POSITIONS - len(history)) for history, _ in sequences]
    return torch.tensor(rows), torch.tensor([following for _, following in sequences])


def all_targets(histories, following, items):
    """For each position the item that came after it, −100 at padding, [n, 10]."""
    targets = torch.cat([histories[:, 1:], torch.full((len(histories), 1), items)], 1)
    targets = torch.where(targets == items, -100, targets)
    targets[torch.arange(len(histories)), (histories != items).sum(1) - 1] = following
    return targets


@torch.no_grad()
def evaluate(model, histories, following, k=10):
    """HR@k and NDCG@k over the full catalogue, nothing masked."""
    model.eval()
    ranks = []
    for h, f in zip(histories.split(1024), following.split(1024)):
        scores = model.s_fc(last_state(model, h))
        own = scores.gather(1, f[:, None])
        ranks.append(1 + (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2)
    ranks = torch.cat(ranks)
    hit = ranks <= k
    return hit.float().mean().item(), (hit / torch.log2(ranks + 1)).mean().item()


def probe(model, train, test, epochs=8):
    """Top-1 accuracy on `test` of a linear softmax from the state after an item to that item, fitted on `train`."""

    @torch.no_grad()
    def encode(histories, following):
        joined = [([i for i in h if i != model.items] + [f])[-POSITIONS:] for h, f in zip(histories.tolist(), following.tolist())]
        rows = torch.tensor([j + [model.items] * (POSITIONS - len(j)) for j in joined])
        return torch.cat([last_state(model, r) for r in rows.split(1024)])

    model.eval()
    x, held = encode(*train), encode(*test)
    mean, deviation = x.mean(0), x.std(0) + 1e-6
    x, held = (x - mean) / deviation, (held - mean) / deviation
    linear = nn.Linear(WIDTH, model.items)
    optimiser = torch.optim.Adam(linear.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(512):
            optimiser.zero_grad()
            F.cross_entropy(linear(x[rows]), train[1][rows]).backward()
            optimiser.step()
        schedule.step()
    return (linear(held).argmax(1) == test[1]).float().mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("split", help="JSON file with items, train, validation, test")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--decay", type=float, default=0.0, help="decoupled weight decay")
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--all-positions", action="store_true", help="a loss at each position, not only the last")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--probe", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    with open(args.split) as file:
        data = json.load(file)
    items = data["items"]
    train, validation, test = (pad(data[part], items) for part in ("train", "validation", "test"))
    targets = all_targets(*train, items)
    model = SASRec(items, args.dropout)
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=args.decay)
    start = time.time()
    for epoch in range(1, args.epochs + 1):
        model.train()
        for rows in torch.randperm(len(train[0])).split(args.batch):
            optimiser.zero_grad()
            if args.all_positions:
                states = model.states(train[0][rows])
                wanted = targets[rows]
                keep = wanted >= 0
                loss = F.cross_entropy(model.s_fc(states[keep]), wanted[keep])
            else:
                loss = F.cross_entropy(model.s_fc(last_state(model, train[0][rows])), train[1][rows])
            loss.backward()
            optimiser.step()
        hr, ndcg = evaluate(model, *validation)
        line = {"epoch": epoch, "loss": loss.item(), "hr@10": hr, "ndcg@10": ndcg, "seconds": time.time() - start}
        if args.probe and epoch == args.epochs:
            line["probe_test_top1"] = probe(model, train, test)
        print(json.dumps({k: round(v, 4) for k, v in line.items()}), flush=True)


if __name__ == "__main__":
    main()
