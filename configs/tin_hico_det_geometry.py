"""TIN's spatial streams on HICO-DET without any picture: the map of the two boxes and the object's class.

Build:   python -m data_prep.build hico_det/labels --labels-only --annotations train=hicodet_train_pairs_hake.npz \\
             test=hicodet_instances_test2015.json.gz
Run:     python train.py --config configs/tin_hico_det_geometry.py --workdir runs/geometry
         python evaluate.py --predictions runs/geometry/predictions_test.npz --bootstrap 1000 \\
             --annotations data/hico_det/labels/annotations_test.npz \\
             --train-annotations data/hico_det/labels/annotations_train.npz
Expect:  not yet measured. Annotated boxes stand in for detections, so figures are not comparable with published ones.
"""

from configs import common


def get_config():
    config = common.base(system="tin", batch_size=16)
    config.dataset = dict(name="hico_det/labels", vocabulary="hico_det", merge_pairs=0.25)
    # No picture is made; boxes are scaled so that the longest side is at most 640.
    config.sizes = dict(image_hw=(640, 640), instances=512, detections=48, pairs=64, truncate=True)
    config.augment = dict(flip=0.5)
    config.model = dict(
        maps=dict(size=32, features=(16, 32)),
        classifier=dict(streams=("spatial",), spatial_layers=(256, 256), dropout=0.2, prior=0.01, object_class=True),
        interactiveness=dict(streams=("spatial",), stream_layers=(128,), pair_layers=(128,)),
        sampling=dict(augment=5, negatives=15, human_score=0.5, object_score=0.5, overlap=0.5),
        score=dict(human_threshold=0.5, object_threshold=0.5, lis="none"),
        loss=dict(spatial=30.0),  # a mean over 600 mostly absent classes
        max_humans=16, max_objects=32, max_pairs=192, pair_chunk=64,
    )  # fmt: skip
    config.optimizer = dict(
        name="adamw", learning_rate=1e-3, weight_decay=1e-4, clip="global", clip_norm=10.0,
        schedule=dict(kind="cosine", warmup_steps=200),
    )  # fmt: skip
    config.train = dict(
        seed=0, num_steps=12_000, log_every=50, evaluate_every=6_000, checkpoint_every=1_000, best_metric="default/full"
    )
    config.evaluation = dict(batch_size=32, metrics=("hoi", "nis"), max_triplets=800)
    return config
