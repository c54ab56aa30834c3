"""The cascade on the scenes: Tables 4, 5 and 8 of the paper, and the effect of faces (Figure 7).

python -m studies.run cascade_ablations
python -m studies.cascade_faces                # Figure 7: verbs with and without facial attention, from its results

Fixed before the runs: settings of the config (chosen on train:held_out), three seeds, 1,200 steps each. Numbers of
stages are compared with the cascade's own detector, as in the paper, and with the boxes of the simulated detector
("fixed"), because part of the paper's gain comes from the detector. "on_given_boxes" scores the checkpoint of
`stages_3` on the boxes of the simulated detector, without training, to separate relations from box quality.
"""

from studies.runs import Run

CLAIM = (
    "More stages help until three (HOI-W mAP in the paper: 38.6, 42.1, 43.7, 43.7, 43.4 for one to five). Without "
    "semantic mining, facial attending or ranking there is less (33.9 without all three, 34.4 with mining alone, 36.7 "
    "with faces alone, 37.5 with both, 38.6 with ranking too, at one stage). Masks help a little (PIC R@20 27.1 boxes, "
    "27.8 masks, 27.6 the larger of both, 27.7 their sum). Faces help verbs of the face most."
)
METRICS = ("default/full", "default/rare", "default/non_rare")
PER_CLASS = ("default/ap",)
SEEDS = (0, 1, 2)
CONFIG = "configs/cascade_hoi_scenes.py"
OPTIONS = {
    "stages_3": "stages=3",
    "without_efra": "without=efra",
    "stages_1": "stages=1",
    "without_ihsm": "without=ihsm",
    "without_rrm": "without=rrm",
    "stages_2": "stages=2",
    "mask": "region=mask",
    "fixed_box": "detector=ground_truth",
    "fixed_mask": "detector=ground_truth,region=mask",
    "fixed_stages_1": "detector=external,stages=1",
    "fixed_stages_3": "detector=external,stages=3",
}


def _runs(seed: int) -> dict[str, Run]:
    end, changes = f"_seed{seed}", {"train.seed": seed}
    runs = {f"{name}{end}": Run(f"{CONFIG}:{option}", changes) for name, option in OPTIONS.items()}
    return {**runs, f"on_given_boxes{end}": Run(f"{CONFIG}:detector=external", changes, of=f"stages_3{end}")}


RUNS = {name: run for seed in SEEDS for name, run in _runs(seed).items()}
