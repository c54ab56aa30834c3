"""TIN's spatial streams on HICO-DET without any image: the map of the two boxes and the object's class.

Build:   python -m data_prep.build hico_det/labels --labels-only --annotations train=hicodet_train_pairs_hake.npz \\
             test=hicodet_instances_test2015.json.gz
Run:     python train.py --config configs/tin_hico_det_geometry.py --workdir runs/geometry
         python evaluate.py --predictions runs/geometry/predictions_test.npz --bootstrap 1000 \\
             --annotations data/hico_det/labels/annotations_test.npz \\
             --train-annotations data/hico_det/labels/annotations_train.npz
Expect:  Default 28.4 Full / 16.1 Rare / 32.1 Non-Rare; class frequencies 17.7 / 12.6 / 19.2 (seed 0, 2,400 steps).
         Annotated boxes are used as detections, so results are not comparable with published ones.
"""

from configs import common


def get_config():
    config = common.base(system="tin", batch_size=32)
    config.dataset = dict(
        name="hico_det/labels", vocabulary="hico_det", merge_pairs=0.25, train_split="train", eval_split="test"
    )
    # Images are not read; boxes are scaled so that the longest side is at most 640. The most crowded images lose rows.
    config.sizes = dict(image_hw=(640, 640), instances=128, detections=96, pairs=64, truncate=True)
    config.augment = dict(flip=0.5)
    config.model = dict(
        # One small convolution of the maps for C and P: on two CPU cores, two epochs take ten minutes.
        maps=dict(size=32, features=(8, 16), kernel=3),
        classifier=dict(streams=("spatial",), spatial_layers=(256, 256), dropout=0.2, prior=0.01, object_class=True),
        interactiveness=dict(streams=("spatial",), layout="joined", stream_layers=(64,), pair_layers=(64,)),
        # No jittered copies, because boxes are annotated ones in prediction too. Half the images have one pair.
        sampling=dict(group=3, augment=0, negatives=4, human_score=0.5, object_score=0.5, overlap=0.5),
        score=dict(human_threshold=0.5, object_threshold=0.5, lis="none"),
        loss=dict(spatial=30.0, mean="batch"),  # large, because the mean is over 600 mostly absent classes
        # Scores are already multiplied by f_P and no detection is false, so suppression could only remove true pairs.
        nis=dict(enabled=False),
        max_humans=32, max_objects=64, max_pairs=1024, pair_chunk=64,
    )  # fmt: skip
    config.optimizer = common.adamw()
    config.train = dict(
        seed=0, num_steps=2_400, log_every=50, evaluate_every=2_400, checkpoint_every=400, best_metric="default/full"
    )
    config.evaluation = dict(batch_size=8, metrics=("hoi", "nis"))
    return config
