"""Body-part interactiveness on HICO-DET as in the paper, stage 1: detector and interactiveness classifier.

Build:   python -m data_prep.build hico_det --images hico_20160224_det/images \\
             --annotations train=trainval_hico.json test=test_hico.json \\
             --detections train=train/alphapose-results.json test=test/alphapose-results.json --detections-top 64
         Detections are people with poses, from which body parts are computed; without them, a run stops before its
         first step. Sources and file formats: docs/body_part.md.
Start:   python -m hoi_jax.systems.body_part.convert detr-r50-e632da11.pth detr.npz --detr-queries 64
Run:     python train.py --config configs/body_part_hico_det.py --workdir runs/bp1 --config.train.init_from=detr.npz
Expect:  interactiveness AP 38.74 in the paper; ours: not yet measured.

Options after a colon: `ablation` (Table 5, for example configs/body_part_hico_det.py:ablation=intuitive) and
`supervision=parts` (labels of body parts as well: interactiveness AP 38.83 in the paper; build with HAKE's
instance-level training labels of HICO-DET). The paper starts from COCO's DETR. Crowded images are shown three times as
often as sparse ones; an "epoch" below is as many images as the training set has. Learning rates and steps are given for
updates of 16 images and converted for any other `batch_size`.
"""

from configs import common

IMAGES = common.TRAIN_IMAGES["hico_det"]
BATCH = 16
EPOCHS, DROP = 90, 60

# The rows of Table 5 as changes of the defaults, which are the paper's values.
ABLATIONS = {
    "none": dict(),
    "without_parts": dict(scheme="instance"),
    "without_saliency": dict(scheme="six_pass", masks="none"),
    "intuitive": dict(scheme="six_pass", masks="parts"),
    "without_progressive": dict(masks="parts"),
    "without_one_pass": dict(scheme="six_pass"),
    "without_sparsity": dict(),  # a setting of the pipeline, below
}


def get_config(options=""):
    chosen = common.choices(options, ablation=tuple(ABLATIONS), supervision=("none", "parts"))
    ablation = chosen["ablation"]
    config = common.base(system="body_part", batch_size=BATCH)
    # In QPIC's label files boxes are merged, and pairs of the same two boxes are one pair with several verbs.
    config.dataset = dict(name="hico_det", vocabulary="hico_det")
    config.sizes = dict(**common.DETR_SIZES, instances=512, detections=64, pairs=256)
    config.augment = dict(  # as in DETR and QPIC
        flip=0.5, brightness=0.4, contrast=0.4, saturation=0.4, short_sides=tuple(range(480, 801, 32)), long_side=1333,
        crop=0.5, crop_sides_px=(384, 600), crop_short_sides=(400, 500, 600), crop_min_visible=0.0,
    )  # fmt: skip
    config.pipeline = dict(sparsity="off" if ablation == "without_sparsity" else "ratio")
    config.model = dict(parts=dict(ABLATIONS[ablation]), queries=64)
    if chosen["supervision"] == "parts":
        config.model.loss = dict(parts=0.1)  # per part, as in the released code
    config.optimizer = dict(
        name="adamw", learning_rate=1e-4, weight_decay=1e-4, clip="global", clip_norm=0.1, base_batch_size=BATCH,
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
