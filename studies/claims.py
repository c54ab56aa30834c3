"""Claims of the five papers, tested on the scenes: a list fixed before the runs, and a table of results.

    python -m studies.claims                 # writes docs/claims.md from the existing results
    python -m studies.claims --run           # first computes missing results (hours on two cores)

A claim names two runs of a study, the first of which is better according to the paper, and a metric. Runs are paired
by seed; the effect is the mean difference, and its interval is Student's t over the seeds. Runs are shared between
claims and executed by `studies.run`, which skips runs with a result.
"""

import argparse
import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from scipy import stats

from studies.run import RESULTS, ROOT

DISCUSSION = ROOT / "studies" / "claims_discussion.md"
PAGE = ROOT / "docs" / "claims.md"
SEEDS = (0, 1, 2)
HOI, ROLE = "default/full", "role_s1/12"


@dataclasses.dataclass(frozen=True)
class Claim:
    """One claim: in `study`, run `better` is above run `worse` in `metric`.

    Attributes:
      paper, table: source of the claim. text: the compared methods and the paper's own numbers.
      better, worse: run names without their "_seedN"; a suffix after the seed is given after a "+".
    """

    paper: str
    table: str
    text: str
    study: str
    better: str
    worse: str
    metric: str = HOI


def _claims(paper: str, study: str, metric: str, *rows: tuple[str, str, str, str]) -> tuple[Claim, ...]:
    """Claims of one study and metric; a row is (table, text, better, worse)."""
    return tuple(Claim(paper, table, text, study, better, worse, metric) for table, text, better, worse in rows)


