"""QPIC (Tamura et al., CVPR 2021) on HICO-DET as settings of the body-part system; fits the authors' weights.

Build:   python -m data_prep.build hico_det --images hico_20160224_det/images \\
             --annotations train=trainval_hico.json test=test_hico.json
         (neither detections nor poses are needed)
Start:   python -m hoi_jax.systems.body_part.convert detr-r50-e632da11.pth detr.npz --detr-queries 100
Run:     python train.py --config configs/body_part_hico_det_qpic.py \\
             --workdir runs/qpic --config.train.init_from=detr.npz
Expect:  HOI mAP 29.07 in its paper; ours: not yet measured.

To score the authors' weights without training, convert them (without --detr-queries), then run
`python -m hoi_jax.commands.adopt configs/body_part_hico_det_qpic.py qpic.npz runs/qpic_authors` and
`python evaluate.py --workdir runs/qpic_authors`.
"""

from configs import body_part_hico_det

EPOCHS, DROP = 150, 100


def get_config():
    config = body_part_hico_det.get_config()
    per_epoch = body_part_hico_det.IMAGES / config.batch_size
    config.model.update(
        queries=100,
        verbs=dict(source="box_decoder"),
        interactiveness="none",
        matching=dict(aux="own", verb=1.0),
        loss=dict(verb_alpha=None),
        predict=dict(pair_nms=None),
        backbone=dict(mask_padding=False),
    )
    config.optimizer.schedule.step_at = (int(per_epoch * DROP),)
    config.train.update(num_steps=int(per_epoch * EPOCHS), best_metric="default/full")
    config.evaluation.metrics = ("hoi",)
    config.pipeline.sparsity = "off"
    return config
