"""CALIPSO on HICO-DET: the V-COCO recipe, 117 verbs, labels cleaned with a detector's boxes.

Build:   python -m data_prep.build hico_det --images hico_20160224_det/images \\
             --annotations train=trainval_hico.json test=test_hico.json \\
             --detections train=detections/train2015 test=detections/test2015 --detections-top 100
         Boxes of a COCO detector on both splits: they replace labelled boxes in training and are scored in prediction.
         The paper uses Faster R-CNN R50 and X101 of detectron2; fredzzhang/hicodet has R50's in folders train2015 and
         test2015: see docs/calipso.md.
Start:   python -m hoi_jax.systems.calipso.convert retinanet_resnet50_fpn_coco.pth retinanet.npz
Run:     python train.py --config configs/calipso_hico_det.py --workdir runs/calipso_hico
Expect:  the paper's Default mAP is 14.31 Full / 10.43 Rare / 15.46 Non-Rare with Faster R-CNN R50 and 14.89 / 11.12 /
         16.01 with X101; ours: not yet measured.
"""

from configs import calipso_vcoco


def get_config():
    config = calipso_vcoco.get_config()
    config.dataset = dict(
        name="hico_det", vocabulary="hico_det", train_split="train", eval_split="test", detections="stored",
        clean_labels="detections",
    )  # fmt: skip
    # Raw files have up to hundreds of boxes for a few objects; rows beyond these sizes are dropped after cleaning.
    config.sizes = dict(**calipso_vcoco.SIZES, instances=64, detections=100, pairs=128, truncate=True)
    config.train.best_metric = "default/full"
    config.evaluation.metrics = ("hoi",)
    return config
