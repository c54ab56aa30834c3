"""TIN's ablations on the scenes (Tables 2 to 5): C with and without P, inference rules, single streams of P.

python -m studies.run tin_ablations

R is trained once per seed to classify the objects of pairs (without verbs) and frozen, and its maps are cached; every
run then trains only heads, 1,500 steps in a minute or two. The eight settings are C alone and those of Table 5 that
concern the streams of P and the use of its scores. Inference rules are scored with the checkpoint of the joint run:
those of Table 5 (without LIS, L = 1) and the product of the confidences, with which section 4.3 compares LIS. Pairs are
suppressed (`nis=on`) as in the paper, unlike in the config.

The existing results were made without class weights at test (see docs/tin.md, "Scores"); new runs replace them.
"""

from studies.runs import Run

CLAIM = (
    "Joint P + C above C alone (the paper: 17.03 against 13.75 mAP). Without NIS, LIS or both the joint network loses "
    "(15.86, 16.35, 15.45). P from one stream alone is below all streams (human 14.91, object 15.28, spatial-pose "
    "15.73), and spatial-pose is the best single one. NIS deletes more than half of the pairs that match nothing "
    "(65.96 %)."
)
METRICS = ("default/full", "default/rare", "nis/reduction", "nis/lost_interactive")
SEEDS = (0, 1, 2)


def _runs(seed: int) -> dict[str, Run]:
    config, end, changes = "configs/tin_hoi_scenes.py", f"_seed{seed}", {"train.seed": seed}
    cached = f"nis=on,features=tin_r{seed},r={{r{end}}}"
    joint = f"joint{end}"
    runs = {
        f"r{end}": Run(f"{config}:mode=r", changes, stage=True, cache=f"tin_r{seed}"),
        joint: Run(f"{config}:{cached}", changes),
        f"c_alone{end}": Run(f"{config}:mode=c,{cached}", changes),
    }
    for stream in ("human", "object", "spatial"):
        runs[f"p_{stream}{end}"] = Run(f"{config}:p_streams={stream},{cached}", changes)
    for rule in ("nis", "lis", "both", "product"):
        runs[f"without_{rule}{end}"] = Run(f"{config}:without={rule},{cached}", changes, of=joint)
    return runs


RUNS = {name: run for seed in SEEDS for name, run in _runs(seed).items()}
