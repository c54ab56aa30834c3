"""Best and worst images of a model, and the images on which two models differ most."""

import dataclasses
import html
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.analysis.triplets import interactions_of
from hoi_jax.report.analysis import Analysis
from hoi_jax.report.elements import Section, case, paragraph
from hoi_jax.visualization.interactions import draw_interactions
from hoi_jax.vocab import Vocabulary

MOST_DRAWN = 8
"""Maximum number of predictions drawn in one image."""

MEASURE = (
    "The measure is the average precision within the image: going down its predictions by score, the share of right "
    "ones so far is noted at each right one, and the sum of these shares is divided by the number of annotated "
    "interactions. 100: all of them are found and no wrong prediction ranks above them. No benchmark uses this "
    f"measure. The number of predictions drawn is that of annotated interactions, at most {MOST_DRAWN}."
)
COLOURS = (
    "People have blue boxes, objects yellow ones; right predictions are green, wrong ones red; annotations have "
    "other colours."
)


@dataclasses.dataclass(frozen=True)
class CaseGroup:
    """Images under one heading: rows of the annotations, and the colour of their border."""

    title: str
    tone: str
    images: tuple[int, ...]


def best_and_worst(analysis: Analysis, *, best: int = 3, worst: int = 4) -> list[CaseGroup]:
    """Images with the highest and the lowest measure; on ties those with more annotated interactions."""
    measure = analysis.in_image
    low = _ordered(measure, analysis)[:worst]
    high = [row for row in _ordered(-measure, analysis) if row not in low][:best]
    return [CaseGroup("Best images", "right", tuple(high)), CaseGroup("Worst images", "wrong", tuple(low))]


def most_different(models: Mapping[str, Analysis], *, each: int = 3) -> list[CaseGroup]:
    """Images with the largest difference between two models, in either direction; none where they are equal."""
    (first, one), (second, other) = models.items()
    gain = one.in_image - other.in_image
    groups = []
    for name, values in ((first, -gain), (second, gain)):
        rows = [row for row in _ordered(values, one) if values[row] < 0]
        groups.append(CaseGroup(f"Better with {name}", "plain", tuple(rows[:each])))
    return groups


def _ordered(values: Float[np.ndarray, " i"], analysis: Analysis) -> list[int]:
    """Rows of the images with a measure, by rising values, then falling numbers of annotated interactions."""
    count = np.bincount(analysis.truth.image, minlength=len(values))
    rows = np.flatnonzero(~np.isnan(values))
    return rows[np.lexsort((-count[rows], values[rows]))].tolist()


def case_section(
    groups: Sequence[CaseGroup],
    models: Mapping[str, Analysis],
    images: Mapping[int, UInt8[np.ndarray, "h w 3"]],
    annotations: Annotations,
    vocabulary: Vocabulary,
    title: str,
) -> Section:
    """The images of all groups, each with the annotations beside the predictions of every model.

    Args:
      models: name -> analysis, in the order of the panels.
      images: `image_id` -> image in its original size.
    """
    parts = [paragraph(MEASURE), paragraph(COLOURS), _overview(models)]
    for group in groups:
        if group.images:
            parts.append(f"<h3>{html.escape(group.title)}</h3>")
        for row in group.images:
            number = int(annotations.image_id[row])
            panels = _panels(row, images[number], models, vocabulary)
            parts.append(case(group.tone, f"Image {number}", _caption(row, models), panels))
    return Section("images", title, "".join(parts))


def _overview(models: Mapping[str, Analysis]) -> str:
    texts = []
    for name, one in models.items():
        known = 100 * one.in_image[~np.isnan(one.in_image)]
        if len(known):
            none, full = np.count_nonzero(known == 0), np.count_nonzero(known == 100)
            texts.append(
                f"{name}: the median of {len(known)} images with annotated interactions is "
                f"{np.median(known):.0f}; {none} have 0, {full} have 100."
            )
    return paragraph(" ".join(texts))


def _caption(row: int, models: Mapping[str, Analysis]) -> str:
    texts = []
    for name, one in models.items():
        rows = one.annotated_in(row)
        texts.append(
            f"{name}: {100 * one.in_image[row]:.0f}, {int(one.found[rows].sum())} of {len(rows)} interactions found "
            f"among {np.count_nonzero(one.predicted.image == row)} predictions."
        )
    return " ".join(texts)


def _panels(
    row: int, image: np.ndarray, models: Mapping[str, Analysis], vocabulary: Vocabulary
) -> list[tuple[str, Image.Image]]:
    panels = []
    for name, one in models.items():
        count = min(max(len(one.annotated_in(row)), 1), MOST_DRAWN)
        drawn = interactions_of(one.predicted, one.best_in(row, count), vocabulary, one.right, with_score=True)
        panels.append((f"Predicted ({name})", draw_interactions(image, drawn)))
    one = next(iter(models.values()))
    truth = interactions_of(one.truth, one.annotated_in(row), vocabulary, None, with_score=False)
    return [*panels, ("Annotated", draw_interactions(image, truth))]


def images_of(groups: Sequence[CaseGroup], annotations: Annotations) -> Int[np.ndarray, " n"]:
    """`image_id` of every image of the groups."""
    rows = [row for group in groups for row in group.images]
    return annotations.image_id[np.array(rows, np.int64)]
