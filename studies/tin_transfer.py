"""Transfer of interactiveness between datasets (TIN, Tables 2 to 4), here the two label views of the scenes.

python -m studies.run tin_transfer

The views share images but define interactions differently: HOI classes (with wear, stand_on, talk_to, ...) and actions
with roles. In both directions the runs are: P from the other labels (T1), from both (T2), from the same labels but
trained separately (TD, which separates transfer from the effect of P's own residual stages), and C from the other
labels, fine-tuned for an epoch (CT). P_D and C of the HOI view are `joint` and `c_alone` of `tin_ablations`; those of
the action view are here. P and C of a T row come from finished runs, and combining them takes seconds. Pairs are
suppressed (`nis=on`) and results made without class weights at test, as in `tin_ablations`.
"""

from studies.runs import Run

CLAIM = (
    "On both views, C with P from the other labels (T1) is above C alone and near P_D; P from both (T2) is at least as "
    "good as P_D and suppresses most (the paper: 16.91 and 17.22 against 17.03, C alone 13.75; reductions 62.24, 70.94 "
    "and 65.96 %). A classifier from the other labels is far below (CT: 10.61)."
)
METRICS = ("default/full", "role_s1/12", "nis/reduction", "nis/lost_interactive")
SEEDS = (0, 1, 2)


def _runs(seed: int) -> dict[str, Run]:
    config, end, changes = "configs/tin_hoi_scenes.py", f"_seed{seed}", {"train.seed": seed}
    r = f"tin_ablations/r{end}"
    features = f"nis=on,features=tin_r{seed}"
    cached = f"{features},r={{{r}}}"
    c = {"hoi": f"tin_ablations/c_alone{end}", "actions": f"c_actions{end}"}
    other = {"hoi": "actions", "actions": "hoi"}
    runs = {
        f"p_hoi{end}": Run(f"{config}:mode=p,{cached}", changes, stage=True),
        f"p_actions{end}": Run(f"{config}:mode=p,on=other,{cached}", changes, stage=True),
        f"p_both{end}": Run(f"{config}:mode=p,on=both,{cached}", changes, stage=True),
        f"joint_actions{end}": Run(f"{config}:view=actions,{cached}", changes),
        f"c_actions{end}": Run(f"{config}:view=actions,mode=c,{cached}", changes),
    }
    for view in ("hoi", "actions"):
        for row, source in (("td", f"p_{view}"), ("t1", f"p_{other[view]}"), ("t2", "p_both")):
            parts = f"p={{{source}{end}}},c={{{c[view]}}}"
            runs[f"{row}_{view}{end}"] = Run(f"{config}:view={view},mode=join,{parts},{features}", changes, after=(r,))
        tune = f"view={view},mode=tune,c={{{c[other[view]]}}},{features}"
        runs[f"ct_{view}{end}"] = Run(f"{config}:{tune}", changes, after=(r,))
    return runs


RUNS = {name: run for seed in SEEDS for name, run in _runs(seed).items()}
