"""TIN (paper form) on the hoi_scenes dataset, small enough for two CPU cores.

Run:     python train.py --config configs/tin_hoi_scenes.py --workdir runs/tin
Expect:  HOI mAP 53.1, with suppression (nis=on) 51.6 (ours: 1,500 steps, seed 0, two CPU cores); class frequency 9.3.

Options after a colon: view=hoi|actions (labels), and the modes of `tin_modes.py`, with transfer between the two views;
or one of the probes below. The paper starts from a detector's frozen ResNet-50; here R is small and, unless its maps
come from a cache, trained together with the rest.
"""

from configs import common, tin_modes

STEPS = 1500
EPOCH = 200

# Networks with only one kind of input: --config configs/tin_hoi_scenes.py:geometry
PROBES = {
    "geometry": dict(classifier=("spatial",), interactiveness=("spatial",)),
    "geometry_pose": dict(classifier=("spatial",), interactiveness=("spatial", "pose")),
    "appearance": dict(classifier=("human", "object"), interactiveness=("human", "object")),
}


def get_config(options=""):
    probe = options if options in PROBES else ""
    arg = tin_modes.parse("" if probe else options, modes=tin_modes.MODES, view=("hoi", "actions"))
    config = common.base(system="tin", batch_size=8)
    config.dataset = dict(name="hoi_scenes/small", vocabulary="hoi_scenes", train_split="train")
    config.sizes = dict(image_hw=(128, 128), instances=24, detections=24, pairs=48)
    config.augment = dict(flip=0.5)
    config.model = dict(
        backbone=dict(
            stage_sizes=(1, 1, 1), stage_strides=(1, 2, 2), width=16, kind="basic", norm="group", stem="small",
            frozen=False, roi_blocks=1, roi_width=32, roi_size=5,
        ),
        maps=dict(size=32, features=(8, 16)),
        classifier=dict(appearance_layers=(128, 128), spatial_layers=(128, 128), dropout=0.2, prior=0.05),
        interactiveness=dict(stream_layers=(128, 128), pair_layers=(128, 128)),
        # The simulated detector's true boxes score 0.73 to 0.96 (5 to 95 %), its false ones 0.16 to 0.48; the paper's
        # thresholds and LIS constants are for Faster R-CNN, whose confidences are close to 1.
        sampling=dict(augment=3, copies="detected", negatives=10, human_score=0.3, object_score=0.3, overlap=0.5),
        score=dict(fusion="product", human_threshold=0.3, object_threshold=0.3, lis_scale=1.0, lis_offset=6.0),
        # C's terms are means over 99 mostly absent classes, a tenth of P's.
        loss=dict(human=10.0, object=10.0, spatial=10.0, mean="batch"),
        # Scores are already multiplied by f_P (Eq. 6), and suppression would also remove true pairs; nis=on enables it.
        nis=dict(enabled=False),
        max_humans=8, max_objects=14, max_pairs=96,
    )  # fmt: skip
    config.optimizer = common.adamw()
    config.train = dict(
        seed=0, num_steps=STEPS, log_every=20, evaluate_every=750, checkpoint_every=250, best_metric="default/full"
    )
    config.evaluation = dict(batch_size=16, metrics=("hoi", "nis"))
    if probe:
        config.model.classifier.streams = PROBES[probe]["classifier"]
        config.model.interactiveness.streams = PROBES[probe]["interactiveness"]

    own, other = ("hoi_scenes/small", "hoi_scenes"), ("hoi_scenes/small", "hoi_scenes_actions")
    if arg.view == "actions":
        own, other = other, own
        config.dataset.vocabulary = "hoi_scenes_actions"
        config.sizes.persons = 16
        config.evaluation.metrics = ("actions", "nis")
        config.train.best_metric = "role_s1/12"
    if arg.mode == "p":
        config.sizes.persons = 16
    if arg.mode == "r":
        # Features for object classes, trained without verbs, replace the paper's pretrained detector.
        config.dataset.update(vocabulary="objects_scenes", labels="hoi_scenes")
        config.model.classifier.streams = ("human", "object")
        config.model.interactiveness.streams = ()
        config.train.update(evaluate_every=0, best_metric=None)
        return config
    return tin_modes.apply(config, arg, view="interactive_scenes", own=own, other=other, epoch=EPOCH)
