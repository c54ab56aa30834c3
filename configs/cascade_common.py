"""Shared parts of the cascade's configs on real datasets: sizes, schedules, switches of Tables 4 to 8, the release.

`preset=release` sets the values of the authors' code (C-HOI, branch pytorch-1.5, its HOI-W detector with relations; on
PIC the same with features of 14 x 14):

    one relation network, after the last stage, without features of an earlier one; weight 1
    training on all pairs of annotated boxes and none of detected ones; boxes match with an IoU of 0.5
    28 numbers instead of maps, through two layers of 64; the table of frequencies instead of a learned semantic stream
    a non-local block instead of Eqs. 5 to 7; no faces, no ranking; a column for "no relation"
    the mean probability of three visual classifiers, with one loss; every image has the same weight
    the mean of the stages' class logits, the best 100 boxes of at least 0.05; verbs for all pairs of boxes of 0.4
    SGD of 0.02 for 8 images with a warm-up from a third, drops after epochs 3 and 5 of 7, gradients clipped at norm 35

It differs from the release in the following, which are defects there or have no setting here. The release's non-local
block multiplies instead of dividing (as `relation.mining="nonlocal_inverted"` does) and is omitted in prediction; in
prediction, boxes in pixels of the original image are pooled from maps of the resized one; in a batch of several images
all features come from the first; boxes are a pixel wider (x2 - x1 + 1) and RoIAlign samples are shifted by half a cell;
hidden layers have PyTorch's initialisation instead of He's; class layers of the detector have 100 times the learning
rate in its phase 1; verbs of at most 0.01 are dropped (and on PIC all but the five best of a pair). PIC's semantic
branch and deformable convolutions do not exist here.
"""

from collections.abc import Mapping

from configs import common

REGIONS = {"box": "box", "mask": "mask", "max": "box+mask_max", "sum": "box+mask_sum"}
FUSIONS = {"vgs": "(v+g)*s", "sum": "v+g+s", "product": "v*g*s"}
BACKBONES = {
    "r50": dict(stage_sizes=(3, 4, 6, 3)),
    "r101": dict(stage_sizes=(3, 4, 23, 3)),
    "x101": dict(stage_sizes=(3, 4, 23, 3), groups=64, group_width=4),
}
SIZES = dict(
    image_hw=(1344, 1344), short_side=800, long_side=1333, rule="mmdetection", buckets=((832, 1344), (1344, 832)),
)  # fmt: skip
"""mmdetection's (1333, 800), keeping the aspect ratio; sides are multiples of the pyramid's coarsest stride, 64."""
EPOCHS = {"detector": (12, (8, 11), 16), "joint": (7, (3, 5), 8), "relations": (7, (3, 5), 8)}
"""Epochs, drops of the learning rate, and batch size of both phases of the paper.

The drops of phase 2, and the warm-up of both from a third of the learning rate, are from the authors' code; the paper
gives only 7 epochs at 0.02.
"""

FROZEN_DETECTOR = (dict(pattern="relations_.*"), dict(pattern=".*", frozen=True))
"""Optimizer rules of phase=relations; parameters without gradient must have no weight decay either."""

FROZEN_STEM = (dict(pattern="backbone/(stem|stage0)/.*", frozen=True), dict(pattern=".*"))
"""Optimizer rules of the other phases; mmdetection, used by the authors, freezes the stem and the first stage."""

DETECTOR = ("(params|batch_stats)/(?!relations_).*",)
"""Variables that phase 1 trains and phase 2 loads."""


def first_weights(phase: str, phase1: str) -> dict:
    """Sources of the initial weights, for `train.init_from`.

    Phase 1 loads all fitting parts of a converted COCO detector; class layers fit if the converter was given the
    vocabulary. Phase 2 loads the whole last checkpoint of phase 1. Without one, joint training starts like phase 1, and
    a frozen detector must be loaded completely from the converted file.

    Raises:
      ValueError: phase is "detector" and phase1 is given.
    """
    if not phase1:
        return dict(path="detector.npz", include=DETECTOR, strict=phase == "relations")
    if phase == "detector":
        raise ValueError("phase=detector is phase 1 itself; phase1=WORKDIR is for phase=joint and phase=relations")
    return dict(path=phase1, which="last", include=DETECTOR, strict=True)


