"""Features of a pair: semantic (X_s), geometric (X_g), and the person's mined features for the visual ones (X_v).

Implicit human semantic mining (paper, Eqs. 5 to 7): every cell of a person attends to similar cells. Geometry: relative
position of person and object, as maps or as 28 numbers. Semantic prior: frequency of verbs per object class in the
training split (formulas as released), as a NumPy table.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoi_jax import io
from hoi_jax.arrays import ArrayLike
from hoi_jax.nn.streams import Rectangles
from hoi_jax.ops.boxes import encode_boxes, union_box
from hoi_jax.ops.raster import MAP_SIZE, box_sides, letterbox
from hoi_jax.ops.resample import resample_masks, square_around
from hoi_jax.vocab.tables import Vocabulary


def semantic_context(
    human: Float[ArrayLike, "*batch size size channels"], scale: float = 1.0
) -> Float[Array, "*batch size size channels"]:
    """C of Eq. 6: sum_j softmax_j(scale * h_i . h_j) h_j; in float32, because dot products of 256 numbers are large."""
    places = human.reshape((*human.shape[:-3], -1, human.shape[-1])).astype(jnp.float32)
    logits = jnp.einsum("...ic,...jc->...ij", places, places, precision="highest") * scale
    context = jnp.einsum("...ij,...jc->...ic", jax.nn.softmax(logits, axis=-1), places, precision="highest")
    return context.reshape(human.shape).astype(human.dtype)


class NonLocal(nn.Module):
    """The released code's alternative: 1x1 convolutions around softmax(theta . phi * scale) g, and a residual.

    Attributes:
      inner: width of theta, phi and g.
      inverted_scale: multiply logits by sqrt(inner) instead of dividing, a defect of the release.
    """

    inner: int = 128
    inverted_scale: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, human: Float[ArrayLike, "*batch size size channels"]) -> Array:
        places = human.reshape((*human.shape[:-3], -1, human.shape[-1]))
        theta, phi, g = (
            nn.Dense(self.inner, dtype=self.dtype, name=name)(places).astype(jnp.float32)
            for name in ("theta", "phi", "g")
        )
        scale = self.inner**0.5 if self.inverted_scale else self.inner**-0.5
        weights = jax.nn.softmax(jnp.einsum("...ic,...jc->...ij", theta, phi, precision="highest") * scale, axis=-1)
        mixed = jnp.einsum("...ij,...jc->...ic", weights, g, precision="highest")
        out = nn.Dense(human.shape[-1], kernel_init=nn.initializers.zeros, name="out")(mixed)
        return human + out.reshape(human.shape).astype(human.dtype)


def rectangles(
    human_xyxy_px: Float[ArrayLike, "batch pairs 4"],
    object_xyxy_px: Float[ArrayLike, "batch pairs 4"],
    size: int = MAP_SIZE,
) -> Rectangles:
    """Two channels, person and object, in the letterboxed frame of their union (paper, section 3.3.1; TIN's layout)."""
    sides = [box_sides(grid, size) for grid in letterbox(human_xyxy_px, object_xyxy_px, size)]
    rows, columns = (jnp.stack(side, axis=-1) for side in zip(*sides, strict=True))
    return Rectangles(rows, columns)


def silhouette_maps(
    human_mask: Float[Array, "*batch m m"],
    object_mask: Float[Array, "*batch m m"],
    human_mask_xyxy_px: Float[Array, "*batch 4"],
    object_mask_xyxy_px: Float[Array, "*batch 4"],
    human_xyxy_px: Float[Array, "*batch 4"],
    object_xyxy_px: Float[Array, "*batch 4"],
    size: int = MAP_SIZE,
) -> Float[Array, "*batch size size 2"]:
    """Maps in the same frame, with masks instead of rectangles (relation segmentation, section 3.4)."""
    frame = square_around(union_box(human_xyxy_px, object_xyxy_px))
    human = resample_masks(human_mask, human_mask_xyxy_px, frame, size)
    obj = resample_masks(object_mask, object_mask_xyxy_px, frame, size)
    return jnp.stack([human, obj], axis=-1)


def pair_vector(
    human_xyxy_px: Float[ArrayLike, "batch pairs 4"],
    object_xyxy_px: Float[ArrayLike, "batch pairs 4"],
    image_hw_px: Int[ArrayLike, "batch 2"],
    *,
    plus_one: bool = True,
) -> Float[Array, "batch pairs 28"]:
    """The released code's 28 numbers: positions and areas of both boxes relative to the image, and box encodings.

    The encodings are of (human, object), (human, union) and (union, object), each in both directions.

    Args:
      plus_one: use x2 - x1 + 1 as sides of encoded boxes, as released; areas never use it.
    """
    size = jnp.tile(image_hw_px[:, ::-1].astype(jnp.float32), (1, 2))[:, None]

    def place(box):
        side = box[..., 2:] - box[..., :2]
        share = side[..., :1] * side[..., 1:] / (size[..., :1] * size[..., 1:2])
        return jnp.concatenate([box / size, share], axis=-1)

    def relation(a, b):
        forward = encode_boxes(b, a, plus_one=plus_one)
        return jnp.concatenate([forward, encode_boxes(a, b, plus_one=plus_one)[..., :2]], axis=-1)

    union = union_box(human_xyxy_px, object_xyxy_px)
    parts = [place(human_xyxy_px), place(object_xyxy_px)]
    parts += [relation(human_xyxy_px, object_xyxy_px), relation(human_xyxy_px, union), relation(union, object_xyxy_px)]
    return jnp.concatenate(parts, axis=-1)


SMOOTHING = 1e-3


def log_prior(
    counts: Float[np.ndarray, "*shape columns"] | Int[np.ndarray, "*shape columns"],
) -> Float[np.ndarray, "*shape columns"]:
    """log(q + 1e-3), where q is the share of each column; column 0 counts pairs without relation."""
    share = counts / (counts.sum(axis=-1, keepdims=True) + 1e-8)
    return np.log(share + SMOOTHING)


def softmax_prior(
    counts: Float[np.ndarray, "*shape columns"] | Int[np.ndarray, "*shape columns"],
) -> Float[np.ndarray, "*shape columns"]:
    """Softmax of `log_prior`, the network's input."""
    raised = np.exp(log_prior(counts))
    return raised / raised.sum(axis=-1, keepdims=True)


def count_relations(
    relations: Int[np.ndarray, "rows 3"], num_classes: int, num_verbs: int
) -> Int[np.ndarray, "subject object columns"]:
    """Count annotated relations per (subject class, object class, 1 + verb); rows are triplets, duplicates count."""
    table = np.zeros((num_classes, num_classes, num_verbs + 1), np.int64)
    np.add.at(table, (relations[:, 0], relations[:, 1], 1 + relations[:, 2]), 1)
    return table


def count_background(
    images: Sequence[tuple[Float[np.ndarray, "_ 4"], Int[np.ndarray, " _"]]],
    num_classes: int,
    *,
    must_overlap: bool = True,
) -> Int[np.ndarray, "subject object"]:
    """Count ordered pairs of different boxes per (subject class, object class), for column 0, before smoothing.

    Annotated pairs count too, as released.

    Args:
      images: for every image the distinct boxes (corners) that take part in a relation, and their classes.
      must_overlap: count only pairs that share a pixel, unless an image has none; coordinates are truncated.
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
    """Prior for human subjects: one row per object class, column 0 "no relation", then verbs; rows sum to one.

    It is computed from the training counts in the vocabulary; without counts (V-COCO) every allowed combination counts
    once. A verb for "no interaction" counts in column 0 and in its own.
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
    """Prior from array `counts` [objects, 1 + verbs] of an npz file.

    Raises:
      io.DataError: the file has no such array, or its shape does not fit the vocabulary.
    """
    content = io.read_npz(path)
    shape = (len(vocabulary.objects), 1 + len(vocabulary.verbs))
    if "counts" not in content or content["counts"].shape != shape:
        found = content["counts"].shape if "counts" in content else "nothing"
        raise io.DataError(f"{os.fspath(path)}: field 'counts' is {found}, expected {shape} for {vocabulary.name}")
    return softmax_prior(np.asarray(content["counts"], np.float64)).astype(np.float32)


def released_prior(vocabulary: Vocabulary) -> Float[np.ndarray, "objects columns"]:
    """The table released by the authors for HOI-W. Raises ValueError for another vocabulary."""
    shares = np.array(io.read_json(Path(__file__).with_name("hoi_w_prior.json"))["shares"])
    if shares.shape != (len(vocabulary.objects), 1 + len(vocabulary.verbs)):
        raise ValueError(f"prior 'hoi_w_release' has shape {shares.shape} and does not fit {vocabulary.name!r}")
    return softmax_prior(shares).astype(np.float32)
