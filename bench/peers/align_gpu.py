"""Adapter training as fast as we can make it in PyTorch on a GPU: all that align_tuned.py does, in bfloat16, and besides
each pass with its gradient, and in the last pass clipping and AdamW, is one CUDA graph that is captured once for each
shape and then replayed. Shapes are rounded up as RecInt's are, so that both compute the same rows. Nothing waits for the
GPU within a repetition, and the inputs lie in its memory before the clock starts, which favours this side.

On a CPU the same program runs without graphs, for tests."""

import time

import torch
from torch.nn import functional as F

import pace
import trial
import workload
from llama import Llama

VARIANTS = ("graphs", "graphs, compiled")
SLOW = ("graphs, max-autotune",)  # takes minutes to compile, and is not tried unless it is asked for


class Pass:
    """The samples `rows` of a workload as tensors of rounded shapes, one sample behind the other; a row that only fills up
    has weight 0. Attention takes the samples side by side, all of one length: `aside` is the row at each of its places,
    `back` the place of each row."""

    def __init__(self, work, rows, answers, llama):
        samples = [work.samples[i] for i in rows]
        lengths = [len(tokens) for tokens, _ in samples]
        n, length = workload.rounded_up(len(rows), 4), workload.rounded_up(max(lengths), 4)
        used = sum(lengths)
        count = min(workload.rounded_up(used + 1), n * length)
        self.shape = (n, length, count)
        packed = count < n * length
        place = [b * length + at for b, own in enumerate(lengths) for at in range(own)]
        row_of = torch.arange(used) if packed else torch.tensor(place)
        spread = lambda values, fill: torch.full((count,), fill).index_copy(0, row_of, torch.tensor(values))
        tokens = spread([token for own, _ in samples for token in own], 0)
        targets = spread([target for _, own in samples for target in own], -1)
        places, asked = (tokens < 0).nonzero()[:, 0], (targets >= 0).nonzero()[:, 0]
        order = (-1 - tokens[places]) + work.tokens_per_state * torch.repeat_interleave(
            torch.arange(len(rows)), torch.tensor([sum(token < 0 for token in own) for own, _ in samples]))
        filled = workload.rounded_up(len(asked) + 1, 4) - len(asked)
        self.tensors = {
            "states": F.pad(work.states[rows].flatten(0, 1), (0, 0, 0, (n - len(rows)) * work.states.shape[1])),
            "x": llama.embed(tokens.clamp(min=0)),
            "places": places,
            "order": order,
            "asked": F.pad(asked, (0, filled)),
            "targets": F.pad(targets[asked], (0, filled)),
            "weights": F.pad(torch.full((len(asked),), 1 / answers), (0, filled)),
        }
        if packed:
            spare = min(set(range(n * length)) - set(place))
            self.tensors["aside"] = torch.full((n * length,), used).index_copy(0, torch.tensor(place), row_of)
            self.tensors["back"] = torch.tensor(place + [spare] * (count - used))