RELEASE = dict(
    relation=dict(
        mining="nonlocal", face=False, ranking=False, geometry="vector", semantic="table", visual="mean3",
        background=True, heads="last",
    ),
    loss=dict(
        boxes="annotated", pairs=1024, pair_share=1.0, pair_overlap=0.5, gamma=(1.0, 1.0, 1.0, 1.0, 1.0),
        verb_mean="images",
    ),
    boxes=dict(merge="mean_logits", score=0.05),
    predict=dict(top_pairs=3200, human_score=0.4, object_score=0.4),
)  # fmt: skip
"""Changes of the model by `preset=release`."""


def experiment(options: str, images: Mapping[str, int], **defaults: str):
    """(config without dataset and sizes, chosen options).

    Args:
      images: number of images of the training split, by name for the option "split" if there are several.
      defaults: options with a different default.
    """
    allowed = dict(
        stages=("3", "1", "2", "4", "5"),
        without=("nothing", "ihsm", "efra", "rrm"),
        region=tuple(REGIONS),
        fusion=tuple(FUSIONS),
        streams=("sgv", "s", "g", "v"),
        backbone=tuple(BACKBONES),
        phase=("joint", "detector", "relations"),
        preset=("paper", "release"),
    )
    if len(images) > 1:
        allowed["split"] = tuple(images)
    for name, value in defaults.items():
        allowed[name] = (value, *(v for v in allowed[name] if v != value))
    chosen = common.choices(options, ("phase1",), **allowed)
    epochs, falls, batch_size = EPOCHS[chosen["phase"]]
    epoch = images[chosen.get("split", next(iter(images)))] // batch_size
    config = common.base(system="cascade", batch_size=batch_size)
    masks = chosen["region"] != "box"
    streams = tuple(chosen["streams"])
    ranking = chosen["without"] != "rrm" and streams != ("s",)
    config.model = dict(
        stages=int(chosen["stages"]), detector="own", max_humans=32,
        backbone=BACKBONES[chosen["backbone"]],
        rpn=dict(per_level=1000, total=1000),
        boxes=dict(merge="union", score=0.3),
        masks=dict(enabled=masks),
        relation=dict(
            region=REGIONS[chosen["region"]], fusion=FUSIONS[chosen["fusion"]], streams=streams,
            mining="none" if chosen["without"] == "ihsm" else "dot", face=chosen["without"] != "efra", ranking=ranking,
        ),
        loss=dict(parts=chosen["phase"]),
        predict=dict(human_score=0.3, object_score=0.3),
        compute_dtype="bfloat16",
    )  # fmt: skip
    if chosen["preset"] == "release":
        config.model.update(RELEASE)
        if chosen["without"] == "ihsm":
            config.model.relation.mining = "none"
    config.augment = dict(flip=0.5)
    config.optimizer = dict(
        name="momentum", learning_rate=0.02, momentum=0.9, weight_decay=1e-4, clip="global", clip_norm=35.0,
        schedule=dict(
            kind="step", step_at=tuple(epoch * fall for fall in falls), step_factor=0.1, warmup_steps=500,
            warmup_start=1 / 3,
        ),
        base_batch_size=batch_size, rules=FROZEN_DETECTOR if chosen["phase"] == "relations" else FROZEN_STEM,
    )  # fmt: skip
    config.train = dict(
        seed=0, num_steps=epochs * epoch, log_every=50, evaluate_every=epoch, checkpoint_every=1000,
        init_from=(first_weights(chosen["phase"], chosen["phase1"]),),
    )  # fmt: skip
    return config, chosen


def phase_without_scores(config):
    """Disable selection of the best checkpoint, because a detector alone has no HOI metric."""
    if config.model.loss.parts == "detector":
        config.train.update(evaluate_every=0, best_metric=None)
    return config