C_ALONE = "tin_ablations/c_alone"
CLAIMS = (
    *_claims(
        "tin", "tin_ablations", HOI,
        ("2", "C with P (joint) above C alone: 17.03, 13.75", "joint", "c_alone"),
        ("5", "NIS helps: 17.03, 15.86 without", "joint", "without_nis"),
        ("5", "LIS helps: 17.03, 16.35 without", "joint", "without_lis"),
        ("5", "NIS and LIS help: 17.03, 15.45 without both", "joint", "without_both"),
        ("5", "all streams of P above the human stream: 17.03, 14.91", "joint", "p_human"),
        ("5", "all streams of P above the object stream: 17.03, 15.28", "joint", "p_object"),
        ("5", "all streams of P above the spatial-pose stream: 17.03, 15.73", "joint", "p_spatial"),
        ("5", "of single streams, spatial-pose above human: 15.73, 14.91", "p_spatial", "p_human"),
    ),
    *_claims(
        "tin", "tin_transfer", HOI,
        ("2", "P from the other labels (T1) above C alone: 16.91, 13.75", "t1_hoi", C_ALONE),
        ("2", "P from both labels (T2) above P from its own: 17.22, 17.03", "t2_hoi", "td_hoi"),
        ("2", "C alone above C from the other labels (CT): 13.75, 10.61", C_ALONE, "ct_hoi"),
    ),
    *_claims(
        "tin", "tin_transfer", ROLE,
        ("3", "on actions, P from the other labels above C alone: 48.3, 43.2", "t1_actions", "c_actions"),
        ("3", "on actions, C alone above C from the other labels: 43.2, 38.5", "c_actions", "ct_actions"),
    ),
    *_claims(
        "tin", "tin_transfer", "nis/reduction",
        ("4", "T2 suppresses more than P from its own labels: 70.94 %, 65.96 %", "t2_hoi", "td_hoi"),
    ),
    *_claims(
        "body_part", "body_part_ablations", "interactiveness_complete/ap",
        ("5", "body parts help: 38.74, 36.46 without", "whole", "without_parts"),
        ("5", "the saliency map helps: 38.74, 37.43 without", "whole", "without_saliency"),
        ("5", "progressive masks above the intuitive scheme: 38.74, 37.91", "whole", "intuitive"),
        ("5", "progressive masks help: 38.74, 38.06 without", "whole", "without_progressive"),
        ("5", "sparsity adaptive sampling helps: 38.74, 38.29 without", "whole", "without_sparsity"),
        ("5", "one pass above six: 38.74, 38.51", "whole", "without_one_pass"),
    ),
    *_claims(
        "defr", "defr_losses", "image/default",
        ("7", "LSE-Sign above binary cross-entropy: 60.5, 57.9", "lse_sign_random", "bce_random"),
        ("7", "LSE-Sign above the focal loss: 60.5, 53.2", "lse_sign_random", "focal_random"),
        ("5", "sentence embeddings above a random classifier: 51.0, 36.8", "lse_sign_language", "lse_sign_random"),
    ),
    # Table 11 of DEFR (regions) is withdrawn: the small network ignores the region, so its rows test nothing.
    *_claims(
        "calipso", "calipso_ablations", HOI,
        ("1", "weights shared between levels help: 46.36, 43.86 without", "whole", "without_sharing"),
        ("1", "passive voice helps: 46.36, 36.86 without", "whole", "without_passive"),
        ("1", "target presence helps: 46.36, 25.51 without", "whole", "without_presence"),
        ("1", "eight blocks above five: 46.36, 44.35", "whole", "blocks_5"),
        ("1", "eight blocks above eleven: 46.36, 45.05", "whole", "blocks_11"),
        ("2", "annotated boxes above a detector's, same weights: 54.48, 46.36", "ground_truth", "whole"),
    ),
    *_claims(
        "cascade", "cascade_ablations", HOI,
        ("5", "three stages above one: 43.7, 38.6", "stages_3", "stages_1"),
        ("5", "two stages above one: 42.1, 38.6", "stages_2", "stages_1"),
        ("4", "mining helps at three stages (paper: added alone at one stage, 34.4, 33.9)", "stages_3", "without_ihsm"),
        ("4", "faces help at three stages (paper: added alone at one stage, 36.7, 33.9)", "stages_3", "without_efra"),
        ("4", "ranking helps at three stages (paper: added last at one stage, 38.6, 37.5)", "stages_3", "without_rrm"),
        ("8", "masks above boxes: R@20 27.8, 27.1", "fixed_mask", "fixed_box"),
    ),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Effect:
    """Differences in percentage points by seed, their mean and the ends of its 95 % interval (NaN with one seed)."""

    by_seed: dict[int, float]
    mean: float
    low: float
    high: float
    minutes: float

    @property
    def verdict(self) -> str:
        if not self.by_seed:
            return "not run"
        if len(self.by_seed) < 2:
            return "one seed"
        if self.low > 0:
            return "confirmed"
        return "reversed" if self.high < 0 else "not confirmed"


def result_path(study: str, run: str, seed: int) -> Path:
    """The result file of "run" (or "study/run", and "run+tail") for one seed."""
    study, run = run.split("/") if "/" in run else (study, run)
    head, _, tail = run.partition("+")
    return RESULTS / study / f"{head}_seed{seed}{tail}.json"


def _read(path: Path, metric: str) -> tuple[float, float] | None:
    """(score in percent, minutes), or None if the run does not exist; KeyError if it lacks the metric."""
    if not path.is_file():
        return None
    result = json.loads(path.read_text())
    value = result["metrics"]["model"][metric]
    return 100 * value, result.get("minutes", result.get("seconds", 0.0) / 60)


def student(differences: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean and the ends of its t interval; the ends are NaN with fewer than two numbers."""
    count = len(differences)
    if not count:
        return math.nan, math.nan, math.nan
    mean = math.fsum(differences) / count
    if count < 2:
        return mean, math.nan, math.nan
    variance = math.fsum((d - mean) ** 2 for d in differences) / (count - 1)
    half = float(stats.t.ppf((1 + level) / 2, count - 1)) * math.sqrt(variance / count)
    return mean, mean - half, mean + half


def effect_of(claim: Claim, seeds: Iterable[int] = SEEDS) -> Effect:
    """The effect according to the existing results; a seed counts if both of its runs exist."""
    found, minutes = {}, 0.0
    for seed in seeds:
        better = _read(result_path(claim.study, claim.better, seed), claim.metric)
        worse = _read(result_path(claim.study, claim.worse, seed), claim.metric)
        if better and worse:
            found[seed] = better[0] - worse[0]
            minutes += better[1] + worse[1]
    return Effect(found, *student(list(found.values())), minutes)


def compute(claims: Iterable[Claim], seeds: Sequence[int] = SEEDS) -> tuple[int, float]:
    """(runs, hours of wall clock) behind the claims; runs shared by several claims are counted once."""
    names = {
        (result_path(c.study, run, seed), c.metric) for c in claims for run in (c.better, c.worse) for seed in seeds
    }
    minutes = {path: found[1] for path, metric in names if (found := _read(path, metric))}
    return len(minutes), sum(minutes.values()) / 60


def page(claims: Sequence[Claim] = CLAIMS) -> str:
    """The text of `docs/claims.md`: a count of verdicts, one row per claim, and the discussion."""
    effects = [effect_of(claim) for claim in claims]
    counts = {v: sum(e.verdict == v for e in effects) for v in dict.fromkeys(e.verdict for e in effects)}
    rows = [
        "| paper | claim | metric | effect | 95 % interval | seeds | minutes | verdict |",
        "|---|---|---|--:|--:|--:|--:|---|",
    ]
    for claim, effect in zip(claims, effects, strict=True):
        interval = "" if math.isnan(effect.low) else f"{effect.low:+.1f} to {effect.high:+.1f}"
        mean = "" if math.isnan(effect.mean) else f"{effect.mean:+.1f}"
        about = f"`{claim.paper}`, Table {claim.table} | {claim.text} | {claim.metric}"
        rows.append(
            f"| {about} | {mean} | {interval} | {len(effect.by_seed)} | {effect.minutes:.0f} | {effect.verdict} |"
        )
    runs, hours = compute(claims)
    verdicts = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    summary = f"{verdicts}; {runs} runs, {hours:.0f} hours on one or two CPU cores."
    return "\n".join([_HEAD, "", summary, "", *rows, "", DISCUSSION.read_text()])


_HEAD = """# Claims of the five papers, tested on hoi_scenes

This page is generated by `python -m studies.claims` from `studies/results/`. The list of claims is in
`studies/claims.py` and was fixed before the runs. Each claim ends with the paper's numbers, measured on HICO-DET,
V-COCO or HOI-W. The effect is the score of the run that is better according to the paper minus the score of the other
run, in percentage points, averaged over seeds. The interval is Student's t over seeds, so with three seeds only large
or consistent effects are *confirmed*. An interval that contains zero is *not confirmed*, which does not mean
*reversed*. Our scores are measured on 400 test scenes of `hoi_scenes/small`, with small networks trained from scratch;
an effect that is missing here may exist at full size. Minutes are the wall-clock time of the runs behind a row, often
on a machine with other work; claims share runs. The settings are in the studies."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="compute missing results first")
    options = parser.parse_args(arguments)
    if options.run:
        for study in dict.fromkeys(claim.study for claim in CLAIMS):
            subprocess.run([sys.executable, "-m", "studies.run", study], cwd=ROOT, check=True)
    text = page()
    PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
