"""Adapter training as fast as we can make it in PyTorch: the prefix's keys and values computed once, the head at answer
positions only, batches of like length cut into micro-batches, fused attention; in float32 or bfloat16, eager or compiled,
whichever is the fastest in a short trial."""

import copy
import time

import torch
from torch.nn import functional as F

import trial
import workload
from llama import Llama

VARIANTS = ("float32", "bfloat16", "float32, compiled", "bfloat16, compiled")
TRIAL_TOKENS = 256  # of the samples of a trial's step: enough rows for products to reach their speed


def product_seconds(dtype, size=256):
    """How long a small product takes, which is enough to see a data type that the CPU has no instructions for."""
    x, weight, best = torch.ones(size, size, dtype=dtype), torch.ones(size, size, dtype=dtype), float("inf")
    for _ in range(10):
        start = time.perf_counter()
        F.linear(x, weight).sum().item()
        best = min(best, time.perf_counter() - start)
    return best


def choose(variants=VARIANTS):
    """The fastest of the variants, and the report of the trial, which leaves out what would take long only to show that it is slow."""
    slower = product_seconds(torch.bfloat16) / product_seconds(torch.float32)

    def pointless(variant, report):
        """Why a variant is not worth a try, given the report so far."""
        kind = variant.split(",")[0]
        if kind == "bfloat16" and slower > 2:
            return f"products in bfloat16 take {slower:.1f} times as long as in float32"
        eager = {entry["variant"]: entry.get("samples_per_s", 0) for entry in report}
        if variant != kind and 2 * eager[kind] < max(eager.values()):
            return f"{kind} is less than half as fast as the fastest"
        return None

    return trial.fastest(variants, 0.02, pointless)  # of the loss; bfloat16 has 8 significant bits


def make_step(args):
    """The step of a variant: forward and backward of some samples."""
    llama = Llama(args.model, getattr(torch, args.variant.split(",")[0]))
    losses_of = lambda x, targets: F.cross_entropy(F.linear(x, llama.head).float(), targets, reduction="none")
    prefixes = {}

    def prefix_of(work):
        key = tuple(work.prefix)
        if key and key not in prefixes:
            prefixes[key] = []
            with torch.no_grad():
                llama.hidden(llama.embed(torch.tensor([work.prefix])), keep=prefixes[key])
        return prefixes.get(key)

    fast = copy.copy(llama)
    if "compiled" in args.variant:
        # All layers share one compiled function. The second length that comes makes it one for all lengths, which are all that
        # becomes variable: with dynamic=True the widths would, too, and the program would take twice as long.
        fast.layer, losses_of = torch.compile(llama.layer), torch.compile(losses_of)

    def step(work, rows):
        prefix = prefix_of(work)
        answers = sum(target >= 0 for i in rows for target in work.samples[i][1])
        total, parts = 0.0, []
        for micro in (rows[i : i + args.micro] for i in range(0, len(rows), args.micro)):
            tokens, targets = work.padded(micro)
            asked = targets >= 0
            losses = losses_of(fast.hidden(work.inputs(llama, micro, tokens), prefix)[asked], targets[asked])
            loss = losses.sum() / answers
            loss.backward()
            total += loss.item()
            parts.append(-losses.detach())
        return total, torch.cat(parts)

    return step


def small_step(args):
    """For the trial: the step of a few samples of middling length."""
    step, work = make_step(args), workload.load(args.workload)
    order = sorted(range(len(work.samples)), key=lambda i: len(work.samples[i][0]))
    middle = len(order) // 2
    rows = order[middle : middle + max(1, min(args.micro, TRIAL_TOKENS // len(work.samples[order[middle]][0])))]

    def call():
        loss, _ = step(work, rows)
        return loss

    return call, len(rows)


def main():
    parser = workload.training_arguments(__doc__.split(":")[0])
    parser.add_argument("--micro", type=int, default=16, help="samples in a micro-batch")
    trial.arguments(parser, VARIANTS)
    args = parser.parse_args()
    workload.use(args)
    if args.trial:
        return trial.measure(lambda: small_step(args))
    report = None
    if not args.variant:
        args.variant, report = ("float32", None) if args.reference else choose()
    peer = f"PyTorch {torch.__version__}, tuned, {args.variant}"
    workload.run(args, peer, make_step(args), by_length=True, compiled="compiled" in args.variant, trial=report)


if __name__ == "__main__":
    main()
