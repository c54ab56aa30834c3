"""Several systems on the same images, side by side: a section of a report.

Each system shows its N best-scored interactions of an image, N being the number of annotated ones, so that the scale
of its scores does not matter. The evaluators' matching decides which are right.
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
    """`wanted` evenly spaced positions in `count` images, starting with the first, so that nothing is hand-picked."""
    wanted = min(count, wanted)
    return [position * count // wanted for position in range(wanted)]


def best_rows(triplets: Triplets, images: Sequence[int], counts: Sequence[int]) -> list[Int[np.ndarray, " _"]]:
    """Rows of each image's best-scored triplets, at most `counts` of them; ties in row order."""
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
    """Annotations and best predictions of every system, for each image.

    Args:
      prediction_files: predictions by the name printed under the drawings.
      photos: `image_id` -> image [H, W, 3] uint8 of every image that is shown.
      images: image rows of the annotations.

    Raises:
      ValueError: the annotations have no labels in this vocabulary.
      KeyError: an image is not in `photos`.
    """
    truth = true_triplets(annotations, vocabulary)
    # Annotated pairs of no interaction are not expected from the systems.
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
