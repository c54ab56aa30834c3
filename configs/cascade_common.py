"""What the cascade's configs on real datasets share: sizes, schedules, switches of Tables 4 to 8, and the release.

`preset=release` takes the values of the authors' code (C-HOI, branch pytorch-1.5, its HOI-W detector with relations; on
PIC the same with features of 14 x 14):

    one relation network, after the last stage, without the features of an earlier one; weight 1
    all pairs of annotated boxes to learn from, none of detected ones; an IoU of 0.5 makes two boxes the same
    28 numbers instead of maps, through two layers of 64; the table of frequencies instead of a learned semantic stream
    a non-local block instead of Eqs. 5 to 7; no faces, no ranking; a column for "no relation"
    the mean of three visual classifiers' probabilities, which has one loss; every image weighs the same
    the mean of the stages' class logits, best 100 boxes of at least 0.05; all pairs of boxes of 0.4 get verbs
    SGD of 0.02 for 8 images with a warm-up from a third, falls after epochs 3 and 5 of 7, gradients cut at a norm of 35

It is not the release in these rows, which are faults of it or have no value here: its non-local block multiplies where
it should divide (`relation.mining="nonlocal_inverted"` does), and is left out at test; test boxes are pooled in pixels
of the original image from maps of the resized one; in a batch of several images all features come from the first;
boxes are a pixel wider (x2 - x1 + 1) and RoIAlign samples half a cell off; hidden layers start as PyTorch's do instead
of by He's rule; class layers of the detector learn 100 times as fast in its phase 1; verbs of at most 0.01 are left out
(and on PIC all but the five best of a pair). PIC's semantic branch and deformable convolutions do not exist here.
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
"""Epochs, where the learning rate falls, and batch size of both phases of the paper.

Where it falls in phase 2, and the warm-up of both from a third of the learning rate, are the authors' code's: the paper
gives 7 epochs at 0.02.
"""

FROZEN_DETECTOR = (dict(pattern="relations_.*"), dict(pattern=".*", frozen=True))
"""Optimiser rules of phase=relations: what gets no gradient must not decay either."""

FROZEN_STEM = (dict(pattern="backbone/(stem|stage0)/.*", frozen=True), dict(pattern=".*"))
"""Rules of the other phases: mmdetection, with which the authors trained, never moves the stem and the first stage."""

DETECTOR = ("(params|batch_stats)/(?!relations_).*",)
"""Variables that phase 1 trains and phase 2 starts from."""


def first_weights(phase: str, phase1: str) -> dict:
    """Where a run takes its first weights from: `train.init_from`.

    Phase 1 starts from a converted COCO detector, whatever of it fits: class layers do if the converter was given the
    vocabulary. Phase 2 starts from the last checkpoint of a phase 1, all of it. Without one, a joint training starts as
    phase 1 does, and a frozen detector has to find everything in the converted file.

    Raises:
      ValueError: phase 1 is given a phase 1.
    """
    if not phase1:
        return dict(path="detector.npz", include=DETECTOR, strict=phase == "relations")
    if phase == "detector":
        raise ValueError("phase=detector is phase 1 itself: phase1=WORKDIR is for phase=joint and phase=relations")
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
"""What `preset=release` changes in the model."""


def experiment(options: str, images: Mapping[str, int], **defaults: str):
    """(config without dataset and sizes, chosen options).

    Args:
      images: of the training split, by its name for the option "split", if there are several.
      defaults: options whose first choice is another one here.
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
    """A detector alone has no HOI score to keep the best of."""
    if config.model.loss.parts == "detector":
        config.train.update(evaluate_every=0, best_metric=None)
    return config
