"""Adapter training as the paper's authors run it: float32, the whole prompt in every sample, every sample padded to the
longest of its batch, and the language-model head at all positions. Written from the paper's description."""

import torch
from torch.nn import functional as F

import workload
from llama import Llama


def main():
    args = workload.training_arguments(__doc__.split(":")[0]).parse_args()
    workload.use(args)
    llama = Llama(args.model, torch.float32)

    def step(work, rows):
        tokens, targets = work.padded(rows, prefix=work.prefix)
        logits = F.linear(llama.hidden(work.inputs(llama, rows, tokens)), llama.head)
        losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="none")
        asked = losses[targets.flatten() >= 0]
        loss = asked.mean()
        loss.backward()
        return loss.item(), -asked.detach()

    workload.run(args, f"PyTorch {torch.__version__}, the authors' way, float32", step, by_length=False)


if __name__ == "__main__":
    main()
