"""CDN on V-COCO, second stage: decoders and heads are fine-tuned with re-weighted verbs, the rest is frozen.

Build:   as for `body_part_vcoco_qpic.py`
Run:     python train.py --config configs/body_part_vcoco_cdn_stage2.py:runs/cdnv --workdir runs/cdnv2
         (after the colon: the workdir of stage 1; "B,runs/cdnv" for CDN-B)
Expect:  role AP 61.68 / 63.77 (S) and 62.29 / 64.42 (B) in its paper; ours: not yet measured.

Object classes are not re-weighted, as in the authors' training.
"""

from configs import body_part_hico_det_cdn_stage2, body_part_vcoco_cdn
from configs.body_part_vcoco_qpic import on_vcoco

EPOCHS = body_part_hico_det_cdn_stage2.EPOCHS
# Training pairs per verb as counted in CDN's code (models/hoi.py, `verb_nums_init` of V-COCO).
VERB_COUNTS = (
    4001, 4598, 1989, 488, 656, 3825, 367, 367, 677, 677, 700, 471, 354, 498, 300, 313, 300, 300, 622, 458, 500, 498,
    489, 1545, 133, 142, 38, 116, 388,
)  # fmt: skip


def get_config(stage1="runs/cdnv"):
    size, _, _ = stage1.rpartition(",")
    config = on_vcoco(body_part_hico_det_cdn_stage2.get_config(stage1), EPOCHS, 0)
    model = body_part_vcoco_cdn.get_config(size or "S").model
    model.loss.reweight = dict(verb="dynamic", verb_counts=VERB_COUNTS)
    config.model = model
    return config
