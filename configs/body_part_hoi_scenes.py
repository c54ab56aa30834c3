"""Body-part interactiveness on the hoi_scenes dataset, stage 1 (detector and interactiveness), for two CPU cores.

Run:     python train.py --config configs/body_part_hoi_scenes.py --workdir runs/body1
Expect:  interactiveness AP 47.9, max recall 81.9 (seed 0; an hour on two cores). On all pairs of the simulated
         detector, box distance reaches 36.7 and class frequency 14.8. The run is exported to
         checkpoints/body_part_hoi_scenes, in two parts: 2,286 updates at 1e-3, and 2,750 more that end at 0.

Options after a colon: `ablation` (Table 5), `start=FOLDER` (all weights of another run), `detector=FOLDER` (its weights
except the interactiveness decoder), for example
configs/body_part_hoi_scenes.py:ablation=intuitive,detector=runs/body1.

Rules are the paper's; sizes are small. From scratch, DETR's learned query vectors make no progress here in an hour (max
recall 2.6 after 1,500 updates), so queries have reference points in the image (`query="point"`). Cells are 8 pixels
wide, and a cell is covered if a box touches it (`cell_rule="floor"`), because by the paper's corner test small parts
would have no cell.
"""

from configs import common
from configs.body_part_hico_det import ABLATIONS

STEPS = 5000
DETECTOR = "params/(backbone|input_projection|encoder|box_decoder|query_.*|object_class|human_box|object_box)(/.*)?"


def get_config(options=""):
    chosen = common.choices(options, free=("start", "detector"), ablation=tuple(ABLATIONS))
    ablation = chosen["ablation"]
    config = common.base(system="body_part", batch_size=16)
    config.dataset = dict(name="hoi_scenes/small", vocabulary="hoi_scenes")
    config.sizes = dict(image_hw=(128, 128), fit="enlarge", instances=24, detections=24, pairs=48)
    config.augment = dict(flip=0.5, crop=0.5, crop_min_side=0.6)
    config.pipeline = dict(sparsity="off" if ablation == "without_sparsity" else "ratio")
    config.model = dict(
        backbone=dict(
            stage_sizes=(1, 1, 1, 1), stage_strides=(2, 2, 1, 1), width=16, kind="basic", norm="group", stem="small",
        ),
        transformer=dict(hidden=64, heads=4, feedforward=128, dropout=0.0, encoder_layers=1, box_layers=3),
        verbs=dict(source="none", layers=3, prior=0.05),
        parts=dict(cell_rule="floor", scheme="one_pass", masks="progressive"),
        loss=dict(no_interaction_negative=True),
        queries=32,
        query="point",
    )  # fmt: skip
    config.optimizer = common.adamw(learning_rate=1e-3, clip_norm=0.1)
    config.train = dict(
        seed=0, num_steps=STEPS, log_every=20, evaluate_every=1000, checkpoint_every=250,
        best_metric="interactiveness_complete/ap",
    )  # fmt: skip
    config.evaluation = dict(batch_size=16, metrics=("interactiveness",), subsets=("sparse", "crowded"))
    config.model.parts.update(ABLATIONS[ablation])
    if chosen["start"]:
        config.train.init_from = (dict(path=chosen["start"]),)
    if chosen["detector"]:
        config.train.init_from = (dict(path=chosen["detector"], include=(DETECTOR,)),)
    return config
