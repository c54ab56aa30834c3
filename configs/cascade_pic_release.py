"""The cascade on PIC 2.0 with the values of the authors' code (`preset=release`, see `cascade_common.py`).

Run:     python train.py --config configs/cascade_pic_release.py:phase=relations --workdir runs/cascade_pic_release
Expect:  not yet measured.

Relations are those of boxes with masks as a detector's output (the release pools boxes at 14 x 14 and never multiplies
by the mask), and pictures are not mirrored.
"""

from configs import cascade_pic


def get_config(options=""):
    return cascade_pic.get_config(",".join(filter(None, ["preset=release,region=box", options])))
