"""Times a recommender in PyTorch or ONNX Runtime: training, sampling, and states.

  epoch    trains for one epoch, or --steps steps (20 before, not timed)
  sample   DreamRec: draws --batch oracles with --steps steps of diffusion
  state    one history, one state, for --seconds
  states   --batch histories at once, for --seconds

Inputs are tensors before the clock starts, which favours this side. With --scores the product with all items belongs to the work.
Histories are those of the split's test part (of the training part in `epoch`), in file order; `state` runs them at their true
length. As many positions are looked at as the weights are for.

The check gives sums over the states and scores of the first --batch test histories (in `state` taken one by one), to be compared
with the other program's; in `epoch` the loss and the gradient norm of the first --batch training sequences without dropout.
DreamRec's loss and oracles are drawn at random, so its check is always of its states, which guide them.
"""

import argparse
import io
import json
import time
import warnings

import torch

import pace
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
    parser.add_argument("--batch", type=int, help="samples at once: 256, oracles: 1000")
    parser.add_argument("--seconds", type=float, default=1, help="of a repetition of `state` and `states`")
    parser.add_argument("--steps", type=int, help="of an epoch (all), of the diffusion (200)")
    parser.add_argument("--schedule", default="exp")
    parser.add_argument("--diffuser", default="mlp1")
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--plain", action="store_true", help="sample step by step as the authors do")
    parser.add_argument("--all-positions", action="store_true")
    parser.add_argument("--scores", action="store_true", help="states and the scores of all items")
    pace.arguments(parser)
    args = parser.parse_args()
    args.batch = args.batch or (1000 if args.mode == "sample" else 256)
    args.drop, args.decay = 0.1, 0.0
    for name, value in train_recommender.DEFAULTS[args.model].items():
        if not hasattr(args, name):
            setattr(args, name, value)
    return args


class Encoder(torch.nn.Module):
    """States, or states and scores, as one module: a tuple of tensors."""

    def __init__(self, model, scores):
        super().__init__()
        self.model, self.with_scores = model, scores

    def forward(self, histories, lengths):
        states = self.model(histories, lengths)
        return (states, self.model.scores(states)) if self.with_scores else (states,)


def onnx_call(module, example, threads):
    """A function of tensors that runs the module in ONNX Runtime."""
    import onnxruntime

    file = io.BytesIO()
    dynamic = {"histories": {0: "n", 1: "count"}, "lengths": {0: "n"}}
    with warnings.catch_warnings(action="ignore"):  # of what the check shows to be right
        torch.onnx.export(module, example, file, input_names=["histories", "lengths"], dynamic_axes=dynamic, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    if len(session.get_inputs()) == 1:  # Caser has no use for lengths
        return lambda histories, lengths: session.run(None, {"histories": histories.numpy()})
    return lambda histories, lengths: session.run(None, {"histories": histories.numpy(), "lengths": lengths.numpy()})


def runtime(args, model, example):
    """The name of the peer, and a function of histories and lengths."""
    module = Encoder(model, args.scores).eval()
    if args.runtime == "onnx":
        import onnxruntime

        return f"ONNX Runtime {onnxruntime.__version__}", onnx_call(module, example, args.threads)
    if args.runtime == "compiled":
        return f"PyTorch {torch.__version__}, compiled", torch.compile(module, dynamic=False)
    return f"PyTorch {torch.__version__}", module


def sums(model, outputs):
    """Figures of what an encoder gave for a list of batches: sums, and sums of absolute values, over states and scores."""
    parts = [torch.cat([torch.as_tensor(value) for value in values]) for values in zip(*outputs)]
    line = {"n": len(parts[0])}
    if not isinstance(model, DreamRec):
        parts = parts if len(parts) == 2 else parts + [model.scores(parts[0])]
    for name, value in zip(("states", "scores"), parts):
        line.update({f"{name}_sum": value.double().sum().item(), f"{name}_absolute": value.double().abs().sum().item()})
    return line


def epoch(args, model, data):
    train = train_recommender.tensors(data["train"], model)
    schedule = Schedule(args.schedule, 200) if isinstance(model, DreamRec) else None
    loss_of = train_recommender.objective(model, args, schedule)
    optimiser = train_recommender.optimiser_of(model, args)

    def check():
        model.eval()
        if isinstance(model, DreamRec):
            return test_sums(args, model, data)
        loss = loss_of(*(t[: args.batch] for t in train))
        loss.backward()
        norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
        return {"samples": args.batch, "loss": loss.item(), "gradient_norm": norm.item()}

    def steps(count):
        model.train()
        batches = torch.randperm(len(train[0])).split(args.batch)[:count]
        for chosen in batches:
            optimiser.zero_grad()
            loss_of(*(t[chosen] for t in train)).backward()
            optimiser.step()
        return sum(map(len, batches))

    def repeat():
        start = time.perf_counter()
        samples = steps(args.steps)
        seconds = time.perf_counter() - start
        return {"samples_per_s": samples / seconds, "seconds": seconds}

    pace.run(args, f"PyTorch {torch.__version__}", check, repeat, lambda: steps(20))


@torch.inference_mode()
def test_sums(args, model, data):
    histories, lengths, _ = train_recommender.tensors(data["test"][: args.batch], model)
    return sums(model, [(model(histories, lengths),)])


@torch.inference_mode()
def sample(args, model, data):
    histories, lengths, _ = train_recommender.tensors(data["test"][: args.batch], model)
    schedule = Schedule(args.schedule, args.steps or 200)
    guidance = model(histories, lengths)
    draw = model.sample_plain if args.plain else model.sample

    def repeat():
        start = time.perf_counter()
        draw(guidance, schedule, args.guidance)
        seconds = time.perf_counter() - start
        return {"samples_per_s": len(guidance) / seconds, "seconds": seconds}

    way = "the authors' way" if args.plain else "rearranged"
    pace.run(args, f"PyTorch {torch.__version__}, {way}", lambda: sums(model, [(guidance,)]), repeat, repeat)


@torch.inference_mode()
def states(args, model, data):
    histories, lengths, _ = train_recommender.tensors(data["test"], model)
    if args.mode == "states":
        inputs = list(zip(histories.split(args.batch), lengths.split(args.batch)))[: len(histories) // args.batch]
        if not inputs:
            raise SystemExit(f"{args.split} has {len(histories)} histories to test with: too few for a batch of {args.batch}")
        first = inputs[:1]
    else:
        # At their true length; compiled programs get one shape, padded.
        whole = args.runtime == "compiled"
        inputs = [(h[: None if whole else n].unsqueeze(0), n.view(1)) for h, n in zip(histories[:1000], lengths)]
        first = inputs[: args.batch]
    peer, call = runtime(args, model, first[0])
    pace.run(args, peer, lambda: sums(model, [call(*one) for one in first]), lambda: pace.calls(call, inputs, args.seconds),
             lambda: pace.calls(call, inputs, args.seconds / 2))


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
        model = train_recommender.build(args, data["items"]).eval()
    if args.mode == "sample" and not isinstance(model, DreamRec):
        raise SystemExit("only dreamrec samples")
    {"epoch": epoch, "sample": sample, "state": states, "states": states}[args.mode](args, model, data)


if __name__ == "__main__":
    main()
