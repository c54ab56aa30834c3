"""TIN overfitted to 30 photographs with V-COCO labels, as an end-to-end test on real images.

Build:   python -m data_prep.build vcoco/mini --images DIR/images --annotations DIR/vcoco_mini.json
Run:     python train.py --config configs/tin_vcoco_mini.py --workdir runs/mini
Expect:  role AP over the annotated pairs 100.0 on the same images (ours, 240 steps; the target was 90). This is not
         AP_role and not a benchmark.
"""

from configs import tin_hoi_scenes


def get_config():
    config = tin_hoi_scenes.get_config()
    config.batch_size = 10
    config.dataset = dict(
        name="vcoco/mini", vocabulary="vcoco", train_split="union", eval_split="union", detections="ground_truth"
    )
    config.sizes = dict(image_hw=(192, 192), fit="enlarge", instances=32, detections=32, pairs=32, persons=16)
    config.augment = dict(flip=0.0)
    config.model.classifier.dropout = 0.0
    config.model.interactiveness.dropout = 0.0
    config.train = dict(seed=0, num_steps=240, log_every=20, evaluate_every=120, checkpoint_every=120,
                        best_metric="pairs_role_ap/24")  # fmt: skip
    config.evaluation = dict(batch_size=10, metrics=("role_pairs",))
    return config
