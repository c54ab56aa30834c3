"""The two-boxes baseline on the hoi_scenes dataset: no pixels, no poses.

Run:     python train.py --config configs/two_boxes_hoi_scenes.py --workdir runs/two_boxes
Expect:  HOI mAP 63.1 at step 1,000 (ours, seed 0); class frequency 9.3.
"""

from configs import common


def get_config():
    config = common.base(system="two_boxes", batch_size=32)
    config.dataset = dict(name="hoi_scenes/small", vocabulary="hoi_scenes")
    config.sizes = dict(image_hw=(128, 128), instances=24, detections=24, pairs=48)
    config.augment = dict(flip=0.5)
    config.model = dict(layers=(256, 256))
    config.optimizer = common.adamw()
    config.train = dict(
        seed=0, num_steps=2000, log_every=100, evaluate_every=1000, checkpoint_every=500, best_metric="default/full"
    )
    config.evaluation = dict(batch_size=16, metrics=("hoi",))
    return config
