"""DEFR on the hoi_scenes dataset, with image-level labels only, small enough for two CPU cores.

Run:     python train.py --config configs/defr_hoi_scenes.py --workdir runs/defr
         python train.py --config configs/defr_hoi_scenes.py:loss=bce --workdir runs/defr-bce
Expect:  image mAP 15.7, HOI mAP 11.1 (init=random, 2,000 steps, seed 0); 18.7 and 11.3 with init=language after 1,000.

Training is from scratch, so the learning rate is larger and the schedule longer than in the paper. Evaluation scores
images (image/*) and, with the same weights and no further training, pairs of detections (HOI mAP).
"""

from configs import common

STEPS = 2000
REGIONS = {**{f"mask-{n}": dict(blocks=n) for n in (1, 2, 3)}, "ave-pool": dict(rule="average")}


def get_config(options=""):
    chosen = common.choices(
        options,
        loss=("lse_sign", "bce", "focal"),
        init=("random", "language"),
        region=("mask-1", "mask-2", "mask-3", "ave-pool"),
    )
    config = common.base(system="defr", batch_size=32)
    config.dataset = dict(name="hoi_scenes/small", vocabulary="hoi_scenes")
    config.sizes = dict(image_hw=(128, 128), instances=24, detections=24, pairs=48)
    config.augment = dict(flip=0.5)
    config.model = dict(
        backbone=dict(kind="clip_vit", patch=16, width=64, layers=3, heads=4, stem="convolutions"),
        inputs=dict(size=128, crop_area=1.0, brightness=0.0, contrast=0.0),
        classifier=dict(gamma=20.0),
        loss=dict(kind=chosen["loss"]),
        detection=REGIONS[chosen["region"]],
    )
    config.optimizer = dict(
        name="adamw", learning_rate=2e-3, weight_decay=0.0, clip="global", clip_norm=1.0,
        schedule=dict(kind="cosine", warmup_steps=200),
    )  # fmt: skip
    config.train = dict(
        seed=0, num_steps=STEPS, log_every=20, evaluate_every=1000, checkpoint_every=500,
        best_metric="image/default",
    )  # fmt: skip
    if chosen["init"] == "language":
        # Sentences of the 99 classes by MiniLM: see the file's `about_json`.
        start = dict(path="configs/tables/defr_hoi_scenes_minilm.npz", include=("params/classifier/kernel",))
        config.train.init_from = (start,)
    config.evaluation = dict(batch_size=32, metrics=("image", "hoi"))
    return config
