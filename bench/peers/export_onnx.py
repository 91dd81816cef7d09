"""Exports recommenders with random weights to ONNX, and writes what PyTorch computes of some histories beside each: export_onnx.py FOLDER."""

import pathlib
import sys

import torch
from safetensors.torch import save_file

import recommenders

ITEMS, HISTORIES = 50, 33


class Encoder(torch.nn.Module):
    """A recommender with the inputs and outputs that `recint recommender import` knows."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, items, length):
        states = self.model(items, length)
        return states, self.model.scores(states)


def export(name, folder):
    torch.manual_seed(1)
    encoder = Encoder(getattr(recommenders, name)(ITEMS, spread=1.0)).eval()
    length = torch.arange(HISTORIES) % recommenders.POSITIONS + 1
    items = torch.randint(ITEMS, (HISTORIES, recommenders.POSITIONS))
    items[torch.arange(recommenders.POSITIONS) >= length[:, None]] = ITEMS  # padding
    batch = {0: torch.export.Dim.DYNAMIC}
    torch.onnx.export(encoder, (items, length), folder / f"{name}.onnx", input_names=["items", "length"], output_names=["states", "scores"],
                      dynamic_shapes={"items": batch, "length": batch}, dynamo=True, external_data=False, verbose=False)
    with torch.no_grad():
        states, scores = encoder(items, length)
    save_file({"items": items, "length": length, "states": states, "scores": scores.contiguous()}, folder / f"{name}.safetensors")


if __name__ == "__main__":
    for name in ("GRU4Rec", "SASRec"):
        export(name, pathlib.Path(sys.argv[1]))
