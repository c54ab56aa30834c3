"""The cascade on PIC 2.0 with the values of the authors' code (`preset=release`, listed in `cascade_common.py`).

Build:   python -m data_prep.build pic --images pic \\
             --annotations train=pic/relation/relations_train.json val=pic/relation/relations_val.json
         python -m data_prep.priors pic
Start:   python -m hoi_jax.systems.cascade.convert cascade_mask_rcnn_r50_fpn_coco.pth detector.npz --vocabulary pic
Run:     python train.py --config configs/cascade_pic_release.py:phase=detector --workdir runs/cascade_pic_release_1
         python train.py --config configs/cascade_pic_release.py:phase=relations,phase1=runs/cascade_pic_release_1 \\
             --config.model.relation.prior=data/pic/priors_train.npz --workdir runs/cascade_pic_release_2
Expect:  not yet measured.

Relation features are of boxes, and masks are only an output of the detector: the release pools boxes at 14 x 14 without
multiplying by the mask. Both boxes of a pair need a detection score of 0.3, and images are not mirrored.
"""

from configs import cascade_pic


def get_config(options=""):
    return cascade_pic.get_config(",".join(filter(None, ["preset=release,region=box", options])))
