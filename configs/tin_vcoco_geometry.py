"""TIN's spatial streams on V-COCO without any image: the map of the two boxes and the object's class.

Build:   python -m data_prep.build vcoco/labels --labels-only --annotations trainval=vcoco_instances_train.json.gz \\
             trainval=vcoco_instances_val.json.gz test=vcoco_instances_test.json.gz
Run:     python train.py --config configs/tin_vcoco_geometry.py --workdir runs/geometry_vcoco
         python evaluate.py --predictions runs/geometry_vcoco/predictions_test.npz --bootstrap 1000 \\
             --annotations data/vcoco/labels/annotations_test.npz \\
             --train-annotations data/vcoco/labels/annotations_trainval.npz
Expect:  role AP over annotated pairs 79.0 (95 % interval 77.8 to 80.1), agent AP 82.8 (81.8 to 83.8); class frequencies
         of the same pairs 53.4 and 69.5 (seed 0, 1,000 steps). These are over the annotated pairs of the test images
         (people without an object are in no public test file) with annotated boxes as detections; they are not AP_role
         and not comparable with published results.
"""

from configs import tin_hico_det_geometry


def get_config():
    config = tin_hico_det_geometry.get_config()
    config.dataset = dict(name="vcoco/labels", vocabulary="vcoco", train_split="trainval", eval_split="test")
    config.sizes = dict(image_hw=(640, 640), instances=32, detections=32, pairs=32, persons=16, truncate=True)
    config.model.loss = dict(spatial=5.0, mean="batch")
    config.model.update(max_humans=16, max_objects=32, max_pairs=256)
    config.train.update(num_steps=1_000, evaluate_every=1_000, best_metric="pairs_role_ap/24")
    config.evaluation = dict(batch_size=32, metrics=("role_pairs", "agent_pairs", "nis"))
    return config
