"""Times a recommender in PyTorch or ONNX Runtime: training, sampling, and states.

  epoch    trains for one epoch, or --steps steps (a warm-up before, not timed)
  sample   DreamRec: draws --batch oracles with --steps steps of diffusion
  state    one history, one state: 50th, 95th and 99th percentile of --calls calls
  states   --batch histories at once

Prints a JSON line for each of --repetitions repetitions, after a warm-up. Inputs are tensors before the clock starts, which
favours this side. With --scores the product with all items belongs to the work. Histories are those of the split's test part
(of the training part in `epoch`), in file order; `state` runs them at their true length.

--check prints, in place of times, sums over the states and scores of the first --batch test histories (in `state` taken one by
one), to be compared with the other program's; in `epoch` the loss and the gradient norm of the first --batch training
sequences without dropout.
"""

import argparse
import io
import json
import statistics
import time

import torch
from torch.nn import functional as F

import recommenders
import train_recommender
from recommenders import DreamRec, Schedule


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("epoch", "sample", "state", "states"))
    parser.add_argument("split", help="JSON file with items, train, validation, test")
    parser.add_argument("--model", choices=recommenders.MODELS, required=True)
    parser.add_argument("--weights", help="safetensors file; without it the weights are random")
    parser.add_argument("--runtime", choices=("eager", "compiled", "onnx"), default="eager")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--batch", type=int, help="samples at once: 256, oracles: 1000")
    parser.add_argument("--calls", type=int, default=2000, help="calls in a repetition of `state`")
    parser.add_argument("--rounds", type=int, default=200, help="batches in a repetition of `states`")
    parser.add_argument("--steps", type=int, help="of an epoch (all), of the diffusion (200)")
    parser.add_argument("--schedule", default="exp")
    parser.add_argument("--diffuser", default="mlp1")
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--plain", action="store_true", help="sample step by step as the authors do")
    parser.add_argument("--all-positions", action="store_true")
    parser.add_argument("--scores", action="store_true", help="states and the scores of all items")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    args.batch = args.batch or (1000 if args.mode == "sample" else 256)
    args.drop, args.decay = 0.1, 0.0
    for name, value in train_recommender.DEFAULTS[args.model].items():
        if not hasattr(args, name):
            setattr(args, name, value)
    return args


def say(**line):
    print(json.dumps(line), flush=True)


class Both(torch.nn.Module):
    """States, or states and scores, as one module."""

    def __init__(self, model, scores):
        super().__init__()
        self.model, self.with_scores = model, scores

    def forward(self, histories, lengths):
        states = self.model(histories, lengths)
        return (states, self.model.scores(states)) if self.with_scores else states


