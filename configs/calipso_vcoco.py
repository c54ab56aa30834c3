"""CALIPSO on V-COCO as in the paper: ResNet-50 FPN, eight shared blocks, SGD 0.016 for 10 images, flips.

Build:   python -m data_prep.build vcoco --images coco/images --coco-instances instances_vcoco_all_2014.json \\
             --annotations trainval=vcoco_trainval.json test=vcoco_test.json \\
             --detections trainval=detections/trainval test=detections/test --detections-top 100
         Boxes of a Faster R-CNN on all of V-COCO's images: folders of fredzzhang/vcoco, or detectron2's
         coco_instances_results.json of faster_rcnn_R_50_FPN_3x or X_101_32x8d_FPN_3x: see docs/calipso.md.
Start:   python -m hoi_jax.systems.calipso.convert retinanet_resnet50_fpn_coco.pth retinanet.npz
Run:     python train.py --config configs/calipso_vcoco.py --workdir runs/calipso_vcoco
Expect:  the paper's AP_role (scenario 1, 24 roles) is 46.36 with Faster R-CNN R50, 47.65 with X101, 54.48 with
         annotated boxes (--config.dataset.detections=ground_truth); ours: not yet measured.

Table 1: --config.model.subnet.share_levels=False (43.86), .passive=False (36.86), .target_presence=False (25.51),
.blocks=5 (44.35), .blocks=11 (45.05). `retinanet.npz` must come from a detector trained without V-COCO's images.
Batches of 8 fit 8 devices; learning rate and steps, given for the paper's 10, are converted (0.0128, 37,500 updates).
For exactly the paper's: --config.batch_size=10 --config.train.num_devices=5.
"""

from configs import common

STEPS = 30000
# Sides are multiples of 128, so that strides do not depend on padding; a 4:3 image becomes 768 x 1024.
SIZES = dict(
    image_hw=(1280, 1280), short_side=768, long_side=1280,
    buckets=((768, 1024), (1024, 768), (768, 1280), (1280, 768)),
)  # fmt: skip


def get_config():
    config = common.base(system="calipso", batch_size=8)
    config.dataset = dict(
        name="vcoco", vocabulary="vcoco", train_split="trainval", eval_split="test", detections="stored"
    )
    config.sizes = dict(**SIZES, instances=96, detections=100, pairs=96, persons=32)
    config.augment = dict(flip=0.5)
    config.model = dict(
        backbone=dict(p6_source="p5"),
        subnet=dict(
            blocks=8, share_levels=True, passive=True, target_presence=True, embedding_dim=8, statistics="per_level",
            remat=False,
        ),
        # Eq. 9 adds the terms without weights; cross-entropies are summed over an anchor's outputs, as in RetinaNet.
        loss=dict(
            target_mask="performed_only", per="anchor", verb=1.0, target=1.0, embedding=1.0, pull_weight=10.0,
            push_weight=100.0,
        ),
        predict=dict(keep="best", readout="best", norm="l2"),
        compute_dtype="bfloat16",
    )  # fmt: skip
    config.optimizer = dict(
        name="momentum", base_batch_size=10, learning_rate=0.016, momentum=0.9, weight_decay=1e-4,
        clip="global", clip_norm=10.0,
        schedule=dict(kind="step", step_at=(25000,), step_factor=0.1, warmup_steps=500),
    )  # fmt: skip
    start = dict(path="retinanet.npz", include=("params/(backbone|fpn)/.*", "batch_stats/backbone/.*"))
    config.train = dict(
        seed=0, num_steps=STEPS, log_every=50, evaluate_every=5000, checkpoint_every=1000,
        best_metric="role_s1/24", init_from=(start,),
    )  # fmt: skip
    config.evaluation = dict(batch_size=8, metrics=("actions",))
    return config