class Trainer:
    """Passes and updates, replayed where there is a GPU."""

    def __init__(self, args, work):
        self.work, self.llama, self.on_gpu = work, Llama(args.model, torch.bfloat16), args.device != "cpu"
        self.parameters = list(work.adapter.values())
        for p in self.parameters:
            p.grad = torch.zeros_like(p)
        self.optimiser = torch.optim.AdamW(self.parameters, lr=args.lr, fused=True)
        if self.on_gpu:
            for group in self.optimiser.param_groups:
                group["capturable"] = True
        self.prefix = None
        if work.prefix:
            self.prefix = []
            with torch.no_grad():
                self.llama.hidden(self.llama.embed(torch.tensor([work.prefix])), keep=self.prefix)
        self.loss, self.graphs = torch.zeros(()), {}
        self.losses_of = lambda x, targets: F.cross_entropy(F.linear(x, self.llama.head).float(), targets, reduction="none")
        if args.variant != "graphs" and self.on_gpu:
            mode = "max-autotune-no-cudagraphs" if "max" in args.variant else None  # the graphs are ours
            compiled = lambda function: torch.compile(function, dynamic=False, mode=mode)
            self.llama.layer, self.losses_of = compiled(self.llama.layer), compiled(self.losses_of)

    def compute(self, shape, inputs, update):
        """A pass: the sum of the weighted losses, whose gradient is added to the adapter's; then an update, or none."""
        soft = self.work.soft_tokens(inputs["states"]).flatten(0, 1).to(self.llama.dtype)
        x = inputs["x"].index_copy(0, inputs["places"], soft[inputs["order"]])
        packed = (*shape[:2], inputs["aside"], inputs["back"]) if "aside" in inputs else None
        x = self.llama.hidden(x if packed else x.view(*shape[:2], -1), self.prefix, packed=packed)
        hidden = x.view(shape[2], -1)[inputs["asked"]]
        losses = self.losses_of(hidden, inputs["targets"])
        loss = (losses * inputs["weights"]).sum()
        loss.backward()
        self.loss += loss.detach()
        if update:
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimiser.step()
            torch._foreach_zero_([p.grad for p in self.parameters])
        return losses.detach()

    def run(self, one, update):
        """A pass of a shape that was seen before is a copy of its inputs and the replay of its graph."""
        if not self.on_gpu:
            return self.compute(one.shape, one.tensors, update)
        key = (one.shape, len(one.tensors["asked"]), len(one.tensors["places"]), update)
        if key not in self.graphs:
            self.graphs[key] = self.capture(one, update)
        graph, inputs, losses = self.graphs[key]
        for name, tensor in inputs.items():
            tensor.copy_(one.tensors[name])
        graph.replay()
        return losses

    def capture(self, one, update):
        """Runs the pass outside the graph first, as capturing asks for, and undoes what that has changed."""
        inputs = {name: tensor.clone() for name, tensor in one.tensors.items()}
        kept = [p.detach().clone() for p in self.parameters], [p.grad.clone() for p in self.parameters], self.loss.clone()
        state = {p: {k: v.clone() for k, v in s.items()} for p, s in self.optimiser.state.items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.compute(one.shape, inputs, update)
        torch.cuda.current_stream().wait_stream(side)
        with torch.no_grad():
            for p, value, gradient in zip(self.parameters, *kept[:2]):
                p.copy_(value)
                p.grad.copy_(gradient)
                for name, tensor in self.optimiser.state.get(p, {}).items():
                    before = state.get(p, {}).get(name)
                    tensor.zero_() if before is None else tensor.copy_(before)
            self.loss.copy_(kept[2])
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            losses = self.compute(one.shape, inputs, update)
        return graph, inputs, losses


def passes(work, rows, micro, llama):
    answers = sum(target >= 0 for i in rows for target in work.samples[i][1])
    return [Pass(work, rows[i : i + micro], answers, llama) for i in range(0, len(rows), micro)]


def small_step(args):
    """For the trial: an update of the first samples."""
    work = workload.load(args.workload)
    trainer = Trainer(args, work)
    rows = sorted(range(len(work.samples)), key=lambda i: len(work.samples[i][0]))[: args.micro]
    one = passes(work, rows, args.micro, trainer.llama)[0]

    def call():
        trainer.loss.zero_()
        trainer.run(one, False)
        return trainer.loss.item()

    return call, len(rows)


def main():
    parser = workload.training_arguments(__doc__.split(":")[0])
    parser.add_argument("--micro", type=int, default=256, help="samples in a micro-batch")
    trial.arguments(parser, VARIANTS + SLOW)
    args = parser.parse_args()
    workload.use(args)
    if args.trial:
        return trial.measure(lambda: small_step(args))
    report = None
    if not args.variant:
        args.variant, report = trial.fastest(VARIANTS, 0.02)
    work = workload.load(args.workload)
    trainer = Trainer(args, work)
    batch = args.batch or work.batch
    order = work.batches(batch, by_length=True)[: args.steps or None]
    prepared = [passes(work, rows, args.micro, trainer.llama) for rows in order]
    tokens = sum(len(work.samples[i][0]) for rows in order for i in rows)

    def check():
        """Loss and gradient norm of the file's first samples, as many as a batch has."""
        trainer.loss.zero_()
        for one in passes(work, list(range(min(batch, len(work.samples)))), args.micro, trainer.llama):
            trainer.run(one, False)
        norm = torch.cat([p.grad.flatten() for p in trainer.parameters]).norm().item()
        torch._foreach_zero_([p.grad for p in trainer.parameters])
        return {"samples": batch, "loss": trainer.loss.item(), "gradient_norm": norm}

    def repeat():
        start = time.perf_counter()
        for update in prepared:
            for i, one in enumerate(update):
                trainer.run(one, i + 1 == len(update))
        if args.device != "cpu":
            torch.accelerator.synchronize()
        seconds = time.perf_counter() - start
        return {"samples_per_s": batch * len(order) / seconds, "tokens_per_s": tokens / seconds, "seconds": seconds}

    def warm_up():
        repeat()  # captures every shape
        workload.never_compile_again()

    place = "" if args.device == "cpu" else f", {args.device}"
    pace.run(args, f"PyTorch {torch.__version__}, tuned for GPUs, bfloat16, {args.variant}{place}", check, repeat, warm_up, report)


if __name__ == "__main__":
    main()
