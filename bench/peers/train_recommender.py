"""Trains a recommender in plain PyTorch: the peer of `recint recommender train`, under the same protocol.

Input: a JSON file {"items": n, "train": [[history, next], ...], "validation": [...], "test": [...]}, as split.py writes it.
The loss is the mean cross-entropy over all items from the last state (DreamRec: the authors' loss). The epoch with the best
HR@10 on validation is kept, of equal ones that with the higher NDCG@10; training ends after --epochs, or --patience
evaluations without a better one. Ranking is against every item, nothing masked: rank = 1 + greater + ties / 2. Prints a JSON
line for each epoch and, for the chosen one, a line for validation and one for test. Test is looked at once, at the end.
"""

import argparse
import copy
import json
import time

import torch
from torch import nn
from torch.nn import functional as F

import recommenders
from recommenders import MODELS, Schedule

CUTS = (1, 5, 10, 20)
# Chosen on the validation part of MovieLens-100K.
DEFAULTS = {
    "gru4rec": {"lr": 1e-3, "dropout": 0.2, "epochs": 30, "patience": 5, "spread": 0.02},
    "caser": {"lr": 1e-3, "dropout": 0.2, "epochs": 30, "patience": 5, "spread": 0.02},
    "sasrec": {"lr": 2e-3, "dropout": 0.3, "epochs": 12, "patience": 3, "spread": 0.02},
    "bert4rec": {"lr": 1e-3, "dropout": 0.1, "epochs": 30, "patience": 5, "spread": 0.02, "mask_ratio": 0.2},
    "hstu": {"lr": 1e-3, "dropout": 0.3, "epochs": 30, "patience": 5, "spread": 0.02, "all_positions": True},
    "dreamrec": {"lr": 1e-3, "dropout": 0.1, "epochs": 100, "patience": 5, "spread": 1.0},
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("split", help="JSON file with items, train, validation, test")
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--patience", type=int)
    parser.add_argument("--every", type=int, default=1, help="epochs between evaluations")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--decay", type=float, default=0.0, help="decoupled weight decay")
    parser.add_argument("--dropout", type=float)
    parser.add_argument("--spread", type=float, help="standard deviation of new item embeddings")
    parser.add_argument("--all-positions", action=argparse.BooleanOptionalAction, help="SASRec, HSTU: a loss at each position, not only the last")
    parser.add_argument("--mask-ratio", type=float, help="BERT4Rec: probability of hiding an item of a history, too")
    parser.add_argument("--negatives", type=int, default=0, help="draw so many items for each target, and learn by binary cross-entropy")
    parser.add_argument("--calibration", type=float, default=0.0, help="t of gBCE (Petrov and Macdonald 2023, arXiv 2308.07192)")
    parser.add_argument("--norm-first", action="store_true", help="SASRec: blocks normalise what they read")
    parser.add_argument("--rotary", action="store_true", help="SASRec: positions turn queries and keys")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--probe", action="store_true", help="how readable the chosen states are, on the test split")
    parser.add_argument("--out", help="safetensors file for the chosen weights")
    parser.add_argument("--no-test", action="store_true", help="leave the test split alone, as when choosing settings")
    dream = parser.add_argument_group("DreamRec")
    dream.add_argument("--steps", type=int, default=200, help="of the diffusion")
    dream.add_argument("--schedule", default="exp", help="linear, exp, cosine or sqrt")
    dream.add_argument("--diffuser", default="mlp1", help="mlp1 or mlp2")
    dream.add_argument("--drop", type=float, default=0.1, help="probability of training without guidance")
    dream.add_argument("--guidance", type=float, default=2.0, help="w: 0 samples with guidance alone")
    args = parser.parse_args()
    for name, value in DEFAULTS[args.model].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


def build(args, items):
    more = {"diffuser": args.diffuser} if args.model == "dreamrec" else {}
    if args.model == "sasrec":
        more = {"norm_first": args.norm_first, "rotary": args.rotary}
    return MODELS[args.model](items, dropout=args.dropout, spread=args.spread, **more)


def tensors(sequences, model):
    """Histories [n, positions], their lengths [n] and the next items [n]."""
    histories, lengths = recommenders.pad([history for history, _ in sequences], model.items, model.positions)
    return histories, lengths, torch.tensor([following for _, following in sequences])


def calibrated(model, args):
    """The binary cross-entropy of targets and of items drawn for each, in which targets count less (gBCE). `seen` [n, any] are the
    items that are not drawn. The scores of a small catalogue's items take less time than the rows of those that are drawn."""
    beta = 1 - args.calibration * (1 - min(1, args.negatives / (model.items - 1)))

    def loss(states, targets, seen):
        excluded = torch.zeros(len(seen), model.items + 1, dtype=torch.bool).scatter_(1, seen, True)
        drawn = torch.randint(model.items, (len(seen), args.negatives))
        while (again := excluded.gather(1, drawn)).any():
            drawn = torch.where(again, torch.randint_like(drawn, model.items), drawn)
        scores = model.scores(states).gather(1, torch.cat([targets.unsqueeze(1), drawn], 1))
        return (beta * F.softplus(-scores[:, 0]) + F.softplus(scores[:, 1:]).sum(1)).mean()

    return loss


def objective(model, args, schedule):
    """The loss of a batch of histories, lengths and next items."""
    if args.negatives:
        gbce = calibrated(model, args)
        return lambda h, n, following: gbce(model(h, n), following, torch.cat([h, following.unsqueeze(1)], 1))
    if args.model == "dreamrec":
        return lambda h, n, following: model.loss(h, n, following, schedule, args.drop)
    if args.model == "bert4rec" and args.mask_ratio > 0:

        def hidden(h, n, following):
            targets = F.pad(h, (0, 1), value=model.items)
            targets[recommenders.rows(len(h), n)] = following
            asked = (torch.rand(targets.shape) < args.mask_ratio) & (torch.arange(targets.shape[1]) < n.unsqueeze(1))
            asked[:, 0] = False  # a first item is never hidden
            masked = torch.where(asked[:, :-1], model.items + 1, h)
            asked[recommenders.rows(len(h), n)] = True
            return F.cross_entropy(model.scores(model.states_at(asked, masked, n)), targets[asked])

        return hidden
    if not args.all_positions:
        return lambda h, n, following: F.cross_entropy(model.scores(model(h, n)), following)

    def everywhere(h, n, following):
        targets = torch.cat([h[:, 1:], torch.full((len(h), 1), model.items)], 1)
        targets[recommenders.rows(len(h), n - 1)] = following
        asked = targets != model.items
        return F.cross_entropy(model.scores(model.all_states(h)[asked]), targets[asked])

    return everywhere


def optimiser_of(model, args):
    return torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=args.decay, fused=True)


