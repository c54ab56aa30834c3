"""TIN's ablations on the scenes (Tables 2 to 5): C with and without P, rules of inference, one stream of P alone.

python -m studies.run tin_ablations

R is trained once per seed to tell the objects of pairs (no verbs), frozen, and its maps are stored; every run then
trains heads only, 1,500 steps in a minute or two. Eight settings: those of Table 5 that say what P is made of and what
its scores are for, and C alone as the base. The rules of inference score the joint run's own checkpoint: Table 5's
(without LIS, L = 1), and the product of the confidences, which section 4.3 puts LIS against. Pairs are suppressed here
(`nis=on`), as in the paper, which the config leaves off.

The results that are there are of the time when class weights were left out at test (see docs/tin.md, "Scores"); a new
run replaces them.
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
