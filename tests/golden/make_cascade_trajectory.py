"""Makes cascade_trajectory.npz: 20 updates of C-HOI's relation training by its authors' code.

    python -m tests.golden.make_cascade_trajectory CHECKOUT tests/golden/cascade_trajectory.npz

CHECKOUT is a work tree of https://github.com/tfzhou/C-HOI, branch pytorch-1.5, at commit 3701f38. Needs PyTorch (made
with 2.13.0 on a CPU) and NumPy. What runs is theirs: `CascadeRCNNRel._rel_forward_train` (pairs of annotated boxes,
their targets, the 28 numbers), NonLocal2D, ReldnHead with its loss, `build_optimizer` with the detector frozen,
`parse_losses`.

What does not run is everything below it: RoIAlign, suppression and the deformable convolutions of mmdetection 1.0rc0
are extensions for CUDA and for a PyTorch of 2019. In phase 2 all of the detector is frozen anyway, so the features of a
box are a rule: sines of its corners (`feature_rule`). Ours are also the rule-made weights and boxes, the learning rate
of mmcv 0.4's hooks (linear warm-up, steps by epoch) written out, and stand-ins for mmcv, cv2 and the parts of mmdet
that nothing here calls; "cpu" for a device number, and in the float64 run double for torch.FloatTensor.
"""

import argparse
import importlib
import json
import os
import sys
import types
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

COMMIT = "3701f38b1b74cfae400da5e41cd6f4fd5bc8d75b"
PREFIX = "cascade_trajectory/"
META: dict[str, Any] = dict(
    source="github.com/tfzhou/C-HOI, branch pytorch-1.5", commit=COMMIT, name_prefix=PREFIX, channels=8, size=3,
    outputs=11, width=1024, image_hw=(480, 640), updates=20, updates_per_epoch=3, images_per_update=2,
    learning_rate=0.02, momentum=0.9, weight_decay=1e-4, clip_norm=0.8, warmup_steps=4, warmup_start=1 / 3,
    step_epochs=(3, 5), step_factor=0.1, kept_of_parameters=16, kept_updates=(1, 5, 10, 20),
)  # fmt: skip
"""Rate, momentum, decay, warm-up's start and the epochs of the steps are the authors'; the norm at which gradients are
cut is lower (theirs: 35), so that it is reached."""
PACKAGES = (
    "mmdet", "mmdet.models", "mmdet.models.detectors", "mmdet.models.rel_heads", "mmdet.models.losses",
    "mmdet.models.plugins", "mmdet.models.utils", "mmdet.core", "mmdet.core.rel", "mmdet.core.bbox", "mmdet.apis",
)  # fmt: skip
STANDINS = (
    "mmcv", "mmcv.cnn", "mmcv.parallel", "mmcv.runner", "cv2", "mmdet.datasets", "mmdet.apis.env",
    "mmdet.models.builder", "mmdet.models.detectors.base", "mmdet.models.detectors.test_mixins",
)  # fmt: skip


def random(name: str, prefix: str = PREFIX) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32((prefix + name).encode()))


def weight(name: str, shape: tuple[int, ...], prefix: str = PREFIX) -> np.ndarray:
    """Rule-made parameter by its official name, float32."""
    n = random(name, prefix).standard_normal(shape)
    scale = 0.05 if len(shape) < 2 else 1 / np.sqrt(np.prod(shape[1:]))
    return (scale * n).astype(np.float32)


def feature_rule(channels: int, size: int, prefix: str = PREFIX) -> tuple[np.ndarray, np.ndarray]:
    """Features of a box: sin(frequency . corners / 100 + phase), [channels, size, size, 4] and [channels, size, size].

    Both are float32.
    """
    shape = (channels, size, size)
    frequency = 0.5 * random("frequency", prefix).standard_normal((*shape, 4))
    return frequency.astype(np.float32), random("phase", prefix).standard_normal(shape).astype(np.float32)


