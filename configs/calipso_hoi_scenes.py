"""CALIPSO on the embedded scenes, small enough for two CPU cores.

Run:     python train.py --config configs/calipso_hoi_scenes.py --workdir runs/calipso
Expect:  not yet measured.

Everything starts from scratch, where the paper starts from a RetinaNet trained on COCO: AdamW instead of SGD, narrow
maps, one level finer and smaller anchors (96 % of the boxes own one).
"""

from configs import common

STEPS = 1500


def get_config():
    config = common.base(system="calipso", batch_size=8)
    config.dataset = dict(name="hoi_scenes/small", vocabulary="hoi_scenes", detections="stored")
    config.sizes = dict(image_hw=(128, 128), instances=24, detections=24, pairs=48)
    config.augment = dict(flip=0.5)
    config.model = dict(
        backbone=dict(
            stage_sizes=(1, 1, 1), stage_strides=(2, 2, 2), width=24, kind="basic", norm="group", stem="small",
            pyramid_width=32,
        ),
        anchors=dict(sizes=(8.0, 16.0, 32.0, 64.0, 128.0)),
        subnet=dict(
            blocks=8, width=32, share_levels=True, passive=True, target_presence=True, embedding_dim=8,
            statistics="per_level",
        ),
        loss=dict(max_foreground=512, verb=1.0, target=1.0, embedding=1.0),
        predict=dict(human_threshold=0.3, object_threshold=0.3, keep="best"),
        max_humans=8, max_objects=14,
    )  # fmt: skip
    config.optimizer = dict(
        name="adamw", learning_rate=2e-3, weight_decay=1e-4, clip="global", clip_norm=10.0,
        schedule=dict(kind="cosine", warmup_steps=100),
    )  # fmt: skip
    config.train = dict(
        seed=0, num_steps=STEPS, log_every=20, evaluate_every=750, checkpoint_every=250, best_metric="default/full"
    )
    config.evaluation = dict(batch_size=16, metrics=("hoi",))
    return config
