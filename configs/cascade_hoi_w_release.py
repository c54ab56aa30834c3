"""The cascade on HOI-W with the values of the authors' code (`preset=release`, listed in `cascade_common.py`).

Build:   python -m data_prep.build hoi_w --images hoi_w/images --annotations train=trainval.json test=test_hoiw.json
Start:   python -m hoi_jax.systems.cascade.convert cascade_rcnn_r50_fpn_coco.pth detector.npz --vocabulary hoi_w
Run:     python train.py --config configs/cascade_hoi_w_release.py:phase=detector --workdir runs/cascade_hoi_w_release_1
         python train.py --workdir runs/cascade_hoi_w_release_2 \\
             --config configs/cascade_hoi_w_release.py:phase=relations,phase1=runs/cascade_hoi_w_release_1
Expect:  users report a mAP_rel of 51 to 57 on the test split at 1200 x 700; ours: not yet measured.

Training uses all 29,842 images, and evaluation the test images. Both boxes of a pair need a detection score of 0.4, and
the detector is frozen in phase 2. Faces are not needed, as the release does not use them.
"""

from configs import cascade_hoi_w


def get_config(options=""):
    return cascade_hoi_w.get_config(",".join(filter(None, ["preset=release,split=challenge", options])))
