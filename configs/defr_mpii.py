"""DEFR on MPII's activities: one label per image, softmax.

Build:   python -m data_prep.build mpii --images images \\
             --annotations mpii_human_pose_v1_u12_1.mat train=train.txt val=val.txt
Prepare: python -m hoi_jax.systems.defr.convert --weights ViT-B-16.safetensors --size 672 --out weights/backbone.npz
         python -m hoi_jax.systems.defr.embed_labels --vocabulary file:data/mpii_activities.json \\
             --weights ViT-B-16.safetensors --out weights/classifier.npz
Run:     python train.py --config configs/defr_mpii.py --workdir runs/defr_mpii
Expect:  the paper's mAP on the 6,987 validation images is 55.3 (B/16) and 43.6 (rn101); ours: not yet measured.

Options are those of configs/defr_hico.py without `loss`. The authors apply a softmax before loss and metric; it is not
known whether their loss is LSE-Sign on probabilities, so cross-entropy is used. train.txt and val.txt contain one image
name per line (8,218 for training). The label file itself has only a training part and a test part without labels.
"""

from configs import common, defr_hico

IMAGES = common.TRAIN_IMAGES["mpii"]


def get_config(options=""):
    config = defr_hico.get_config(options)
    config.dataset = dict(
        name="mpii", vocabulary="file:data/mpii_activities.json", train_split="train", eval_split="val"
    )
    config.sizes.update(instances=1, detections=1, pairs=1)
    config.pipeline = dict(oversample_to=0)
    config.model.loss = dict(kind="softmax")
    epoch = IMAGES // config.batch_size
    config.train.update(evaluate_every=5 * epoch, checkpoint_every=epoch, best_metric="mpii/map")
    config.evaluation = dict(batch_size=32, metrics=("mpii",))
    return config
