"""The cascade on V-COCO as in the paper: three stages, ResNet-50, COCO detector, phase 2 (relations).

Build:   python -m data_prep.build vcoco --images coco/images --coco-instances instances_vcoco_all_2014.json \\
             --annotations trainval=vcoco_trainval.json test=vcoco_test.json --faces faces.json
         python -m data_prep.priors vcoco --split trainval
Start:   python -m hoi_jax.systems.cascade.convert cascade_rcnn_r50_fpn_coco.pth detector.npz --vocabulary vcoco
Run:     python train.py --config configs/cascade_vcoco.py:phase=detector --workdir runs/cascade_vcoco_1
         python train.py --config configs/cascade_vcoco.py:phase=joint,phase1=runs/cascade_vcoco_1 \\
             --config.model.relation.prior=data/vcoco/priors_trainval.npz --workdir runs/cascade_vcoco_2
Expect:  the paper's role AP is 48.3 with boxes and 48.9 with masks; ours: not yet measured.

Options after a colon: stages=3|1|2|4|5, without=nothing|ihsm|efra|rrm, region=box|mask|max|sum, fusion=vgs|sum|product,
backbone=r50|r101|x101, phase=joint|detector|relations, phase1=WORKDIR (the run of phase=detector from which the others
start), preset=paper|release (the authors' code, listed in `cascade_common.py`). Masks come from the COCO instances.
Face boxes may come from any detector (COCO results JSON); without=efra needs none. The vocabulary has no counts for
X_s, so without a counted prior all allowed combinations are equally likely.
"""

from configs import cascade_common, common


def get_config(options=""):
    config, _ = cascade_common.experiment(options, images=dict(trainval=common.TRAIN_IMAGES["vcoco"]))
    config.dataset = dict(
        name="vcoco", vocabulary="vcoco", train_split="trainval", eval_split="test", detections="stored"
    )
    config.sizes = dict(**cascade_common.SIZES, instances=96, detections=100, pairs=128, persons=32, mask_hw=(336, 336))
    config.train.best_metric = "role_s1/24"
    config.evaluation = dict(batch_size=4, metrics=("actions",))
    return cascade_common.phase_without_scores(config)
