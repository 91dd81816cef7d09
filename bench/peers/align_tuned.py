"""Adapter training as fast as we can make it in PyTorch: bfloat16, the prefix's keys and values computed once, the head
at answer positions only, batches of like length cut into micro-batches, fused attention."""

import torch
from torch.nn import functional as F

import workload
from llama import Llama


def main():
    parser = workload.training_arguments(__doc__.split(":")[0])
    parser.add_argument("--micro", type=int, default=16, help="samples in a micro-batch")
    parser.add_argument("--float32", action="store_true", help="float32 in place of bfloat16")
    parser.add_argument("--compile", action="store_true", help="torch.compile the layers")
    args = parser.parse_args()
    workload.use(args)
    llama = Llama(args.model, torch.float32 if args.float32 else torch.bfloat16)
    hidden = torch.compile(llama.hidden, dynamic=True) if args.compile else llama.hidden
    prefixes = {}

    def prefix_of(work):
        key = tuple(work.prefix)
        if key and key not in prefixes:
            prefixes[key] = []
            with torch.no_grad():
                llama.hidden(llama.embed(torch.tensor([work.prefix])), keep=prefixes[key])
        return prefixes.get(key)

    def step(work, rows):
        prefix = prefix_of(work)
        answers = sum(target >= 0 for i in rows for target in work.samples[i][1])
        total, parts = 0.0, []
        for micro in (rows[i : i + args.micro] for i in range(0, len(rows), args.micro)):
            tokens, targets = work.padded(micro)
            asked = targets >= 0
            logits = F.linear(hidden(work.inputs(llama, micro, tokens), prefix)[asked], llama.head)
            losses = F.cross_entropy(logits.float(), targets[asked], reduction="none")
            loss = losses.sum() / answers
            loss.backward()
            total += loss.item()
            parts.append(-losses.detach())
        return total, torch.cat(parts)

    kind = ("float32" if args.float32 else "bfloat16") + ", compiled" * args.compile
    workload.run(args, f"PyTorch {torch.__version__}, tuned, {kind}", step, by_length=True)


if __name__ == "__main__":
    main()
