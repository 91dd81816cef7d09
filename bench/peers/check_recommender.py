"""Holds the peers' recommenders against the reference numbers: prints the largest differences, and fails where one is above
its tolerance (scores 2e-4, hidden states 2e-5, DreamRec 1e-4 relative to the largest value).

FOLDER holds pairs NAME.safetensors, NAME.expected.safetensors.
"""

import argparse
import json
import os
import sys

import torch
from safetensors.torch import load_file
from torch.nn import functional as F

import recommenders
from recommenders import Schedule

SCORES, HIDDEN, RELATIVE = 2e-4, 2e-5, 1e-4
PLAIN = ("GRU_movielens", "Caser_movielens", "SASRec_movielens")
DREAM = ("DreamRec_linear_mlp1", "DreamRec_exp_mlp2")


def plain(folder, name):
    """Differences of scores and states, as {what: (difference, tolerance)}."""
    model, _ = recommenders.load(os.path.join(folder, name + ".safetensors"))
    expected = load_file(os.path.join(folder, name + ".expected.safetensors"))
    lengths = expected["len"].long()
    histories = expected["seq"].long()
    states = model(histories, lengths)
    found = {"scores": ((model.scores(states) - expected["scores"]).abs().max().item(), SCORES)}
    if "hidden" in expected:
        found["hidden"] = ((states - expected["hidden"]).abs().max().item(), HIDDEN)
    # Histories without their padding, one by one, and the states at all positions must say the same.
    alone = torch.cat([model(row[:length].unsqueeze(0), length.view(1)) for row, length in zip(histories, lengths)])
    found["alone"] = ((alone - states).abs().max().item(), HIDDEN)
    with torch.enable_grad():  # as in training, where the convolutions go another way
        found["training"] = ((model(histories, lengths).detach() - states).abs().max().item(), HIDDEN)
    if hasattr(model, "all_states"):
        every = model.all_states(histories)[recommenders.rows(len(histories), lengths - 1)]
        found["all_positions"] = ((every - states).abs().max().item(), HIDDEN)
    return found


def dream(folder, name):
    model, metadata = recommenders.load(os.path.join(folder, name + ".safetensors"))
    expected = load_file(os.path.join(folder, name + ".expected.safetensors"))
    schedule = Schedule(metadata["beta_schedule"], int(metadata["timesteps"]))
    weight, step = float(metadata["guidance_w"]), expected["step"].long()
    guidance = model(expected["seq"].long(), expected["len"].long())
    x0 = model.item_embeddings(expected["target"].long())
    noisy = schedule.diffuse(x0, step, expected["noise"])
    conditional = model.denoise(noisy, guidance, step)
    got = {
        "betas": schedule.betas, "guidance": guidance, "x_noisy": noisy, "x0_conditional": conditional,
        "x0_unconditional": model.denoise(noisy, model.none_embedding.weight.expand_as(noisy), step),
        "loss_mse": F.mse_loss(conditional, x0).view(1),
    }
    for sampler in ("sample_plain", "sample"):
        draws = iter(expected["sample_noise"])
        oracle = getattr(model, sampler)(guidance, schedule, weight, lambda _: next(draws))
        got[sampler] = oracle
    got["scores"] = oracle @ model.item_embeddings.weight.T
    expected.update(sample=expected["oracle"], sample_plain=expected["oracle"])
    relative = lambda name: ((got[name] - expected[name]).abs().max() / expected[name].abs().max()).item()
    return {name: (relative(name), RELATIVE) for name in got}


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("folder", help="folder of the reference files")
    args = parser.parse_args()
    torch.set_num_threads(1)
    failed = False
    for names, compare in ((PLAIN, plain), (DREAM, dream)):
        for name in names:
            found = compare(args.folder, name)
            worst = [what for what, (difference, tolerance) in found.items() if not difference <= tolerance]
            print(json.dumps({"reference": name, **{what: float(f"{d:.2e}") for what, (d, _) in found.items()}, "failed": worst}))
            failed |= bool(worst)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
