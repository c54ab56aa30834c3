"""Print AP per verb with and without facial attention (Figure 7 of the cascade paper), from the study's results.

    python -m studies.cascade_faces

The AP of a verb is the mean over its HOI classes with test pairs. Verbs of the face come first; the paper does not list
them, so they are those verbs of the scenes that involve the head.
"""

import json
from pathlib import Path

import numpy as np

from hoi_jax.vocab import get_vocabulary
from studies.cascade_ablations import SEEDS

RESULTS = Path(__file__).resolve().parent / "results" / "cascade_ablations"
FACE_VERBS = ("eat", "talk_on", "wear", "talk_to", "look_at")
WITH, WITHOUT = "stages_3", "without_efra"


def verb_ap(run: str, seed: int) -> dict[str, float] | None:
    """Verb -> mean AP over its classes; None if the run does not exist."""
    path = RESULTS / f"{run}_seed{seed}.json"
    if not path.is_file():
        return None
    table = json.loads(path.read_text())["per_class"]["default/ap"]
    values = np.array([np.nan if value is None else value for value in table], np.float64)
    vocabulary = get_vocabulary("hoi_scenes")
    verbs = np.array([verb for verb, _ in vocabulary.hois])
    known = {name: values[verbs == index] for index, name in enumerate(vocabulary.verbs)}
    return {name: float(np.nanmean(rows)) for name, rows in known.items() if not np.isnan(rows).all()}


def table() -> list[tuple[str, list[float], list[float]]]:
    """(verb, AP with faces by seed, AP without by seed) for seeds with both, verbs of the face first."""
    seeds = [(a, b) for seed in SEEDS if (a := verb_ap(WITH, seed)) and (b := verb_ap(WITHOUT, seed))]
    if not seeds:
        return []
    names = sorted(seeds[0][0], key=lambda name: (name not in FACE_VERBS, name))
    return [(name, [a[name] for a, _ in seeds], [b[name] for _, b in seeds]) for name in names]


def main() -> None:
    rows = table()
    print(f"{'verb':<18}{'with':>8}{'without':>9}{'gain':>8}   by seed")
    for name, with_faces, without in rows:
        gains = [100 * (a - b) for a, b in zip(with_faces, without, strict=True)]
        means = 100 * np.mean(with_faces), 100 * np.mean(without), np.mean(gains)
        mark = "*" if name in FACE_VERBS else " "
        print(f"{mark}{name:<17}{means[0]:>8.2f}{means[1]:>9.2f}{means[2]:>8.2f}   {np.round(gains, 2).tolist()}")
    for title, of_face in (("verbs of the face (*)", True), ("other verbs", False)):
        chosen = [np.mean(a) - np.mean(b) for name, a, b in rows if (name in FACE_VERBS) is of_face]
        if chosen:
            print(f"{title}: {100 * np.mean(chosen):.2f}")
    if not rows:
        print(f"there are no results of {WITH} and {WITHOUT} with the same seed")


if __name__ == "__main__":
    main()
