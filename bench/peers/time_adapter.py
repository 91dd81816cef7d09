"""Times an adapter in PyTorch eager, float32: the recommender states of a workload become soft tokens, --batch states at once.

A sample is one state here, a token a soft token. The check gives sums over the soft tokens of the first --batch states.
"""

import argparse

import torch

import pace
import workload


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("workload", help="workload folder")
    parser.add_argument("--batch", type=int, default=1, help="states at once")
    parser.add_argument("--seconds", type=float, default=1, help="of a repetition")
    pace.arguments(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    work = workload.load(args.workload)
    states = work.states.flatten(0, 1)
    inputs = [(batch,) for batch in states.split(args.batch)[: len(states) // args.batch]]
    if not inputs:
        raise SystemExit(f"{args.workload} has {len(states)} states: too few for a batch of {args.batch}")

    def check():
        soft = work.soft_tokens(states[: args.batch]).double()
        return {"n": args.batch, "soft_tokens_sum": soft.sum().item(), "soft_tokens_absolute": soft.abs().sum().item()}

    def repeat():
        figures = pace.calls(work.soft_tokens, inputs, args.seconds)
        return {"tokens_per_s": figures["samples_per_s"] * work.tokens_per_state, **figures}

    pace.run(args, f"PyTorch {torch.__version__}", check, repeat, repeat)


if __name__ == "__main__":
    main()
