"""Answers as the paper's authors' evaluator generates them: float32, 32 samples at a time, the whole prompt in every sample, one
token after the other with keys and values kept. Written from the paper's description; unlike the authors' this keeps to a number of
tokens, so that both sides do the same work."""

import time

import torch
from torch.nn import functional as F

import pace
import workload
from llama import Llama


@torch.inference_mode()
def answer(work, llama, rows, count):
    """`count` greedy tokens for each sample: int64 [n, count]."""
    soft = work.states.shape[1] * work.tokens_per_state
    asked = next(p for p, target in enumerate(work.samples[0][1]) if target >= 0)
    question = work.samples[0][0][: asked + 1]
    assert all(token < 0 for token in question[:soft])
    tokens = torch.tensor([work.prefix + question] * len(rows))
    x = work.inputs(llama, rows, tokens)
    cache, said = [], []
    for _ in range(count):
        hidden = llama.hidden(x, cache=cache)
        token = F.linear(hidden[:, -1], llama.head).argmax(-1)
        said.append(token)
        x = llama.embed(token)[:, None]
    return torch.stack(said, 1)


def main():
    parser = workload.arguments(__doc__.split(":")[0])
    parser.add_argument("--tokens", type=int, default=10, help="tokens of an answer")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    llama, work = Llama(args.model, torch.float32), workload.load(args.workload)
    rows = list(range(len(work.samples)))
    batches = [rows[at : at + (args.batch or 32)] for at in range(0, len(rows), args.batch or 32)]

    def check():
        """The tokens of the first answers."""
        return {"tokens": answer(work, llama, batches[0], args.tokens).tolist()}

    def repeat():
        start = time.perf_counter()
        for batch in batches:
            answer(work, llama, batch, args.tokens)
        seconds = time.perf_counter() - start
        return {"samples_per_s": len(rows) / seconds, "tokens_per_s": len(rows) * args.tokens / seconds, "seconds": seconds}

    pace.run(args, f"PyTorch {torch.__version__}, the authors' way, float32", check, repeat)


if __name__ == "__main__":
    main()
