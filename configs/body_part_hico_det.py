"""Body-part interactiveness on HICO-DET as the paper has it, stage 1: detector and interactiveness classifier.

Build:   python -m data_prep.build hico_det --images DIR --annotations train=FILE test=FILE
Run:     python train.py --config configs/body_part_hico_det.py --workdir runs/bp1 --config.train.init_from=detr.npz
Expect:  interactiveness AP 38.74 in the paper; ours: not yet measured.

Table 5: --config configs/body_part_hico_det.py:ablation=intuitive, and so on. The paper starts from COCO's DETR.
Pictures lie in one static size of 800 x 1333: training draws their short side as DETR does, but an upright picture is
at most 800 high. Crowded pictures are shown three times as often as sparse ones; an "epoch" below counts as many
pictures as the training set has.
"""

from configs import common

IMAGES = 37633
BATCH = 16
EPOCHS, DROP = 90, 60

# Row by row the changes of Table 5 (the paper's values of all other switches are the defaults).
ABLATIONS = {
    "none": dict(),
    "without_parts": dict(scheme="instance"),
    "without_saliency": dict(scheme="six_pass", masks="none"),
    "intuitive": dict(scheme="six_pass", masks="parts"),
    "without_progressive": dict(masks="parts"),
    "without_one_pass": dict(scheme="six_pass"),
    "without_sparsity": dict(),  # of the pipeline, below
}


def get_config(options=""):
    ablation = common.choices(options, ablation=tuple(ABLATIONS))["ablation"]
    config = common.base(system="body_part", batch_size=BATCH)
    config.dataset = dict(name="hico_det", vocabulary="hico_det", merge_pairs=0.25)
    config.sizes = dict(**common.DETR_SIZES, instances=512, detections=64, pairs=256)
    config.augment = dict(  # DETR's and QPIC's
        flip=0.5, brightness=0.4, contrast=0.4, saturation=0.4, short_sides=tuple(range(480, 801, 32)), long_side=1333,
        crop=0.5, crop_sides_px=(384, 600), crop_short_sides=(400, 500, 600), crop_min_visible=0.0,
    )  # fmt: skip
    config.pipeline = dict(sparsity="off" if ablation == "without_sparsity" else "ratio")
    config.model = dict(parts=dict(ABLATIONS[ablation]), queries=64)
    config.optimizer = dict(
        name="adamw", learning_rate=1e-4, weight_decay=1e-4, clip="global", clip_norm=0.1,
        schedule=dict(kind="step", step_at=(IMAGES * DROP // BATCH,)),
        rules=(
            dict(pattern="backbone/(stem|stage0)/.*", frozen=True),
            dict(pattern="backbone/.*", learning_rate=1e-5),
            dict(pattern=".*"),
        ),
    )  # fmt: skip
    config.train = dict(
        seed=0, num_steps=IMAGES * EPOCHS // BATCH, log_every=50, evaluate_every=IMAGES // BATCH,
        checkpoint_every=1000, best_metric="interactiveness_complete/ap",
    )  # fmt: skip
    config.evaluation = dict(batch_size=8, metrics=("interactiveness",))
    return config
