"""TIN on V-COCO as its authors released it: like `tin_hico_det_release.py`, fine-tuned from a trained iCAN.

Build:   as for `tin_vcoco.py`.
Run:     python train.py --config configs/tin_vcoco_release.py --workdir runs/tin_vcoco_release \\
             --config.train.init_from=runs/ican_vcoco
Expect:  the authors' AP_role 49.0; ours: not yet measured. At 2e-6, starting from the detector alone gives about 30.

The authors' `prior_mask.pkl` is not public; score.prior=("vocabulary", "released") uses the vocabulary's co-occurrence
table instead.
"""

import math

from configs import tin_hico_det_release, tin_vcoco


def get_config(options=""):
    config = tin_vcoco.get_config(options)
    config.unlock()
    config.model.update(tin_hico_det_release.get_config().model)
    config.model.interactiveness.update(
        context_with="object", logit_weights=(math.log(3.0), math.log(1.5)), no_interaction_positive=True
    )
    config.model.loss = dict(human=2.0, counts="released", weighted=("human", "object"))
    config.model.score = dict(
        human_threshold=0.6, object_threshold=0.4, fusion="product", times_interactiveness=False,
        weighted_logits=False,
        lis_scale=6.0, lis_offset=6.0, lis_slope=7.0, prior=("vocabulary", "released"), best_object=True,
        agent="pair",
    )  # fmt: skip
    config.model.nis = dict(rule="two_sided", bounds="released", drop_person_objects=True)
    config.optimizer = dict(
        name="momentum", learning_rate=2e-6, momentum=0.9, weight_decay=0.0, clip="leaf", clip_norm=1.0,
        schedule=dict(kind="step", step_at=(20_000,), step_factor=0.96),
        base_batch_size=1,  # the authors use one image per update
        rules=tin_hico_det_release.FROZEN_STEM,
    )  # fmt: skip
    config.train.num_steps = 20_000
    return config
