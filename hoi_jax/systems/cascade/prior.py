"""The semantic feature: how often an object class goes with each verb in training (paper, X_s; formulas as released).

NumPy only: the table is a constant of the model, built from the training split.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from hoi_jax import io
from hoi_jax.vocab.tables import Vocabulary

SMOOTHING = 1e-3


def log_prior(counts: Float[np.ndarray, "*shape columns"]) -> Float[np.ndarray, "*shape columns"]:
    """log(q + 1e-3) with q the share of every column; column 0 counts pairs without relation."""
    share = counts / (counts.sum(axis=-1, keepdims=True) + 1e-8)
    return np.log(share + SMOOTHING)


def softmax_prior(counts: Float[np.ndarray, "*shape columns"]) -> Float[np.ndarray, "*shape columns"]:
    """Softmax of `log_prior`: what the network reads."""
    raised = np.exp(log_prior(counts))
    return raised / raised.sum(axis=-1, keepdims=True)


def count_relations(
    relations: Int[np.ndarray, "rows 3"], num_classes: int, num_verbs: int
) -> Int[np.ndarray, "subject object columns"]:
    """Annotated relations per (subject class, object class, 1 + verb); rows are such triplets, duplicates count."""
    table = np.zeros((num_classes, num_classes, num_verbs + 1), np.int64)
    np.add.at(table, (relations[:, 0], relations[:, 1], 1 + relations[:, 2]), 1)
    return table


def count_background(
    images: Sequence[tuple[Float[np.ndarray, "boxes 4"], Int[np.ndarray, "boxes"]]],
    num_classes: int,
    *,
    must_overlap: bool = True,
) -> Int[np.ndarray, "subject object"]:
    """Ordered pairs of different boxes per (subject class, object class), for column 0, before one is added everywhere.

    Args:
      images: of every image the distinct boxes (corners) that take part in some relation, and their classes.
      must_overlap: only pairs that share a pixel, unless an image has none; coordinates are cut to whole pixels.
        Annotated pairs count too, as released.
    """
    table = np.zeros((num_classes, num_classes), np.int64)
    for boxes, classes in images:
        boxes = np.trunc(boxes)
        side = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2], boxes[None, :, :2])
        others = ~np.eye(len(boxes), dtype=bool)
        touching = others & (side + 1 > 0).all(-1)
        subject, obj = np.nonzero(touching if must_overlap and touching.any() else others)
        np.add.at(table, (classes[subject], classes[obj]), 1)
    return table


def prior_of_vocabulary(vocabulary: Vocabulary) -> Float[np.ndarray, "objects columns"]:
    """Row per object class, column 0 "no relation", then verbs, for human subjects; sums to one.

    From the vocabulary's frozen training counts; without counts (V-COCO) every allowed combination counts once. A verb
    that says "does not interact" counts as column 0 and as itself.
    """
    counts = np.zeros((len(vocabulary.objects), 1 + len(vocabulary.verbs)))
    if vocabulary.train_counts:
        for (verb, obj), number in zip(vocabulary.hois, vocabulary.train_counts, strict=True):
            counts[obj, 1 + verb] = number
    else:
        counts[:, 1:] = vocabulary.verb_object_mask.T
    counts[:, 0] = 1
    if vocabulary.no_interaction >= 0:
        counts[:, 0] += counts[:, 1 + vocabulary.no_interaction]
    return softmax_prior(counts).astype(np.float32)


def read_prior(path: str | os.PathLike[str], vocabulary: Vocabulary) -> Float[np.ndarray, "objects columns"]:
    """A prior counted elsewhere: array `counts` [objects, 1 + verbs] of an npz file.

    Raises:
      io.DataError: the file lacks it, or its shape is not that of the vocabulary.
    """
    content = io.read_npz(path)
    shape = (len(vocabulary.objects), 1 + len(vocabulary.verbs))
    if "counts" not in content or content["counts"].shape != shape:
        found = content["counts"].shape if "counts" in content else "nothing"
        raise io.DataError(f"{os.fspath(path)}: field 'counts' is {found}, expected {shape} for {vocabulary.name}")
    return softmax_prior(np.asarray(content["counts"], np.float64)).astype(np.float32)


def released_prior(vocabulary: Vocabulary) -> Float[np.ndarray, "objects columns"]:
    """The table that the authors ship for HOI-W. Raises ValueError for another vocabulary."""
    shares = np.array(io.read_json(Path(__file__).with_name("hoi_w_prior.json"))["shares"])
    if shares.shape != (len(vocabulary.objects), 1 + len(vocabulary.verbs)):
        raise ValueError(f"prior 'hoi_w_release' is {shares.shape}, it does not fit the vocabulary {vocabulary.name!r}")
    return softmax_prior(shares).astype(np.float32)
