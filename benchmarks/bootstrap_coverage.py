"""Coverage of 95 % bootstrap intervals in simulated test sets of HICO-DET's size.

    python benchmarks/bootstrap_coverage.py --sets 400 --draws 200

The simulation is fixed (seed 99 for the classes): 600 classes as frequent as in the HICO-DET test labels, 9,658 images
per set. A class is in an image with the probability that its count implies, with 1 + Poisson(0.5) pairs. Each image has
a difficulty N(0, 1) and each class one N(0.3, 1): a pair is found with probability logistic(their sum + 0.5), and its
score is higher where both are. There are three false positives per pair on average, half of them in images with the
class and half in any image. Detections of one image are therefore correlated, as in reality. Rare classes are those of
HICO-DET.

Each simulated set is scored and gets its intervals. The true value is the mean score over all simulated sets, that is,
the mean result of the protocol for sets of this size. The output also has the score on a set sixty times larger: the
11-point AP of few positives is above it, which no interval around the estimate can correct. Coverage is also counted
for percentile intervals of the same draws, to show why they are not used.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hoi_jax import io
from hoi_jax.evaluation.analysis.bootstrap import intervals, resample
from hoi_jax.evaluation.metrics.resampling import ClassRanking, image_draws, mean_over_classes, resampled_ap
from hoi_jax.vocab.datasets import HICO, TEST_COUNTS

NUM_IMAGES = 9658
COUNTS = np.array(TEST_COUNTS, np.float64)
MULTIPLE = 1.5
FALSE_POSITIVES = 3.0
MEANS = {"full": np.ones(len(COUNTS), bool), "rare": HICO.rare, "non_rare": ~HICO.rare}
EASE = np.random.default_rng(99).normal(0.3, 1.0, len(COUNTS))
LARGER = 60


def simulate(generator: np.random.Generator, num_images: int = NUM_IMAGES) -> ClassRanking:
    """One test set with predictions, as a ranking; matching is not simulated, as the bootstrap does not repeat it."""
    classes = np.arange(len(COUNTS))
    present = generator.binomial(num_images, COUNTS / NUM_IMAGES / MULTIPLE)
    label = np.repeat(classes, present)
    image = generator.integers(0, num_images, len(label))
    pairs = 1 + generator.poisson(MULTIPLE - 1, len(label))
    label, image = np.repeat(label, pairs), np.repeat(image, pairs)

    ease = generator.normal(0.0, 1.0, num_images)
    total = EASE[label] + ease[image]
    found = generator.random(len(label)) < 1 / (1 + np.exp(-total - 0.5))
    true_score = 0.7 * total[found] + generator.normal(0.5, 1.0, found.sum())
    here = generator.poisson(FALSE_POSITIVES / 2, len(label))
    near_label, near_image = np.repeat(label, here), np.repeat(image, here)
    anywhere = generator.poisson((FALSE_POSITIVES / 2 * COUNTS + 2) * num_images / NUM_IMAGES)
    far_label, far_image = np.repeat(classes, anywhere), generator.integers(0, num_images, anywhere.sum())
    near_score = generator.normal(-0.5, 1.0, len(near_label)) + 0.4 * ease[near_image]
    far_score = generator.normal(-1.0, 1.0, len(far_label)) + 0.4 * ease[far_image]

    all_label = np.concatenate([label[found], near_label, far_label])
    hit = np.arange(len(all_label)) < found.sum()
    order = np.lexsort((-np.concatenate([true_score, near_score, far_score]), all_label))
    all_image = np.concatenate([image[found], near_image, far_image])
    return ClassRanking(
        all_label[order],
        all_image[order],
        hit[order],
        label,
        image,
        num_images,
        len(COUNTS),
        "11pt",
        "matlab",
        "float64",
        MEANS,
    )


def percentile_ends(ranking: ClassRanking, draws: int, seed: int) -> dict[str, np.ndarray]:
    """2.5th and 97.5th percentiles of the plain draws of every mean."""
    ap = resampled_ap(ranking, image_draws(ranking.num_images, draws, seed))
    return {name: np.quantile(mean_over_classes(ap, mask), [0.025, 0.975]) for name, mask in MEANS.items()}


def measure(sets: int, draws: int, seed: int) -> dict[str, dict[str, float]]:
    """Coverage and errors of every mean over `sets` simulated sets."""
    estimate, low, high, error, percentiles = ({name: [] for name in MEANS} for _ in range(5))
    for number in range(sets):
        ranking = simulate(np.random.default_rng([seed, number]))
        for name, interval in intervals(resample([ranking], replicates=draws, seed=number)).items():
            estimate[name].append(interval.estimate)
            low[name].append(interval.low)
            high[name].append(interval.high)
            error[name].append(interval.standard_error)
        for name, ends in percentile_ends(ranking, draws, number).items():
            percentiles[name].append(ends)
    large = simulate(np.random.default_rng([seed, sets]), LARGER * NUM_IMAGES)
    large_ap = resampled_ap(large, np.ones((large.num_images, 1), np.int32))

    result = {}
    for name, mask in MEANS.items():
        truth, limit = float(np.mean(estimate[name])), float(mean_over_classes(large_ap, mask)[0])
        first, last = np.array(low[name]), np.array(high[name])
        ends = np.array(percentiles[name])
        result[name] = {
            "truth": truth,
            "score_of_a_set_60_times_larger": limit,
            "coverage": float(np.mean((first <= truth) & (truth <= last))),
            "coverage_of_the_larger_set": float(np.mean((first <= limit) & (limit <= last))),
            "coverage_of_percentile_intervals": float(np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1]))),
            "spread_of_the_estimate": float(np.std(estimate[name], ddof=1)),
            "mean_standard_error": float(np.mean(error[name])),
        }
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=400, help="number of simulated test sets (default: %(default)s)")
    parser.add_argument("--draws", type=int, default=200, help="bootstrap draws per set (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="seed of the simulated sets (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "bootstrap_coverage.json")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    result = measure(options.sets, options.draws, options.seed)
    settings = {"sets": options.sets, "draws": options.draws, "seed": options.seed, "level": 0.95}
    settings["standard_error_of_a_coverage"] = round(float(np.sqrt(0.95 * 0.05 / options.sets)), 4)
    settings["seconds"] = round(time.perf_counter() - start, 1)
    io.write_json_atomic(options.out, {"settings": settings, "means": result})
    for name, row in result.items():
        print(
            f"{name:<9} coverage {row['coverage']:.3f}   "
            f"percentile intervals {row['coverage_of_percentile_intervals']:.3f}   "
            f"standard error {row['mean_standard_error']:.5f} of a spread of {row['spread_of_the_estimate']:.5f}"
        )


if __name__ == "__main__":
    main()
