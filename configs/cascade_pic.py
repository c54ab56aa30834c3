"""Relation segmentation on PIC 2.0 as in the paper: masks for instances, features and geometry.

Build:   python -m data_prep.build pic --images pic \\
             --annotations train=pic/relation/relations_train.json val=pic/relation/relations_val.json \\
             --faces faces.json
         python -m data_prep.priors pic
Start:   python -m hoi_jax.systems.cascade.convert cascade_mask_rcnn_r50_fpn_coco.pth detector.npz --vocabulary pic
Run:     python train.py --config configs/cascade_pic.py:phase=detector --workdir runs/cascade_pic_1
         python train.py --config configs/cascade_pic.py:phase=joint,phase1=runs/cascade_pic_1 \\
             --config.model.relation.prior=data/pic/priors_train.npz --workdir runs/cascade_pic_2
Expect:  the paper's recall on its validation split is 27.8 / 38.3 / 45.3 at 20 / 50 / 100 (mean over IoU 0.25, 0.5 and
         0.75); ours: not yet measured.

Options as in `cascade_vcoco.py`; region=mask is the default here (Table 8: box 27.1, mask 27.8, max 27.6, sum 27.7).
The PNG files are in folders `semantic` and `instance` beside the annotations. The release does not mirror PIC's images,
although none of its relations distinguishes left from right. As in the release, "in front of" between two people
implies "behind" with exchanged roles, and "next to" is symmetric.

Score:   python -m hoi_jax.commands.segment_relations --workdir runs/cascade_pic_2 --out results --images 0
         python evaluate.py --dataset pic --predictions results --annotations pic/relation/relations_val.json
"""

from configs import cascade_common


def get_config(options=""):
    config, chosen = cascade_common.experiment(options, images=dict(train=12654), region="mask")
    config.dataset = dict(name="pic", vocabulary="pic", train_split="train", eval_split="val", detections="stored")
    config.sizes = dict(
        **cascade_common.SIZES, instances=96, detections=100, pairs=256, mask_hw=(336, 336), truncate=True
    )
    # Recall is evaluated on masks, so mask heads are needed even if relation features are of boxes.
    config.model.masks.enabled = True
    config.model.loss.reversed_verbs = (("in front of", "behind"), ("next to", "next to"))
    config.train.update(evaluate_every=0, best_metric=None)
    if chosen["preset"] == "release":
        config.augment.flip = 0.0
        config.model.relation.box_size = 14
        config.model.predict.update(human_score=0.3, object_score=0.3)
    return config
