"""The workload that both alignment peers read, the adapters, and what their commands share.

A workload is a folder:
  workload.json        {"kind": "linear" | "mlp", "tokens_per_state": k, "batch": b, "prefix": [token, ...],
                        "samples": [{"tokens": [...], "targets": [...]}, ...]}
  states.safetensors   "states", float32 [n, N, d]: N recommender states a sample
  adapter.safetensors  linear: "weight" [k·width, d], "bias"; mlp: "w1" [h, d], "b1", "w2" [k·width, h], "b2" (tanh GELU)
In a sample's tokens, −1−j is soft token j of the sample (state j // k, its token j mod k); targets[p] is the token which
position p has to predict, −1 where nothing is asked. The prefix is the same for all samples and asks nothing.
The loss of a step is the mean over all answer tokens of its batch.
"""

import argparse
import json
import os
import time
from dataclasses import dataclass

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch.nn import functional as F

import pace


@dataclass
class Workload:
    tokens_per_state: int
    batch: int
    prefix: list
    samples: list  # of (tokens, targets)
    states: torch.Tensor
    adapter: dict  # of tensors that learn

    def batches(self, batch, by_length):
        """Lists of `batch` sample numbers, in file order or ordered by length; a last short one is left out."""
        order = list(range(len(self.samples)))
        if by_length:
            order.sort(key=lambda i: len(self.samples[i][0]))
        return [order[i : i + batch] for i in range(0, len(order) - batch + 1, batch)]

    def soft_tokens(self, states):
        """The soft tokens of float32 states [..., d]: float32 [..., k, width]."""
        a = self.adapter
        if "w1" in a:
            y = F.linear(F.gelu(F.linear(states, a["w1"], a["b1"]), approximate="tanh"), a["w2"], a["b2"])
        else:
            y = F.linear(states, a["weight"], a["bias"])
        return y.unflatten(-1, (self.tokens_per_state, -1))

    def padded(self, rows, length=None, prefix=()):
        """Tokens and targets of `rows` behind `prefix`, padded at the end to the longest or `length`: int64 [n, length]."""
        tokens = [list(prefix) + self.samples[i][0] for i in rows]
        targets = [[-1] * len(prefix) + self.samples[i][1] for i in rows]
        length = length or max(map(len, tokens))
        pad = lambda lists, value: torch.tensor([row + [value] * (length - len(row)) for row in lists])
        return pad(tokens, 0), pad(targets, -1)

    def inputs(self, llama, rows, tokens):
        """The rows that enter the model: token embeddings with the soft tokens in their places."""
        soft = self.soft_tokens(self.states[rows]).flatten(1, 2).to(llama.dtype)
        x = llama.embed(tokens.clamp(min=0))
        sample, position = (tokens < 0).nonzero(as_tuple=True)
        return x.index_put((sample, position), soft[sample, -1 - tokens[sample, position]])


