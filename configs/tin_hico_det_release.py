"""TIN on HICO-DET as its authors released it: iCAN's head as C, two-logit P, two-sided suppression.

Build:   as for `tin_hico_det.py`.
Start:   python -m data_prep.tf_checkpoint res50_faster_rcnn_iter_1190000.ckpt weights.npz
         python -m hoi_jax.systems.tin.convert weights.npz slim.npz
Run:     python train.py --config configs/tin_hico_det_release.py --workdir runs/tin_hico_release \\
             --config.train.init_from=slim.npz
Expect:  the authors' 17.54 Full / 13.80 Rare / 18.65 Non-Rare, with P's scores from a second, stored network; ours: not
         yet measured. R is TF-slim's ResNet-50 of tf-faster-rcnn; blocks 2 and 3 are trained, the rest is frozen.

Every difference from the paper is a value here: classifier.context, .spatial_human, .unit_norm; score.fusion;
optimizer.rules; interactiveness.layout, .context, .logits; score.lis_*; nis.*; score.times_interactiveness,
.weighted_logits; sampling.*; loss.*; optimizer.schedule, .weight_decay; score.*_threshold; maps.pose_min_score.
"""

import math

from configs import tin_hico_det

FROZEN_STEM = (dict(pattern="appearance/backbone/(stem|stage0)/.*", frozen=True), dict(pattern=".*"))


def get_config(options=""):
    config = tin_hico_det.get_config(options)
    config.unlock()
    config.model.update(
        # The authors use one image per step without padding; here padding is masked, which gives the same map.
        backbone=dict(
            layout="slim", frozen=False, image_mean=(122.7717, 115.9465, 102.9801), image_std=(1.0, 1.0, 1.0)
        ),
        context=dict(channels=512, features=1024, bias=True, dropout=0.2),
        maps=dict(pose_min_score=0.0),
        classifier=dict(
            appearance_layers=(1024, 1024), spatial_layers=(1024, 1024), context=True, spatial_human=True,
            unit_norm=True,
        ),
        interactiveness=dict(
            layout="joined", context=True, context_with="human", stream_layers=(1024,), pair_layers=(1024,), logits=2,
            logit_weights=(math.log(5.0), math.log(1.25)), no_interaction_positive=True, legacy_negative_copy=True,
            dropout=0.2,
        ),
        sampling=dict(negatives=60, jitter_tries=150),
        loss=dict(counts="released"),
        score=dict(
            human_threshold=0.8, object_threshold=0.3, fallback=4, fusion="product", times_interactiveness=False,
            weighted_logits=False, lis_scale=6.0, lis_offset=10.0, lis_slope=1.4,
        ),
        nis=dict(rule="two_sided", bounds="released"),
    )  # fmt: skip
    config.optimizer = dict(
        name="momentum", learning_rate=1e-3, momentum=0.9, weight_decay=0.0, clip="leaf", clip_norm=1.0,
        schedule=dict(kind="cosine_restarts", restart_period=80_000, restart_growth=2.0),
        base_batch_size=1,  # the authors use one image per update; batch_size=1 reproduces their run exactly
        rules=FROZEN_STEM,
    )  # fmt: skip
    config.train.num_steps = 2_000_000
    return config
