"""CDN-S (Zhang et al., NeurIPS 2021) on V-COCO, first training stage: its HICO-DET recipe with 100 queries.

Build:   as for `body_part_vcoco_qpic.py`, without detections and poses
Start:   python -m hoi_jax.systems.body_part.convert detr.pth detr.npz --detr-queries 100 --absent-class
         (a DETR trained without V-COCO's test images)
Run:     python train.py --config configs/body_part_vcoco_cdn.py --workdir runs/cdnv --config.train.init_from=detr.npz
         Option after a colon: S (3 + 3 decoder layers) or B (6 + 6)
Expect:  role AP 61.68 / 63.77 (S) and 62.29 / 64.42 (B) in its paper with its second stage; ours: not yet measured.

Repeated pairs of an object class are suppressed by their best verb, among all queries, as in the authors' script.
"""

from configs import body_part_hico_det_cdn
from configs.body_part_vcoco_qpic import on_vcoco

EPOCHS, DROP = 90, 60


def get_config(size="S"):
    config = on_vcoco(body_part_hico_det_cdn.get_config(size), EPOCHS, DROP)
    config.model.queries = 100
    config.model.predict.product_nms.update(of="pair", best=None)
    return config
