"""How well one picture is understood, for finding the best and the worst of a split.

Average precision within a picture: go down its predictions (person, verb, object) by score; at each right one note the
share of right ones so far; sum these shares, and divide by the number of annotated interactions. One that is never
found counts 0. 1 means: everything annotated was found, and nothing wrong stands above it. Unlike mAP it compares
scores of different verbs with one another, needs no threshold, and is no official figure.
"""

import numpy as np
from jaxtyping import Bool, Float, Int


def picture_ap(
    image: Int[np.ndarray, " n"],
    score: Float[np.ndarray, " n"],
    right: Bool[np.ndarray, " n"],
    num_positives: Int[np.ndarray, " images"],
) -> Float[np.ndarray, " images"]:
    """AP within each picture; NaN where nothing is annotated.

    Args:
      image: row of the picture of each prediction; score: for ranking, ties keep their order; right: whether it is a
        true positive.
      num_positives: annotated interactions per picture.

    Raises:
      ValueError: more right predictions than annotated interactions.
    """
    count = len(num_positives)
    if np.any(np.bincount(image[right], minlength=count) > num_positives):
        raise ValueError("a picture has more right predictions than annotated interactions")
    order = np.lexsort((-score, image))
    image, right = image[order], right[order]
    first = np.searchsorted(image, image)
    rank = np.arange(len(image)) - first + 1
    running = np.cumsum(right)
    before = np.concatenate([[0], running])[first]
    shares = np.where(right, (running - before) / rank, 0.0)
    total = np.bincount(image, shares, minlength=count)
    return np.where(num_positives > 0, total / np.maximum(num_positives, 1), np.nan)