@torch.inference_mode()
def ranks(model, part, args, schedule, seed=0):
    """The rank of each next item; ties count half. DreamRec's oracles are drawn with a seed of their own."""
    model.eval()
    found = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for histories, lengths, following in zip(*(t.split(1024) for t in part)):
            states = model(histories, lengths)
            if schedule:
                states = model.sample(states, schedule, args.guidance)
            scores = model.scores(states)
            own = scores.gather(1, following.unsqueeze(1))
            found.append(1 + (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2)
    return torch.cat(found).double()


def metrics(rank):
    hits = {k: rank <= k for k in CUTS}
    return {
        **{f"hr@{k}": hits[k].double().mean().item() for k in CUTS},
        **{f"ndcg@{k}": (hits[k] / torch.log2(rank + 1)).mean().item() for k in CUTS},
        "mrr": (1 / rank).mean().item(),
    }


def probe(model, train, test, epochs=8):
    """Top-1 accuracy on `test` of a linear softmax from the state after an item to that item, fitted on `train`."""

    @torch.no_grad()
    def encode(part):
        joined = [h[:n].tolist() + [f.item()] for h, n, f in zip(*part)]
        histories, lengths = recommenders.pad(joined, model.items, model.positions)
        return torch.cat([model(h, n) for h, n in zip(histories.split(1024), lengths.split(1024))])

    model.eval()
    x, held = encode(train), encode(test)
    mean, deviation = x.mean(0), x.std(0) + 1e-6
    x, held = (x - mean) / deviation, (held - mean) / deviation
    linear = nn.Linear(model.width, model.items)
    optimiser = torch.optim.Adam(linear.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for _ in range(epochs):
        for chosen in torch.randperm(len(x)).split(512):
            optimiser.zero_grad()
            F.cross_entropy(linear(x[chosen]), train[2][chosen]).backward()
            optimiser.step()
        schedule.step()
    return (linear(held).argmax(1) == test[2]).float().mean().item()


def say(**line):
    print(json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in line.items()}), flush=True)


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    with open(args.split) as file:
        data = json.load(file)
    schedule = Schedule(args.schedule, args.steps) if args.model == "dreamrec" else None
    model = build(args, data["items"])
    train, validation, test = (tensors(data[part], model) for part in ("train", "validation", "test"))
    loss_of, optimiser = objective(model, args, schedule), optimiser_of(model, args)
    best, waited = None, 0
    for epoch in range(1, args.epochs + 1):
        start, total = time.perf_counter(), 0.0
        model.train()
        for chosen in torch.randperm(len(train[0])).split(args.batch):
            optimiser.zero_grad()
            loss = loss_of(*(t[chosen] for t in train))
            loss.backward()
            optimiser.step()
            total += loss.item() * len(chosen)
        line = {"epoch": epoch, "loss": total / len(train[0]), "seconds": time.perf_counter() - start}
        if epoch % args.every and epoch != args.epochs:
            say(**line)
            continue
        found = metrics(ranks(model, validation, args, schedule))
        say(**line, **{name: found[name] for name in ("hr@10", "ndcg@10")})
        if best is None or (found["hr@10"], found["ndcg@10"]) > best[0]:
            best, waited = ((found["hr@10"], found["ndcg@10"]), epoch, found, copy.deepcopy(model.state_dict())), 0
        else:
            waited += 1
            if waited == args.patience:
                break
    _, epoch, found, weights = best
    model.load_state_dict(weights)
    settings = vars(args)
    say(chosen=epoch, part="validation", n=len(validation[0]), **found, settings={k: settings[k] for k in settings if k != "split"})
    if not args.no_test:
        say(chosen=epoch, part="test", n=len(test[0]), **metrics(ranks(model, test, args, schedule)))
    if args.probe:
        say(chosen=epoch, probe_test_top1=probe(model, train, test))
    if args.out:
        more = {"timesteps": args.steps, "beta_schedule": args.schedule, "guidance_w": args.guidance} if schedule else {}
        recommenders.save(model, args.out, **more)


if __name__ == "__main__":
    main()
