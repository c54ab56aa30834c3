"""QPIC (Tamura et al., CVPR 2021) on HICO-DET as settings of the body-part system; takes the authors' weights.

Run:     python train.py --config configs/body_part_hico_det_qpic.py \\
             --workdir runs/qpic --config.train.init_from=detr.npz
Expect:  HOI mAP 29.07 in its paper; ours: not yet measured.
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
