"""iCAN (Gao et al., BMVC 2018) on V-COCO with late fusion, or early: --config configs/tin_vcoco_ican.py:fusion=early

Build:   as for `tin_vcoco.py`; poses are not needed.
Start:   python -m data_prep.tf_checkpoint res50_faster_rcnn_iter_1190000.ckpt weights.npz
         python -m hoi_jax.systems.tin.convert weights.npz slim.npz
Run:     python train.py --config configs/tin_vcoco_ican.py --workdir runs/ican_vcoco --config.train.init_from=slim.npz
Expect:  the paper's AP_role is 44.7 (late) and 45.3 (early); ours: not yet measured.
"""

from configs import common, tin_hico_det_ican, tin_vcoco


def get_config(options=""):
    chosen = common.choices(options, fusion=("late", "early"))
    config = tin_vcoco.get_config("mode=c")
    config.unlock()
    other = tin_hico_det_ican.get_config()
    config.model.update(
        backbone=other.model.backbone,
        context=other.model.context,
        classifier=other.model.classifier,
        loss=dict(weighting="none", human=2.0),
        sampling=dict(group=1, augment=15, negatives=30, jitter_tries=150),
        score=dict(
            human_threshold=0.8, object_threshold=0.4, fusion="product", lis="product",
            prior=("vocabulary", "released"), best_object=True,
        ),
    )  # fmt: skip
    if chosen["fusion"] == "early":
        config.model.classifier.streams = ("human", "joint")
        config.model.classifier.spatial_human = False
    config.optimizer = other.optimizer
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = dict(kind="step", step_at=tuple(range(20_000, 300_001, 20_000)), step_factor=0.96)
    config.train.num_steps = 300_000
    return config
