"""The cascade on the scenes: Tables 4, 5 and 8 of the paper, and what faces are good for (Figure 7).

python -m studies.run cascade_ablations

Fixed before it was run: settings of the config, three seeds, 1,200 steps each. The stages are compared with the own
detector, as in the paper, and with given boxes ("fixed"): the paper's gain from stages is in part the detector's.
The last table is per verb: eat, talk_on and wear are those that faces should help (`evaluate.py --per-class`).
"""

from studies.runs import Run

CLAIM = (
    "More stages help until three (HOI-W mAP in the paper: 38.6, 42.1, 43.7, 43.7, 43.4 for one to five). Without "
    "semantic mining, facial attending or ranking there is less (33.9 without all three, 34.4 with mining alone, 36.7 "
    "with faces alone, 37.5 with both, 38.6 with ranking too, at one stage). Masks help a little (PIC R@20 27.1 boxes, "
    "27.8 masks, 27.6 the larger of both, 27.7 their sum). Faces help verbs of the face most."
)
METRICS = ("default/full", "default/rare", "default/non_rare")
SEEDS = (0, 1, 2)
OPTIONS = {
    "stages_1": "stages=1",
    "stages_2": "stages=2",
    "stages_3": "stages=3",
    "without_ihsm": "without=ihsm",
    "without_efra": "without=efra",
    "without_rrm": "without=rrm",
    "fixed_stages_1": "detector=external,stages=1",
    "fixed_stages_3": "detector=external,stages=3",
    "mask": "region=mask",
    "fixed_box": "detector=ground_truth",
    "fixed_mask": "detector=ground_truth,region=mask",
}
RUNS = {
    f"{name}_seed{seed}": Run(f"configs/cascade_hoi_scenes.py:{option}", {"train.seed": seed})
    for seed in SEEDS
    for name, option in OPTIONS.items()
}
