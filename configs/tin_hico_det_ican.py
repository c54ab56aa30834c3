"""iCAN (Gao et al., BMVC 2018) on HICO-DET: TIN's released classifier without P, scored by detector confidences.

Build:   as for `tin_hico_det.py`; poses are not needed.
Start:   python -m data_prep.tf_checkpoint res50_faster_rcnn_iter_1190000.ckpt weights.npz
         python -m hoi_jax.systems.tin.convert weights.npz slim.npz
Run:     python train.py --config configs/tin_hico_det_ican.py --workdir runs/ican --config.train.init_from=slim.npz
Expect:  the paper's Default mAP is 14.84 Full / 10.45 Rare / 16.15 Non-Rare; ours: not yet measured.
"""

from configs import tin_hico_det, tin_hico_det_release


def get_config():
    config = tin_hico_det.get_config("mode=c")
    config.unlock()
    released = tin_hico_det_release.get_config().model
    config.model.update(
        backbone=released.backbone,
        context=released.context,
        classifier=released.classifier,
        loss=dict(weighting="none"),
        sampling=dict(group=1, augment=15, negatives=60, jitter_tries=150),
        score=dict(human_threshold=0.6, object_threshold=0.8, fusion="product", lis="product"),
    )
    config.optimizer = dict(
        name="momentum", learning_rate=1e-2, momentum=0.9, weight_decay=0.0, clip="leaf", clip_norm=1.0,
        schedule=dict(kind="step", step_at=tuple(range(100_000, 1_800_001, 100_000)), step_factor=0.96),
        base_batch_size=1,  # the authors use one image per update
        rules=tin_hico_det_release.FROZEN_STEM,
    )  # fmt: skip
    config.train.num_steps = 1_800_000
    return config
