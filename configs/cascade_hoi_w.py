"""The cascade on HOI-W as the paper has it: three stages, ResNet-50, ten verbs, eleven object classes.

Build:   python -m data_prep.build hoi_w (see docs/data.md for the files)
Start:   python -m hoi_jax.systems.cascade.convert cascade_rcnn_r50_fpn_coco.pth detector.npz
Run:     python train.py --config configs/cascade_hoi_w.py:phase=detector --workdir runs/cascade_hoi_w_1
         python train.py --config configs/cascade_hoi_w.py:phase=joint --workdir runs/cascade_hoi_w_2
Expect:  the paper's mAP_rel on its validation split (9,999 of the training pictures) is 43.7 with three stages, 38.6
         with one, 48.2 with ResNeXt-101; ours: not yet measured. The 66.04 of the challenge is an ensemble.

Options as in `cascade_vcoco.py`. Neither the paper nor the release multiplies by detector scores here. X_s is the table
that the authors ship; count your own training split with `hoi_jax.commands.count_prior` where it is another one.
"""

from configs import cascade_common


def get_config(options=""):
    config, _ = cascade_common.experiment(options, images=29842)
    config.dataset = dict(name="hoi_w", vocabulary="hoi_w", train_split="train", eval_split="test", detections="stored")
    config.sizes = dict(image_hw=(1344, 1344), instances=64, detections=100, pairs=128, truncate=True)
    config.model.predict.times_detections = False
    config.model.relation.prior = "hoi_w_release"
    config.evaluation = dict(metrics=("hoi_w",))
    config.train.update(evaluate_every=0, best_metric=None)
    return config
