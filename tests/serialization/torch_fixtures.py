"""Writes the files in tests/files/torch/ with PyTorch, which the project itself never needs:

python tests/files/torch_fixtures.py        # made with torch 2.13.0, CPU
"""

import argparse
import collections
from pathlib import Path

import torch

HERE = Path(__file__).parent / "torch"


class Tower(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 4, 2, bias=False)
        self.proj = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))

    def forward(self, x):
        return self.conv1(x)


class Both(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = Tower()
        self.logit_scale = torch.nn.Parameter(torch.tensor(4.5))
        self.sizes: list[int] = [3, 4]
        self.register_buffer("input_resolution", torch.tensor(224))

    def forward(self, x):
        return self.visual(x)


def numbers(kind):
    return torch.arange(6).reshape(2, 3).to(kind)


def values():
    """Every type; views of one storage; a number; nothing; a parameter."""
    shared = torch.arange(12.0)
    return collections.OrderedDict(
        [
            *((str(kind).removeprefix("torch."), numbers(kind)) for kind in (
                torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.uint8,
                torch.bool,
            )),
            ("transposed", shared.reshape(3, 4).T),
            ("every_other", shared[1::2]),
            ("expanded", torch.tensor([7.0]).expand(2, 3)),
            ("number", torch.tensor(2.5)),
            ("nothing", torch.zeros(0, 4)),
            ("parameter", torch.nn.Parameter(torch.tensor([1.0, -1.0]))),
        ]
    )  # fmt: skip


def detections():
    """What detectron2's COCOEvaluator saves as instances_predictions.pth: its own class numbers, from 0 on."""
    found = [(0, [10.0, 20.0, 30.0, 40.0], 0.9), (1, [5.5, 6.5, 10.0, 20.0], 0.75), (79, [1.0, 1.0, 2.0, 3.0], 0.5)]
    rows = [
        {"image_id": 42, "category_id": category, "bbox": box, "score": score,
         "segmentation": {"size": [4, 4], "counts": "04L0"}}
        for category, box, score in found
    ]  # fmt: skip
    return [{"image_id": 42, "instances": rows}, {"image_id": 43, "instances": []}]


def main():
    HERE.mkdir(exist_ok=True)
    torch.save(detections(), HERE.parent / "detectron2" / "instances_predictions.pth")
    torch.manual_seed(0)
    torch.save(values(), HERE / "values.pth")
    torch.save(values(), HERE / "values_legacy.pth", _use_new_zipfile_serialization=False)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(torch.ones(1, 1, 2, 2)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])
    checkpoint = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": schedule.state_dict(),
        "epoch": 3,
        "args": argparse.Namespace(lr=1e-3, device="cpu", layers=[1, 2]),
    }
    torch.save(checkpoint, HERE / "checkpoint.pth")
    both = Both()
    with torch.no_grad():
        both.visual.conv1.weight.copy_(torch.arange(48.0).reshape(4, 3, 2, 2))
    torch.jit.script(both).half().save(str(HERE / "scripted.pt"))


if __name__ == "__main__":
    main()
