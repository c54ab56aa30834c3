"""CALIPSO on the scenes: the ablations of Table 1, and detectors of different quality (Table 2).

python -m data_prep.build hoi_scenes/small --noise 0.5        # and 2, and 3: the same scenes, other simulated detectors
python -m studies.run calipso_ablations

Fixed before the runs: settings of the config (its weights chosen on a held-out tenth of the training images), three
seeds, 800 steps each. As in the paper, other detectors are scored with the checkpoint of the whole model, without
further training. So is the paper's selection rule (at most one object per person and verb, Eq. 12 competing), which the
config leaves out; the effect of target presence under that rule is measured for both networks.

The results were made with an earlier loss (`LOSS`): target presence of all verbs instead of performed ones, which costs
Eq. 12 as described in docs/calipso.md, and weighted cross-entropies over all outputs.
"""

from studies.runs import Run

CLAIM = (
    "Each of these costs points (V-COCO AP_role in the paper: 46.36 whole): no weight sharing between levels (43.86), "
    "no passive voice (36.86), no target presence (25.51), 5 blocks (44.35) or 11 (45.05) instead of 8. A better "
    "detector helps without training (X101 47.65), annotated boxes most (54.48)."
)
METRICS = ("default/full", "default/rare", "default/non_rare")
SEEDS = (0, 1, 2)
ABLATIONS = {
    "without_sharing": "without=sharing",
    "without_passive": "without=passive",
    "without_presence": "without=presence",
    "blocks_5": "blocks=5",
    "blocks_11": "blocks=11",
}
DETECTORS = ("ground_truth", "noise0.5", "noise2", "noise3")
RULE = "keep=best"
LOSS = {"model.loss.target_mask": "all", "model.loss.per": "output", "model.loss.verb": 40.0, "model.loss.target": 20.0}


def _runs(seed: int) -> dict[str, Run]:
    config, end, changes = "configs/calipso_hoi_scenes.py", f"_seed{seed}", {"train.seed": seed, **LOSS}
    whole = f"whole{end}"
    runs = {whole: Run(config, changes)}
    runs |= {f"{name}{end}": Run(f"{config}:{option}", changes) for name, option in ABLATIONS.items()}
    runs |= {f"{name}{end}": Run(f"{config}:detections={name}", changes, of=whole) for name in DETECTORS}
    bare = f"without_presence{end}"
    runs[f"whole_one_object{end}"] = Run(f"{config}:{RULE}", changes, of=whole)
    runs[f"without_presence_one_object{end}"] = Run(f"{config}:without=presence,{RULE}", changes, of=bare)
    return runs


RUNS = {name: run for seed in SEEDS for name, run in _runs(seed).items()}
