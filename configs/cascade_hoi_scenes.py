"""The cascade on the hoi_scenes dataset, small enough for two CPU cores.

Run:     python train.py --config configs/cascade_hoi_scenes.py --workdir runs/cascade
         python train.py --config configs/cascade_hoi_scenes.py:stages=1 --workdir runs/cascade-1
         python train.py --config configs/cascade_hoi_scenes.py:region=mask --workdir runs/cascade-mask
Expect:  HOI mAP 28.4 with the own detector (ours: 1,200 steps, seed 0, two CPU cores); class frequency 9.3. On the
         held-out part of the training images 37.0 with the simulated detector's boxes after 500 steps. Four minutes,
         nine with region=mask.

Options after a colon: stages=3|1|2|4|5, without=nothing|ihsm|efra|rrm (Table 4), region=box|mask|max|sum (Table 8),
detector=own|external (the simulated detector's boxes; `ground_truth`: the annotated ones, with their masks), and
phase=joint|detector|relations: phase 1 and phase 2 of the paper. Phase 2 starts from the last checkpoint of phase 1
with phase1=WORKDIR, which is required if the detector is frozen (phase=relations).

Training is from scratch, whereas the paper starts from a COCO detector: AdamW instead of SGD, narrow maps, three levels
of RoIs, anchors of two cells (8 to 64 pixels; a quarter of the objects are smaller than 15 pixels).
"""

from configs import cascade_common, common

STEPS = 1200
REGIONS = cascade_common.REGIONS
# A layer on probabilities needs large weights; at AdamW's usual rate its outputs would stay near sigmoid(0).
SEMANTIC = dict(pattern="relations_[0-9]/verb_s/.*", multiplier=20.0)


def get_config(options=""):
    chosen = common.choices(
        options,
        ("phase1",),
        stages=("3", "1", "2", "4", "5"),
        without=("nothing", "ihsm", "efra", "rrm"),
        region=tuple(REGIONS),
        detector=("own", "external", "ground_truth"),
        phase=("joint", "detector", "relations"),
    )
    own, masks = chosen["detector"] == "own", chosen["region"] != "box"
    if masks and chosen["detector"] == "external":
        raise ValueError("the simulated detector has no masks; region needs detector=own or ground_truth")
    config = common.base(system="cascade", batch_size=8)
    config.dataset = dict(
        name="hoi_scenes/small", vocabulary="hoi_scenes", train_split="train", eval_split="test",
        detections="ground_truth" if chosen["detector"] == "ground_truth" else "stored",
    )  # fmt: skip
    config.sizes = dict(image_hw=(128, 128), instances=16, detections=16, pairs=24, mask_hw=(64, 64))
    config.augment = dict(flip=0.5)
    config.model = dict(
        stages=int(chosen["stages"]), detector="own" if own else "external", max_humans=8,
        backbone=dict(
            stage_sizes=(1, 1, 1), stage_strides=(2, 2, 2), width=16, kind="basic", norm="group", stem="small",
            pyramid_width=16,
        ),
        rpn=dict(width=16, scale=2.0, per_level=48, total=48, samples=64),
        boxes=dict(width=64, samples=48, candidates=64, detections=16, finest_px=28.0, score=0.3),
        masks=dict(enabled=own and masks, convs=2, width=16, rois=16),
        relation=dict(
            region=REGIONS[chosen["region"]], mask_size=7, mining="none" if chosen["without"] == "ihsm" else "dot",
            mining_scale=16.0**-0.5, face=chosen["without"] != "efra", ranking=chosen["without"] != "rrm",
            width=64, geometric_width=48, face_width=16, map_size=32, map_features=(4, 8),
        ),
        loss=dict(parts=chosen["phase"], pairs=32, pair_share=0.5),
        predict=dict(top_pairs=24, human_score=0.3, object_score=0.3, chunk=128),
    )  # fmt: skip
    config.optimizer = common.adamw()
    if chosen["phase"] != "detector":
        frozen = cascade_common.FROZEN_DETECTOR if own and chosen["phase"] == "relations" else (dict(pattern=".*"),)
        config.optimizer.rules = (SEMANTIC, *frozen)
    config.train = dict(seed=0, num_steps=STEPS, log_every=20, checkpoint_every=200, keep_last=1)
    if chosen["phase1"]:
        config.train.init_from = (cascade_common.first_weights(chosen["phase"], chosen["phase1"]),)
    config.evaluation = dict(batch_size=16, metrics=("hoi",))
    return config