def onnx_call(module, example, threads):
    """A function of tensors that runs the module in ONNX Runtime."""
    import onnxruntime

    file = io.BytesIO()
    dynamic = {"histories": {0: "n", 1: "count"}, "lengths": {0: "n"}}
    torch.onnx.export(module, example, file, input_names=["histories", "lengths"], dynamic_axes=dynamic, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    if len(session.get_inputs()) == 1:  # Caser has no use for lengths
        return lambda histories, lengths: session.run(None, {"histories": histories.numpy()})
    return lambda histories, lengths: session.run(None, {"histories": histories.numpy(), "lengths": lengths.numpy()})


def callable_of(args, model, example):
    module = Both(model, args.scores).eval()
    if args.runtime == "onnx":
        return onnx_call(module, example, args.threads)
    if args.runtime == "compiled":
        return torch.compile(module, dynamic=False)
    return module


def clock(call, *inputs):
    start = time.perf_counter()
    call(*inputs)
    return time.perf_counter() - start


def epoch(args, model, data):
    items = data["items"]
    train = train_recommender.tensors(data["train"], items)
    schedule = Schedule(args.schedule, 200) if isinstance(model, DreamRec) else None
    loss_of = train_recommender.objective(model, args, schedule)
    if args.check:
        model.eval()
        loss = loss_of(*(t[: args.batch] for t in train))
        loss.backward()
        norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
        return say(loss=loss.item(), gradient_norm=norm.item())
    model.train()
    optimiser = train_recommender.optimiser_of(model, args)

    def steps(count):
        batches = torch.randperm(len(train[0])).split(args.batch)[:count]
        for chosen in batches:
            optimiser.zero_grad()
            loss_of(*(t[chosen] for t in train)).backward()
            optimiser.step()
        return sum(map(len, batches))

    steps(20)
    for _ in range(args.repetitions):
        start = time.perf_counter()
        samples = steps(args.steps)
        seconds = time.perf_counter() - start
        say(samples_per_s=samples / seconds, seconds=seconds, samples=samples)


@torch.inference_mode()
def sample(args, model, histories, lengths):
    schedule = Schedule(args.schedule, args.steps or 200)
    guidance = model(histories[: args.batch], lengths[: args.batch])
    draw = lambda: (model.sample_plain if args.plain else model.sample)(guidance, schedule, args.guidance)
    draw()
    for _ in range(args.repetitions):
        seconds = clock(draw)
        say(samples_per_s=len(guidance) / seconds, oracles_per_s=len(guidance) / seconds, seconds=seconds)


def one_by_one(args, histories, lengths):
    """Inputs of batch 1 at their true length; compiled programs get one shape, padded."""
    whole = args.runtime == "compiled"
    return [(h[: None if whole else n].unsqueeze(0), n.view(1)) for h, n in zip(histories, lengths)]


@torch.inference_mode()
def state(args, model, histories, lengths):
    inputs = one_by_one(args, histories[:1000], lengths)
    call = callable_of(args, model, inputs[0])
    for one in inputs[:200]:
        call(*one)
    for _ in range(args.repetitions):
        taken = [clock(call, *inputs[i % len(inputs)]) * 1e6 for i in range(args.calls)]
        cuts = statistics.quantiles(taken, n=100)
        say(samples_per_s=1e6 / statistics.mean(taken), p50_us=cuts[49], p95_us=cuts[94], p99_us=cuts[98])


@torch.inference_mode()
def states(args, model, histories, lengths):
    batches = list(zip(histories.split(args.batch), lengths.split(args.batch)))[: max(1, len(histories) // args.batch)]
    call = callable_of(args, model, batches[0])
    for one in batches[:10]:
        call(*one)
    for _ in range(args.repetitions):
        chosen = [batches[i % len(batches)] for i in range(args.rounds)]
        start = time.perf_counter()
        for one in chosen:
            call(*one)
        seconds = time.perf_counter() - start
        say(samples_per_s=sum(len(lengths) for _, lengths in chosen) / seconds, seconds=seconds)


@torch.inference_mode()
def check(args, model, histories, lengths):
    histories, lengths = histories[: args.batch], lengths[: args.batch]
    args.scores = True
    inputs = one_by_one(args, histories, lengths) if args.mode == "state" else [(histories, lengths)]
    call = callable_of(args, model, inputs[0])
    found = zip(*(call(*one) for one in inputs))
    got, scores = (torch.cat([torch.as_tensor(value) for value in values]).double() for values in found)
    line = {"n": len(got)}
    for name, value in (("states", got), ("scores", scores)):
        line.update({f"{name}_sum": value.sum().item(), f"{name}_absolute": value.abs().sum().item()})
    line.update(first_state=got[0, :4].tolist(), best_items=scores.argmax(1)[:8].tolist())
    eager = model(histories, lengths)
    if args.runtime != "eager":
        line["states_from_eager"] = (got - eager).abs().max().item()
    say(**line)


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    with open(args.split) as file:
        data = json.load(file)
    if args.weights:
        model, _ = recommenders.load(args.weights, args.dropout)
        if not isinstance(model, recommenders.MODELS[args.model]) or model.items != data["items"]:
            raise SystemExit(f"{args.weights} holds {model.name} for {model.items} items, not {args.model} for {data['items']}")
    else:
        model = train_recommender.build(args, data["items"])
    if args.mode == "epoch":
        return epoch(args, model, data)
    model.eval()
    if args.mode == "sample" and not isinstance(model, DreamRec):
        raise SystemExit("only dreamrec samples")
    histories, lengths, _ = train_recommender.tensors(data["test"], data["items"])
    (check if args.check else {"sample": sample, "state": state, "states": states}[args.mode])(args, model, histories, lengths)


if __name__ == "__main__":
    main()