def rounded_up(n, parts=8):
    """n or a little more, as RecInt rounds the sizes of a pass on a GPU (native/src/llm/forward.cpp)."""
    step = 1
    while step < n if step < 8 else 2 * parts * step <= n:
        step *= 2
    return -(-n // step) * step


def use(args):
    """Has PyTorch compute where and with as many threads as the arguments say: for all tensors from here on."""
    torch.set_num_threads(args.threads)
    torch.set_default_device(args.device)


def load(folder):
    """Reads a workload folder."""
    with open(os.path.join(folder, "workload.json")) as file:
        head = json.load(file)
    samples = [(s["tokens"], s["targets"]) for s in head["samples"]]
    device = str(torch.get_default_device())
    states = load_file(os.path.join(folder, "states.safetensors"), device)["states"]
    adapter = load_file(os.path.join(folder, "adapter.safetensors"), device)
    return Workload(head["tokens_per_state"], head["batch"], head["prefix"], samples, states, learning(adapter))


def learning(adapter):
    return {name: value.float().requires_grad_() for name, value in adapter.items()}


def from_reference(path):
    """One batch made of a reference file, with the file's tensors beside it."""
    with safe_open(path, "pt") as file:
        k = int(file.metadata()["tokens_per_state"])
        segments = json.loads(file.metadata()["prompt_token_ids"])
    stored = load_file(path, str(torch.get_default_device()))
    samples = []
    for answer in stored["answer_tokens"].tolist():
        answer = [token for token in answer if token >= 0]
        question = []
        for n, segment in enumerate(segments[1:]):
            question += [-1 - j for j in range(n * k, (n + 1) * k)] + segment
        samples.append((question + answer[:-1], [-1] * (len(question) - 1) + answer))
    adapter = {name: stored[f"adapter.{name}"] for name in ("weight", "bias")}
    return Workload(k, len(samples), segments[0], samples, stored["states"], learning(adapter)), stored


def compare(work, stored, step):
    """Runs one step and prints its agreement with the reference."""
    loss, logprobs = step(work, list(range(len(work.samples))))
    # Answers are padded with negative tokens.
    expected = stored["answer_logprobs"][stored["answer_tokens"] >= 0]
    line = {"loss": loss, "loss_relative": abs(loss / stored["loss"].item() - 1),
            "logprob_max_difference": (logprobs - expected).abs().max().item()}
    for name in ("weight", "bias"):
        got, want = work.adapter[name].grad.flatten(), stored[f"grad.adapter.{name}"].flatten()
        line[f"{name}_gradient_cosine"] = F.cosine_similarity(got, want, dim=0).item()
        line[f"{name}_gradient_norm_relative"] = abs((got.norm() / want.norm()).item() - 1)
    print(json.dumps(line))


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("model", help="GGUF file of a llama architecture")
    parser.add_argument("workload", help="workload folder")
    parser.add_argument("--batch", type=int, help="samples at once (default: the program's own number)")
    pace.arguments(parser)
    return parser


def training_arguments(description):
    parser = arguments(description)
    parser.add_argument("--reference", action="store_true", help="WORKLOAD is a reference file: compare one step with it")
    parser.add_argument("--device", default="cpu", help="where PyTorch computes: cpu or cuda")
    parser.add_argument("--steps", type=int, default=4, help="steps in a repetition; 0: every batch once")
    parser.add_argument("--lr", type=float, default=1e-3)
    return parser


def run(args, peer, step, by_length, compiled=False, trial=None):
    """The command: `step(work, rows)` does forward and backward and returns the loss and the answers' log-probabilities."""
    if args.reference:
        return compare(*from_reference(args.workload), step)
    work = load(args.workload)
    batch = args.batch or work.batch
    batches = work.batches(batch, by_length)
    optimiser = torch.optim.AdamW(work.adapter.values(), lr=args.lr)
    # Batches are taken evenly across the lengths, so that a few steps stand for the whole; --steps 0 stands for every batch.
    count = min(args.steps or len(batches), len(batches))
    chosen = [batches[i * len(batches) // count] for i in range(count)]
    tokens = sum(len(work.samples[i][0]) for rows in chosen for i in rows)

    def check():
        """Loss and gradient norm of the file's first samples, as many as a batch of the workload has, however few are taken at once."""
        rows = range(min(work.batch, len(work.samples)))
        loss, gradient, answers = 0.0, 0.0, 0
        for part in (rows[i : i + batch] for i in range(0, len(rows), batch)):
            optimiser.zero_grad()
            mean, logprobs = step(work, part)
            loss += len(logprobs) * mean
            gradient += len(logprobs) * torch.cat([p.grad.flatten() for p in work.adapter.values()])
            answers += len(logprobs)
        return {"samples": len(rows), "loss": loss / answers, "gradient_norm": (gradient / answers).norm().item()}

    def repeat():
        """A sample's tokens are those behind the prefix, without padding, whatever else is computed."""
        start = time.perf_counter()
        for rows in chosen:
            optimiser.zero_grad()
            step(work, rows)
            torch.nn.utils.clip_grad_norm_(work.adapter.values(), 1.0)
            optimiser.step()
        if args.device != "cpu":
            torch.accelerator.synchronize()
        seconds = time.perf_counter() - start
        return {"samples_per_s": batch * len(chosen) / seconds, "tokens_per_s": tokens / seconds, "seconds": seconds}

    def warm_up():
        """A GPU's kernels are loaded when they are first used. What is compiled must be so before anything is timed."""
        repeat()
        never_compile_again()

    place = "" if args.device == "cpu" else f", {args.device}"
    pace.run(args, peer + place, check, repeat, warm_up if compiled or place else None, trial)


def never_compile_again():
    """From here on a new compilation is an error: none is to be timed."""
    torch.compiler.set_stance("fail_on_recompile")
