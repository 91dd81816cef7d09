"""Greedy generation as fast as we can make it in PyTorch: the prefix's keys and values computed once, soft tokens sent as
embeddings, room for all keys and values from the start, tokens chosen where their logits are. On a GPU all tokens of a
repetition are one CUDA graph, in bfloat16; on a CPU the data type is whichever is the faster in a short trial.

Each sequence is the workload's prefix and the soft tokens of one of its samples; neither is timed. Each timed position
gives the next token and its log-probability."""

import time

import torch
from torch.nn import functional as F

import align_tuned
import pace
import trial
import workload
from llama import Llama

VARIANTS = ("float32", "bfloat16")


class Generation:
    """Sequences side by side, with keys and values of all positions that they will have."""

    def __init__(self, llama, work, slots, tokens):
        self.llama, self.slots, self.tokens = llama, slots, tokens
        rows = [slot % len(work.samples) for slot in range(slots)]
        soft = work.soft_tokens(work.states[rows]).flatten(1, 2).to(llama.dtype)
        self.begun = len(work.prefix) + soft.shape[1]
        keys, cache = [], []
        if work.prefix:
            llama.hidden(llama.embed(torch.tensor([work.prefix])), keep=keys)
            cache = [tuple(t.expand(slots, -1, -1, -1) for t in pair) for pair in keys]
        hidden = llama.hidden(soft, cache=cache)
        self.first = F.linear(hidden[:, -1], llama.head).argmax(-1)
        self.cache = [tuple(F.pad(t, (0, 0, 0, tokens)) for t in pair) for pair in cache]
        self.turns = [llama.turns(self.begun + i, 1) for i in range(tokens)]

    def run(self):
        """The tokens after the first, with their log-probabilities: [slots, tokens] each."""
        token, said, logprobs = self.first, [], []
        for i in range(self.tokens):
            x, end = self.llama.embed(token)[:, None], self.begun + i + 1
            for layer, (keys, values) in zip(self.llama.layers, self.cache):
                q, k, v = self.llama.project(layer, x, *self.turns[i])
                keys[:, :, end - 1] = k[:, :, 0]
                values[:, :, end - 1] = v[:, :, 0]
                x = self.llama.finish(layer, x, F.scaled_dot_product_attention(q, keys[:, :, :end], values[:, :, :end]))
            logits = F.linear(self.llama.normed(x[:, 0]), self.llama.head).float()
            best, token = logits.max(-1)
            said.append(token)
            logprobs.append(best - logits.logsumexp(-1))
        return torch.stack(said, 1), torch.stack(logprobs, 1)


def captured(generation):
    """The same as one CUDA graph, whose results are in the same place each time."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        generation.run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = generation.run()

    def replay():
        graph.replay()
        return result

    return replay


def main():
    parser = workload.arguments(__doc__.split(":")[0])
    parser.add_argument("--slots", type=int, default=32, help="sequences side by side")
    parser.add_argument("--tokens", type=int, default=10, help="timed tokens of each")
    parser.add_argument("--device", default="cpu", help="where PyTorch computes: cpu or cuda")
    trial.arguments(parser, VARIANTS)
    args = parser.parse_args()
    workload.use(args)
    on_gpu = args.device != "cpu"
    torch.set_grad_enabled(False)

    def make(tokens):
        work = workload.load(args.workload)
        generation = Generation(Llama(args.model, getattr(torch, args.variant)), work, args.slots, tokens)
        return work, generation.first, captured(generation) if on_gpu else generation.run

    def few():
        _, _, run = make(2)
        return lambda: -run()[1].sum().item(), args.slots

    if args.trial:
        return trial.measure(few)
    report = None
    if not args.variant:
        args.variant, report = ("bfloat16", None) if on_gpu else align_tuned.choose(VARIANTS)
    work, first, run = make(args.tokens)
    rounds = max(1, len(work.samples) // args.slots)

    def check():
        """The first two tokens of the first sequences: later ones may differ by rounding."""
        return {"tokens": torch.stack([first, run()[0][:, 0]], 1)[:32].tolist()}

    def repeat():
        start = time.perf_counter()
        for _ in range(rounds):
            run()
        if on_gpu:
            torch.accelerator.synchronize()
        seconds = time.perf_counter() - start
        samples = rounds * args.slots
        return {"samples_per_s": samples / seconds, "tokens_per_s": samples * args.tokens / seconds, "seconds": seconds}

    place = f", {args.device}" if on_gpu else ""
    pace.run(args, f"PyTorch {torch.__version__}, tuned, {args.variant}{place}", check, repeat, repeat, report)


if __name__ == "__main__":
    main()
