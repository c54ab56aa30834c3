"""CDN-S (Zhang et al., NeurIPS 2021) on HICO-DET as settings of the body-part system, first training stage.

Build:   python -m data_prep.build hico_det --images hico_20160224_det/images \\
             --annotations train=trainval_hico.json test=test_hico.json
         (neither detections nor poses are needed)
Start:   python -m hoi_jax.systems.body_part.convert detr-r50-e632da11.pth detr.npz --detr-queries 64
Run:     python train.py --config configs/body_part_hico_det_cdn.py --workdir runs/cdn --config.train.init_from=detr.npz
         Option after a colon: S (3 + 3 decoder layers) or B (6 + 6)
Expect:  HOI mAP 31.44 (S) and 31.78 (B) in its paper with its second stage; ours: not yet measured.

The second stage is `body_part_hico_det_cdn_stage2.py`. Published results use suppression of repeated triplets
(`--use_nms_filter` in the authors' code; here `predict.product_nms`). The authors' weights can be scored with
`commands.adopt`, as for QPIC.
"""

from configs import body_part_hico_det

LAYERS = {"S": 3, "B": 6}


def get_config(size="S"):
    config = body_part_hico_det.get_config()
    config.model.update(
        transformer=dict(box_layers=LAYERS[size]),
        verbs=dict(source="decoder", layers=LAYERS[size]),
        interactiveness="none",  # "box_decoder" adds its optional matching head
        matching=dict(aux="own", verb=1.0),
        loss=dict(verb=2.0),
        predict=dict(pair_nms=None, product_nms=dict(threshold=0.7)),
        backbone=dict(mask_padding=False),
    )
    config.train.best_metric = "default/full"
    config.evaluation.metrics = ("hoi",)
    config.pipeline.sparsity = "off"
    return config
