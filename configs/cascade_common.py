"""What the cascade's configs on real datasets share: sizes, schedules, switches of Tables 4 to 8, and the release.

`preset=release` takes the values of the authors' code: the 28 numbers instead of maps, the table of frequencies instead
of a learned semantic stream, the non-local block, no faces, no ranking, three visual classifiers, a column for "no
relation", and the mean of the stages' class logits. (It also has one relation network only.)
"""

from configs import common

REGIONS = {"box": "box", "mask": "mask", "max": "box+mask_max", "sum": "box+mask_sum"}
FUSIONS = {"vgs": "(v+g)*s", "sum": "v+g+s", "product": "v*g*s"}
BACKBONES = {
    "r50": dict(stage_sizes=(3, 4, 6, 3)),
    "r101": dict(stage_sizes=(3, 4, 23, 3)),
    "x101": dict(stage_sizes=(3, 4, 23, 3), groups=64, group_width=4),
}
EPOCHS = {"detector": (12, (8, 11), 16), "joint": (7, (3, 5), 8), "relations": (7, (3, 5), 8)}
"""Epochs, where the learning rate falls, and batch size of both phases of the paper."""

FROZEN_DETECTOR = (dict(pattern="relations_.*"), dict(pattern=".*", frozen=True))
"""Optimiser rules of phase=relations: what gets no gradient must not decay either."""


def experiment(options: str, images: int, **defaults: str):
    """(config without dataset and sizes, chosen options).

    Args:
      images: of the training split; defaults: options whose first choice is another one here.
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
    for name, value in defaults.items():
        allowed[name] = (value, *(v for v in allowed[name] if v != value))
    chosen = common.choices(options, **allowed)
    epochs, falls, batch_size = EPOCHS[chosen["phase"]]
    epoch = images // batch_size
    config = common.base(system="cascade", batch_size=batch_size)
    masks = chosen["region"] != "box"
    release = chosen["preset"] == "release"
    streams = tuple(chosen["streams"])
    ranking = chosen["without"] != "rrm" and streams != ("s",)
    config.model = dict(
        stages=int(chosen["stages"]), detector="own", max_humans=32,
        backbone=BACKBONES[chosen["backbone"]],
        rpn=dict(per_level=1000, total=1000),
        boxes=dict(merge="mean_logits" if release else "union", score=0.05 if release else 0.3),
        masks=dict(enabled=masks),
        relation=dict(
            region=REGIONS[chosen["region"]], fusion=FUSIONS[chosen["fusion"]], streams=streams,
            mining="none" if chosen["without"] == "ihsm" else ("nonlocal" if release else "dot"),
            face=chosen["without"] != "efra" and not release, ranking=ranking and not release,
            geometry="vector" if release else "maps", semantic="table" if release else "learned",
            visual="mean3" if release else "joint", background=release,
        ),
        loss=dict(parts=chosen["phase"]),
        predict=dict(human_score=0.3, object_score=0.3),
        compute_dtype="bfloat16",
    )  # fmt: skip
    config.augment = dict(flip=0.5)
    config.pipeline = dict(enlarge=True)
    config.optimizer = dict(
        name="momentum", learning_rate=0.02, momentum=0.9, weight_decay=1e-4, clip="global", clip_norm=35.0,
        schedule=dict(
            kind="step", step_at=tuple(epoch * fall for fall in falls), step_factor=0.1, warmup_steps=500
        ),
    )  # fmt: skip
    if chosen["phase"] == "relations":
        config.optimizer.rules = FROZEN_DETECTOR
    start = dict(path="detector.npz", include=("params/(backbone|fpn|rpn_head)/.*", "batch_stats/backbone/.*"))
    config.train = dict(
        seed=0, num_steps=epochs * epoch, log_every=50, evaluate_every=epoch, checkpoint_every=1000, init_from=(start,)
    )
    return config, chosen


def phase_without_scores(config):
    """A detector alone has no HOI score to keep the best of."""
    if config.model.loss.parts == "detector":
        config.train.update(evaluate_every=0, best_metric=None)
    return config
