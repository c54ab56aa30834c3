"""The cascade on HOI-W with the values of the authors' code (`preset=release`, see `cascade_common.py`).

Run:     python train.py --config configs/cascade_hoi_w_release.py:phase=relations --workdir runs/cascade_hoi_w_release
Expect:  users report a mAP_rel of 51 to 57 on the test split at 1200 x 700; ours: not yet measured.

Both members of a pair need a detection score of 0.4, and the detector is frozen in phase 2.
"""

from configs import cascade_hoi_w


def get_config(options=""):
    config = cascade_hoi_w.get_config(",".join(filter(None, ["preset=release", options])))
    config.model.predict.update(human_score=0.4, object_score=0.4)
    return config
