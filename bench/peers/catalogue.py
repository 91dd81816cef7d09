"""The peer of bench/catalogue: SASRec in PyTorch with the same sampled softmax, and NumPy's product of states and items.

Gradients of the tables are dense and the optimiser is fused AdamW, as for small catalogues.
"""

import argparse
import time

import numpy
import torch
from torch.nn import functional as F

import recommenders


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--rank", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--drawn", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    model = recommenders.SASRec(args.items, dropout=0.3)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0, fused=True)
    histories = torch.randint(args.items, (args.batch * args.steps, 10))
    lengths, following = torch.full((args.batch,), 10), torch.randint(args.items, (args.batch * args.steps,))
    offsets = torch.full((args.drawn,), 5.0)
    model.train()
    for i in range(args.steps):
        if i == 2:
            start = time.perf_counter()
        at = slice(i * args.batch, (i + 1) * args.batch)
        shared, own = torch.randint(args.items, (args.drawn,)), following[at]
        states = model(histories[at], lengths)
        others = F.linear(states, model.s_fc.weight[shared], model.s_fc.bias[shared] + offsets)
        others = others.masked_fill(shared == own.unsqueeze(1), -1e9)
        first = (states * model.s_fc.weight[own]).sum(1, keepdim=True) + model.s_fc.bias[own].unsqueeze(1)
        loss = F.cross_entropy(torch.cat([first, others], 1), torch.zeros(args.batch, dtype=torch.long))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    seconds = (time.perf_counter() - start) / (args.steps - 2)
    print(f"PyTorch, training: {args.batch / seconds:.0f} sequences/s, {1000 * seconds:.0f} ms/step")

    random = numpy.random.default_rng(1)
    states = random.standard_normal((args.rank, 64), dtype=numpy.float32)
    table = random.standard_normal((args.items, 64), dtype=numpy.float32)
    start = time.perf_counter()
    for rows in numpy.array_split(states, max(1, args.rank // 256)):  # all of it would not fit into memory
        rows @ table.T
    print(f"NumPy, product of {args.rank} states and all items alone: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