def example(number: int) -> dict[str, np.ndarray]:
    """An image's boxes [n, 4] of whole pixels, labels [n] from 1 (1 = person), relations [k, 3]: subject, object, verb
    from 1. Boxes lie in cells of their own, so that none shows another."""
    rng = random(f"example/{number}")
    count = int(rng.integers(4, 8))
    cells = rng.permutation(12)[:count]
    low = np.stack([cells % 4 * 160, cells // 4 * 160], axis=1) + rng.integers(0, 30, (count, 2))
    boxes = np.concatenate([low, low + rng.integers(40, 130, (count, 2))], axis=1)
    labels = np.where(np.arange(count) < 2 + number % 2, 1, rng.integers(2, 12, count))
    people = np.flatnonzero(labels == 1)
    rows = [(s, o) for s in people for o in range(count) if s != o]
    chosen = rng.choice(len(rows), min(4, len(rows)), replace=False)
    relations = [(*rows[i], int(v)) for i in chosen for v in rng.choice(10, 1 + i % 2, replace=False) + 1]
    return {"boxes": boxes.astype(np.float32), "labels": labels, "relations": np.array(relations)}


def images_of(update: int, meta: Mapping[str, Any] = META) -> list[int]:
    """Numbers of the images of an update: all in turn, epoch after epoch."""
    size = meta["images_per_update"]
    return [(update % meta["updates_per_epoch"]) * size + i for i in range(size)]


def learning_rate(update: int) -> float:
    """mmcv 0.4's linear warm-up and steps by epoch."""
    rate = META["learning_rate"] * META["step_factor"] ** sum(
        update // META["updates_per_epoch"] >= epoch for epoch in META["step_epochs"]
    )
    if update < META["warmup_steps"]:
        rate *= 1 - (1 - update / META["warmup_steps"]) * (1 - META["warmup_start"])
    return rate


def authors_modules(checkout: Path) -> types.SimpleNamespace:
    """Their classes and functions, without running the packages' own __init__ files."""
    for name in [n for n in sys.modules if n.split(".")[0] in ("mmdet", "mmcv")]:
        del sys.modules[name]
    for name in PACKAGES:
        package = types.ModuleType(name)
        package.__path__ = [str(checkout / name.replace(".", "/"))]
        sys.modules[name] = package
    for name in STANDINS:
        sys.modules[name] = mock.MagicMock(name=name)

    def identity(*arguments: Any, **_: Any) -> Any:
        return arguments[0] if arguments and callable(arguments[0]) else lambda x: x

    registry = types.SimpleNamespace(register_module=identity)
    sys.modules["mmdet.models.registry"] = types.SimpleNamespace(  # type: ignore[assignment]
        **dict.fromkeys(("HEADS", "DETECTORS", "LOSSES"), registry)
    )
    base, mixins = (
        types.SimpleNamespace(BaseDetector=type("B", (), {})),
        types.SimpleNamespace(RPNTestMixin=type("M", (), {})),
    )
    sys.modules["mmdet.models.detectors.base"] = base  # type: ignore[assignment]
    sys.modules["mmdet.models.detectors.test_mixins"] = mixins  # type: ignore[assignment]
    sys.modules["mmcv.runner"] = types.SimpleNamespace(  # type: ignore[assignment]
        DistSamplerSeedHook=None, Runner=None,
        obj_from_dict=lambda info, parent, default: getattr(parent, info.pop("type"))(**info, **default),
    )  # fmt: skip
    core: Any = sys.modules["mmdet.core"]
    missing = (
        "bbox2result", "build_assigner", "build_sampler", "merge_aug_masks", "bbox_mapping", "merge_aug_bboxes",
        "multiclass_nms", "CocoDistEvalmAPHook", "CocoDistEvalRecallHook", "DistEvalmAPHook", "DistOptimizerHook",
        "Fp16OptimizerHook", "xywh_x1y1x2y2",
    )  # fmt: skip
    for name in missing:
        setattr(core, name, None)
    core.force_fp32 = identity
    geometry = importlib.import_module("mmdet.core.bbox.geometry")
    core.bbox_overlaps, core.bbox_union = geometry.bbox_overlaps, geometry.bbox_union
    transforms = importlib.import_module("mmdet.core.bbox.transforms")
    core.bbox2delta, core.bbox2c, core.bbox2roi = transforms.bbox2delta, transforms.bbox2c, transforms.bbox2roi
    sample = importlib.import_module("mmdet.core.rel.rel_sample")
    for name in ("sample_pairs", "get_spatial_feature", "assign_pairs"):
        setattr(core, name, getattr(sample, name))
    losses: Any = sys.modules["mmdet.models.losses"]
    accuracy = importlib.import_module("mmdet.models.losses.accuracy")
    losses.accuracy, losses.recall_topk = accuracy.accuracy, accuracy.recall_topk
    losses.ReldnBCELoss = importlib.import_module("mmdet.models.losses.rel_loss").ReldnBCELoss
    builder: Any = sys.modules["mmdet.models.builder"]
    builder.build_loss = lambda settings: losses.ReldnBCELoss(use_sigmoid=settings["use_sigmoid"])
    sys.modules["mmdet.models"].builder = builder  # type: ignore[attr-defined]
    utils: Any = sys.modules["mmdet.models.utils"]
    utils.ConvModule = importlib.import_module("mmdet.models.utils.conv_module").ConvModule
    plugins: Any = sys.modules["mmdet.models.plugins"]
    plugins.NonLocal2D = importlib.import_module("mmdet.models.plugins.non_local").NonLocal2D
    sys.modules["mmdet.models"].RPN = None  # type: ignore[attr-defined]
    sys.modules["mmdet"].datasets = sys.modules["mmdet.datasets"]  # type: ignore[attr-defined]
    training = importlib.import_module("mmdet.apis.train")
    return types.SimpleNamespace(
        NonLocal2D=plugins.NonLocal2D,
        ReldnHead=importlib.import_module("mmdet.models.rel_heads.reldn_head").ReldnHead,
        forward=importlib.import_module("mmdet.models.detectors.cascade_rcnn_rel").CascadeRCNNRel._rel_forward_train,
        build_optimizer=training.build_optimizer,
        parse_losses=training.parse_losses,
    )


def run(checkout: Path, double: bool) -> dict[str, np.ndarray]:
    """One run: terms of the loss and gradient norm of every update, and what is kept of the parameters."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    dtype = torch.float64 if double else torch.float32
    theirs = authors_modules(checkout)
    frequency, phase = (torch.tensor(x, dtype=dtype) for x in feature_rule(META["channels"], META["size"]))

    class Extractor:
        featmap_strides = (4, 8, 16, 32)

        def __call__(self, levels, rois):
            return torch.sin(torch.einsum("nj,cyxj->ncyx", rois[:, 1:] / 100, frequency) + phase)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            channels = META["channels"]
            self.sa = theirs.NonLocal2D(in_channels=channels)
            self.reldn_head = theirs.ReldnHead(
                dim_in=channels * META["size"] ** 2 * 3, num_prd_classes=META["outputs"], use_freq_bias=True,
                use_spatial_feat=True, add_so_scores=True, add_scores_all=False, mode="hoiw",
            )  # fmt: skip
            self.bbox_roi_extractor = [Extractor()]

    folder = os.getcwd()
    os.chdir(checkout)  # The head reads its table of frequencies from there.
    model = Model().to(dtype)
    os.chdir(folder)
    names = [n for n, _ in model.named_parameters() if "rel_baseline" not in n]
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in names:
            parameters[name].copy_(torch.tensor(weight(name, tuple(parameters[name].shape))))
    settings = dict(type="SGD", lr=META["learning_rate"], momentum=META["momentum"], weight_decay=META["weight_decay"])
    optimizer = theirs.build_optimizer(model, settings, freeze_htc=True)
    out: dict[str, list[Any]] = {"loss_cls": [], "loss_spt": [], "gradient_norm": []}
    kept: dict[str, np.ndarray] = {}
    double_tensor = mock.patch.object(torch, "FloatTensor", torch.DoubleTensor if double else torch.FloatTensor)
    with double_tensor, mock.patch.object(torch, "get_device", lambda tensor: tensor.device):
        for update in range(META["updates"]):
            terms: dict[str, Any] = {}
            for number in images_of(update):
                image = example(number)
                count = len(image["labels"])
                found = theirs.forward(
                    model, [None] * 4, gt_bboxes=torch.tensor(image["boxes"], dtype=dtype),
                    gt_labels=torch.tensor(image["labels"]), gt_rel=torch.tensor(image["relations"]),
                    gt_instid=torch.arange(count), rel_train_cfg=None, im_width=META["image_hw"][1],
                    im_height=META["image_hw"][0],
                )  # fmt: skip
                for name, value in found.items():
                    terms[name] = terms.get(name, 0) + value
            terms = {f"rel.{name}": value / META["images_per_update"] for name, value in terms.items()}
            loss, logged = theirs.parse_losses(terms)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(update)
            optimizer.zero_grad()
            loss.backward()
            trained = [p for p in model.parameters() if p.requires_grad and p.grad is not None]
            norm = nn.utils.clip_grad_norm_(trained, max_norm=META["clip_norm"], norm_type=2)
            optimizer.step()
            out["loss_cls"].append(logged["rel.loss_cls"])
            out["loss_spt"].append(logged["rel.loss_spt"])
            out["gradient_norm"].append(float(norm))
            if update + 1 in META["kept_updates"]:
                for name in names:
                    values = parameters[name].detach().numpy().astype(np.float64).ravel()
                    kept[f"after{update + 1}/{name}"] = values[:: max(len(values) // META["kept_of_parameters"], 1)]
                    kept[f"norm{update + 1}/{name}"] = np.linalg.norm(values)
    shapes = {name: list(parameters[name].shape) for name in names}
    return {**{name: np.array(values) for name, values in out.items()}, **kept, "shapes": shapes}  # type: ignore[dict-item]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    checkout = options.checkout.resolve()
    arrays: dict[str, Any] = {}
    for kind in ("float32", "float64"):
        with mock.patch.object(sys, "path", [str(checkout), *sys.path]):
            found = run(checkout, kind == "float64")
        META["shapes"] = found.pop("shapes")
        arrays |= {f"{kind}/{name}": np.asarray(value) for name, value in found.items()}
    for number in range(META["updates_per_epoch"] * META["images_per_update"]):
        arrays |= {f"example{number}/{name}": values for name, values in example(number).items()}
    arrays["learning_rate"] = np.array([learning_rate(update) for update in range(META["updates"])])
    np.savez_compressed(options.target, allow_pickle=False, meta_json=json.dumps(META), **arrays)
    drift = np.abs(arrays["float32/loss_cls"] / arrays["float64/loss_cls"] - 1)
    print(f"{options.target}: losses {arrays['float64/loss_cls'].round(4)}, float32 off by {drift.max():.1e}")


if __name__ == "__main__":
    main()
