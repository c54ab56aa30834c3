"""CDN on HICO-DET, second stage: decoders and heads are fine-tuned with re-weighted classes, the rest is frozen.

Build:   as for `body_part_hico_det_cdn.py`
Run:     python train.py --config configs/body_part_hico_det_cdn_stage2.py:runs/cdn --workdir runs/cdn2
         (after the colon: the workdir of stage 1; "B,runs/cdn" for CDN-B)
Expect:  HOI mAP 31.44 (S) and 31.78 (B) in its paper; ours: not yet measured.
"""

from configs import body_part_hico_det, body_part_hico_det_cdn

EPOCHS, LEARNING_RATE = 10, 1e-5
TRAINED = "(box_decoder|verb_decoder|object_class|human_box|object_box|verb|matching)/.*"


def get_config(stage1="runs/cdn"):
    size, _, workdir = stage1.rpartition(",")
    config = body_part_hico_det_cdn.get_config(size or "S")
    config.model.loss.reweight = dict(object="dynamic", verb="dynamic")
    config.optimizer.update(
        learning_rate=LEARNING_RATE,
        schedule=dict(kind="constant"),
        rules=(dict(pattern=TRAINED), dict(pattern=".*", frozen=True)),
    )
    steps = body_part_hico_det.IMAGES * EPOCHS // config.batch_size
    config.train.update(num_steps=steps, init_from=(dict(path=workdir),))
    return config
