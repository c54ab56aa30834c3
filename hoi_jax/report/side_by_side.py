"""Several systems on the same images, side by side: a section of a report.

A system may name as many interactions of an image as are annotated there, its best-scored ones: how its scores are
scaled neither helps nor hurts, and right and wrong are what the evaluators' matching says.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int
from PIL import Image

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.analysis.triplets import Triplets, interactions_of, match, predicted_triplets, true_triplets
from hoi_jax.predictions import Predictions
from hoi_jax.report.elements import Section, case
from hoi_jax.visualization.interactions import draw_interactions
from hoi_jax.vocab import Vocabulary

SIDE_PX = 400
"""Longer side of a drawing on the page."""


def spread_rows(count: int, wanted: int) -> list[int]:
    """`wanted` positions at even distances in `count` images, the first one first: chosen by nobody."""
    wanted = min(count, wanted)
    return [position * count // wanted for position in range(wanted)]


def best_rows(triplets: Triplets, images: Sequence[int], counts: Sequence[int]) -> list[Int[np.ndarray, " n"]]:
    """For each image the rows of its best-scored triplets, at most as many as its count; ties in the order given."""
    order = np.argsort(-triplets.score, kind="stable")
    owner = triplets.image[order]
    return [order[owner == image][:count] for image, count in zip(images, counts, strict=True)]


def side_by_side(
    prediction_files: Mapping[str, Predictions],
    annotations: Annotations,
    vocabulary: Vocabulary,
    photos: Mapping[int, np.ndarray],
    images: Sequence[int],
) -> Section:
    """For each image what is annotated and what every system names first.

    Args:
      stores: predictions by the name that stands under the drawings.
      images: `image_id` -> image [H, W, 3] uint8 of every image that is shown.
      images: rows of the annotations.

    Raises:
      ValueError: the annotations have no labels in this vocabulary.
      KeyError: an image's image is not among `images`.
    """
    truth = true_triplets(annotations, vocabulary)
    # That somebody does nothing is annotated, and nothing to be named.
    said = truth.take(np.flatnonzero(truth.verb != vocabulary.no_interaction))
    counts = [int(np.sum(said.image == image)) for image in images]
    true_rows = best_rows(said, images, counts)
    systems = {}
    for name, predictions in prediction_files.items():
        predicted = predicted_triplets(predictions, annotations, vocabulary)
        right, _ = match(predicted, truth, vocabulary)
        systems[name] = predicted, right, best_rows(predicted, images, counts)
    cases = []
    for position, image in enumerate(images):
        number, count = int(annotations.image_id[image]), counts[position]
        photo = photos[number]
        drawn = interactions_of(said, true_rows[position], vocabulary, None, with_score=False)
        panels = [("annotated", _shrunk(draw_interactions(photo, drawn)))]
        for name, (predicted, right, rows) in systems.items():
            drawn = interactions_of(predicted, rows[position], vocabulary, right, with_score=True)
            found = int(right[rows[position]].sum())
            panels.append((f"{name}: {found} of {count}", _shrunk(draw_interactions(photo, drawn))))
        caption = f"{count} annotated interaction{'' if count == 1 else 's'}."
        cases.append(case("plain", f"Image {number}", caption, panels))
    return Section("images", "The same images", "".join(cases))


def _shrunk(image: Image.Image) -> Image.Image:
    ratio = min(1.0, SIDE_PX / max(image.size))
    width, height = (max(1, round(side * ratio)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)
