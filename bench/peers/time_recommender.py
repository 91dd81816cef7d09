"""Times a recommender in PyTorch or ONNX Runtime: training, sampling, and states.

  epoch    trains for one epoch, or --steps steps (20 before, not timed), of whole batches
  sample   DreamRec: draws --batch oracles
  state    one history, one state, for --seconds
  states   --batch histories at once, for --seconds

Inputs are tensors before the clock starts, which favours this side. Histories are those of the split's test part (of the training
part in `epoch`), in file order; `state` runs them at their true length. As many positions are looked at as the weights are for.

The check gives sums over the states of the first --batch test histories (in `state` taken one by one), to be compared with the
other program's: weighted 1 to 7 in turn, since what leaves a normalisation sums to nothing. In `epoch` it is the loss and the gradient
norm of the first --batch training sequences without dropout. DreamRec's loss and oracles are drawn at random, and so are negatives:
the check is then of states.
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
import trial

TRAINING = ("eager", "compiled")  # the variants of PyTorch that can train


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("epoch", "sample", "state", "states"))
    parser.add_argument("split", help="JSON file with items, train, validation, test")
    parser.add_argument("--model", choices=recommenders.MODELS, required=True)
    parser.add_argument("--weights", required=True, help="safetensors file")
    trial.arguments(parser, ("eager", "compiled", "onnx"))
    parser.add_argument("--batch", type=int, help="samples at once: 256, oracles: 1000")
    parser.add_argument("--seconds", type=float, default=1, help="of a repetition of `state` and `states`")
    parser.add_argument("--steps", type=int, help="of an epoch, in place of all")
    parser.add_argument("--negatives", type=int, default=0, help="of each target, in `epoch`: binary cross-entropy in place of a softmax")
    parser.add_argument("--calibration", type=float, default=0.0, help="t of gBCE")
    parser.add_argument("--plain", action="store_true", help="sample step by step as the authors do")
    pace.arguments(parser)
    args = parser.parse_args()
    args.batch = args.batch or (1000 if args.mode == "sample" else 256)
    if args.mode != "epoch":
        args.variant = args.variant or "eager"
    elif args.variant not in (None, *TRAINING):
        parser.error(f"{args.variant} does not train; what does: {', '.join(TRAINING)}")
    # What else a training needs to know.
    vars(args).update(train_recommender.DEFAULTS[args.model], drop=0.1, decay=0.0, all_positions=False, mask_ratio=0.0)
    return args


def onnx_call(model, example, threads):
    """A function of tensors that runs the model in ONNX Runtime."""
    import onnxruntime

    file = io.BytesIO()
    dynamic = {"histories": {0: "n", 1: "count"}, "lengths": {0: "n"}}
    with warnings.catch_warnings(action="ignore"):  # of what the check shows to be right
        torch.onnx.export(model, example, file, input_names=["histories", "lengths"], dynamic_axes=dynamic, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    if len(session.get_inputs()) == 1:  # Caser has no use for lengths
        return lambda histories, lengths: session.run(None, {"histories": histories.numpy()})[0]
    return lambda histories, lengths: session.run(None, {"histories": histories.numpy(), "lengths": lengths.numpy()})[0]


def runtime(args, model, example):
    """The name of the peer, and a function of histories and lengths that gives states."""
    if args.variant == "onnx":
        import onnxruntime

        return f"ONNX Runtime {onnxruntime.__version__}", onnx_call(model, example, args.threads)
    if args.variant == "compiled":
        return f"PyTorch {torch.__version__}, compiled", torch.compile(model, dynamic=False)
    return f"PyTorch {torch.__version__}", model


def sums(batches):
    """Figures of the check, of states that are given batch by batch."""
    states = torch.cat([torch.as_tensor(states) for states in batches]).double()
    weighted = states.flatten() * (1 + torch.arange(states.numel()) % 7)
    return {"n": len(states), "states_sum": weighted.sum().item(), "states_absolute": weighted.abs().sum().item()}


def histories_of(args, model, data):
    """Histories and lengths of the test part, which begins anew where it has fewer than --batch."""
    test = data["test"] * -(-args.batch // len(data["test"]))
    return train_recommender.tensors(test, model)[:2]


def epoch(args, model, data, schedule):
    report = None
    if not args.variant:
        args.variant, report = trial.fastest(TRAINING, tolerance=0.1)  # of a loss with dropout
    train = train_recommender.tensors(data["train"], model)
    loss_of = train_recommender.objective(model, args, schedule)
    optimiser = train_recommender.optimiser_of(model, args)
    if args.variant == "compiled":
        loss_of = torch.compile(loss_of, dynamic=False)

    def check():
        if schedule or args.negatives:  # the loss is drawn at random
            return first_sums(args, model, data)
        loss = loss_of(*(t[: args.batch] for t in train))
        loss.backward()
        norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
        return {"samples": args.batch, "loss": loss.item(), "gradient_norm": norm.item()}

    def step(chosen):
        optimiser.zero_grad()
        loss = loss_of(*(t[chosen] for t in train))
        loss.backward()
        optimiser.step()
        return loss.item()

    def steps(count):
        """Whole batches alone: a short one would be compiled anew, and the other program does not count it either."""
        model.train()
        whole = len(train[0]) // args.batch
        batches = torch.randperm(len(train[0])).split(args.batch)[:whole][:count]
        for chosen in batches:
            step(chosen)
        return sum(map(len, batches))

    def repeat():
        start = time.perf_counter()
        samples = steps(args.steps)
        seconds = time.perf_counter() - start
        return {"samples_per_s": samples / seconds, "seconds": seconds}

    def warm_up():
        steps(20)
        torch.compiler.set_stance("fail_on_recompile")

    if args.trial:
        model.train()
        return trial.measure(lambda: (lambda: step(torch.arange(args.batch)), args.batch))
    pace.run(args, f"PyTorch {torch.__version__}, {args.variant}", check, repeat, warm_up, report)


@torch.inference_mode()
def first_sums(args, model, data):
    histories, lengths = histories_of(args, model, data)
    return sums([model(histories[: args.batch], lengths[: args.batch])])


@torch.inference_mode()
def sample(args, model, data, schedule, weight):
    histories, lengths = histories_of(args, model, data)
    guidance = model(histories[: args.batch], lengths[: args.batch])
    draw = model.sample_plain if args.plain else model.sample

    def repeat():
        start = time.perf_counter()
        draw(guidance, schedule, weight)
        seconds = time.perf_counter() - start
        return {"samples_per_s": len(guidance) / seconds, "seconds": seconds}

    way = "the authors' way" if args.plain else "rearranged"
    pace.run(args, f"PyTorch {torch.__version__}, {way}", lambda: sums([guidance]), repeat, repeat)


@torch.inference_mode()
def states(args, model, data):
    histories, lengths = histories_of(args, model, data)
    if args.mode == "states":
        inputs = list(zip(histories.split(args.batch), lengths.split(args.batch)))[: len(histories) // args.batch]
        first = inputs[:1]
    else:
        # At their true length; compiled programs get one shape, padded.
        whole = args.variant == "compiled"
        inputs = [(h[: None if whole else n].unsqueeze(0), n.view(1)) for h, n in zip(histories[:1000], lengths)]
        first = inputs[: args.batch]
    peer, call = runtime(args, model, first[0])
    pace.run(args, peer, lambda: sums([call(*one) for one in first]), lambda: pace.calls(call, inputs, args.seconds),
             lambda: pace.calls(call, inputs, args.seconds / 2))


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    with open(args.split) as file:
        data = json.load(file)
    model, metadata = recommenders.load(args.weights, args.dropout)
    if not isinstance(model, recommenders.MODELS[args.model]) or model.items != data["items"]:
        raise SystemExit(f"{args.weights} holds {model.name} for {model.items} items, not {args.model} for {data['items']}")
    schedule = None
    if args.model == "dreamrec":
        schedule = recommenders.Schedule(metadata["beta_schedule"], int(metadata["timesteps"]))
    elif args.mode == "sample":
        raise SystemExit("only dreamrec samples")
    if args.mode == "epoch":
        epoch(args, model, data, schedule)
    elif args.mode == "sample":
        sample(args, model, data, schedule, float(metadata["guidance_w"]))
    else:
        states(args, model, data)


if __name__ == "__main__":
    main()
