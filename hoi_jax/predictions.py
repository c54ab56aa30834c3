"""Predictions of a split in one npz file, from which all scores and drawings are made.

The writer drops padding and scales boxes to pixels of the original image. Pairs that NIS suppressed stay in the file,
with `pair_nis_keep` False, so that suppression can be switched off without running the model again.
"""

import dataclasses
import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from hoi_jax import io
from hoi_jax import npz as arrays
from hoi_jax.schema import BATCH_FIELDS, SchemaError, check_names, check_predictions

# Axis letters: I images, P pairs, T scored verbs of pairs, M people, V verbs, C HOI classes.
_COLUMNS: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "image_id": ("i", ("I",)),
    "image_hw_px": ("i", ("I", 2)),
    "pair_image": ("i", ("P",)),
    "pair_human_xyxy_px": ("f", ("P", 4)),
    "pair_object_xyxy_px": ("f", ("P", 4)),
    "pair_object_class": ("i", ("P",)),
    "pair_human_score": ("f", ("P",)),
    "pair_object_score": ("f", ("P",)),
    "pair_interactiveness": ("f", ("P",)),
    "pair_part_scores": ("f", ("P", 6)),
    "pair_nis_keep": ("b", ("P",)),
    "triplet_pair": ("i", ("T",)),
    "triplet_verb": ("i", ("T",)),
    "triplet_score": ("f", ("T",)),
    "agent_image": ("i", ("M",)),
    "agent_xyxy_px": ("f", ("M", 4)),
    "agent_scores": ("f", ("M", "V")),
    "hoi_scores": ("f", ("I", "C")),
}
_FORMER_NAMES = {
    "pair_nis_keep": "pair_nis_keep",
    "triplet_pair": "triplet_pair",
    "triplet_verb": "triplet_verb",
    "triplet_score": "triplet_score",
}
"""Fields of files written before version 0.2."""
_INDEX_INTO = {"pair_image": "I", "triplet_pair": "P", "agent_image": "I"}


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predictions for I images. Boxes are continuous corners in pixels of the original image.

    Attributes:
      manifest: JSON values: vocabulary, system, step, config fingerprint, counts.
      image_id: [I] the dataset's image numbers, distinct.
      image_hw_px: [I, 2] height and width of the original image.
      pair_image: [P] row of the image.
      pair_human_xyxy_px, pair_object_xyxy_px: boxes; a NaN object box means "without object".
      pair_object_class: class, -1 = none.
      pair_human_score, pair_object_score: detector confidences; NaN = not given.
      pair_interactiveness: NaN = not given. pair_part_scores: [P, 6], NaN = not given.
      pair_nis_keep: False = suppressed as non-interactive (NIS).
      triplet_pair, triplet_verb, triplet_score: final verb scores, sparse.
      agent_image, agent_xyxy_px, agent_scores: people with a score per verb, without objects.
      hoi_scores: [I, C] image-level scores; C = 0 when the system gives none.
    """

    manifest: Mapping[str, Any]
    image_id: Int[np.ndarray, " i"]
    image_hw_px: Int[np.ndarray, "i 2"]
    pair_image: Int[np.ndarray, " p"]
    pair_human_xyxy_px: Float[np.ndarray, "p 4"]
    pair_object_xyxy_px: Float[np.ndarray, "p 4"]
    pair_object_class: Int[np.ndarray, " p"]
    pair_human_score: Float[np.ndarray, " p"]
    pair_object_score: Float[np.ndarray, " p"]
    pair_interactiveness: Float[np.ndarray, " p"]
    pair_part_scores: Float[np.ndarray, "p 6"]
    pair_nis_keep: Bool[np.ndarray, " p"]
    triplet_pair: Int[np.ndarray, " t"]
    triplet_verb: Int[np.ndarray, " t"]
    triplet_score: Float[np.ndarray, " t"]
    agent_image: Int[np.ndarray, " m"]
    agent_xyxy_px: Float[np.ndarray, "m 4"]
    agent_scores: Float[np.ndarray, "m v"]
    hoi_scores: Float[np.ndarray, "i c"]

    @property
    def vocabulary_name(self) -> str:
        return self.manifest["vocabulary"]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the npz file atomically."""
        arrays.write_npz(path, {name: getattr(self, name) for name in _COLUMNS}, self.manifest)


def load_predictions(path: str | os.PathLike[str]) -> Predictions:
    """Read a prediction file.

    Raises:
      io.DataError: a field is missing, inconsistent, or of the wrong dtype or shape; the message names it.
    """
    content, meta = arrays.load_npz(path)
    arrays.meta_text(meta, "vocabulary", path)
    content = {_FORMER_NAMES.get(name, name): values for name, values in content.items()}
    columns = {name: arrays.take(content, name, kind, len(axes), path) for name, (kind, axes) in _COLUMNS.items()}
    _check_columns(columns, os.fspath(path))
    return Predictions(meta, **columns)


def check_prediction_arrays(predictions: Predictions, where: str) -> None:
    """Raise io.DataError, naming `where` and the field, for predictions that `load_predictions` would reject."""
    _check_columns({name: getattr(predictions, name) for name in _COLUMNS}, where)


def _check_columns(columns: Mapping[str, np.ndarray], where: str) -> None:
    """Raise io.DataError if sizes disagree, an index is out of range, or an image id is repeated."""
    sizes: dict[str | int, int] = {}
    for name, (_, axes) in _COLUMNS.items():
        for axis, size in zip(axes, columns[name].shape, strict=True):
            expected = axis if isinstance(axis, int) else sizes.setdefault(axis, size)
            if size != expected:
                raise io.DataError(f"{where}: field {name!r} has size {size} on axis {axis}, expected {expected}")
    for name, axis in _INDEX_INTO.items():
        index = columns[name]
        if len(index) and (index.min() < 0 or index.max() >= sizes[axis]):
            raise io.DataError(f"{where}: field {name!r} has an index outside its {sizes[axis]} rows")
    if len(columns["triplet_verb"]) and columns["triplet_verb"].min() < 0:
        raise io.DataError(f"{where}: field 'triplet_verb' has negative entries")
    if len(np.unique(columns["image_id"])) != len(columns["image_id"]):
        raise io.DataError(f"{where}: field 'image_id' has repeated numbers")


class PredictionWriter:
    """Writer that collects predictions batch by batch and saves them at the end; also a context manager.

    Nothing is written if the context is left by an exception.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        vocabulary_name: str,
        manifest: Mapping[str, Any] | None = None,
        max_triplets_per_image: int | None = None,
    ):
        """Args:

        path: npz file to write.
        vocabulary_name: vocabulary of verbs and object classes.
        manifest: JSON values to store with the predictions (system, step, config fingerprint).
        max_triplets_per_image: limit on the verb scores of an image, of which the best are kept; None = all.
        """
        self._path = path
        self._manifest = {**(manifest or {}), "vocabulary": vocabulary_name}
        self._limit = max_triplets_per_image
        self._parts: list[dict[str, np.ndarray]] = []
        self._places: list[np.ndarray] = []
        self._images = self._pairs = self._nan_scores = 0

    def add(self, batch: Mapping[str, np.ndarray], predictions: Mapping[str, np.ndarray]) -> None:
        """Add one host batch and its predictions, both with a leading batch axis.

        Raises:
          SchemaError: a field is unknown, missing, or of the wrong shape or dtype.
        """
        for name in ("batch_valid", "image_id", "image_hw_px", "original_hw_px"):
            if name not in batch:
                raise SchemaError(f"batch lacks {name!r}, which the prediction file needs")
        check_names(batch, BATCH_FIELDS, "batch")
        predictions = {name: np.asarray(value) for name, value in predictions.items()}
        check_predictions(predictions, len(batch["batch_valid"]))
        used = np.flatnonzero(np.asarray(batch["batch_valid"]))
        original = np.asarray(batch["original_hw_px"])[used].astype(np.int64)
        ratio = original / np.asarray(batch["image_hw_px"])[used]
        scale = ratio[:, [1, 0, 1, 0]]
        predictions = {name: value[used] for name, value in predictions.items()}
        part: dict[str, np.ndarray] = {
            "image_id": np.asarray(batch["image_id"])[used].astype(np.int64),
            "image_hw_px": original,
        }
        part.update(self._pair_columns(predictions, scale))
        part.update(_agent_columns(predictions, scale, self._images))
        scores = predictions.get("hoi_scores")
        part["hoi_scores"] = np.zeros((len(used), 0), np.float32) if scores is None else scores
        self._parts.append(part)
        # Images are batched by static shape and so do not arrive in the order of the dataset.
        after = np.arange(self._images, self._images + len(used))
        self._places.append(np.asarray(batch["example_id"])[used] if "example_id" in batch else after)
        self._images += len(used)
        self._pairs += len(part.get("pair_image", ()))

    def _pair_columns(self, predictions: Mapping[str, np.ndarray], scale: np.ndarray) -> dict[str, np.ndarray]:
        if "pair_valid" not in predictions:
            return {}
        image, slot = np.nonzero(predictions["pair_valid"])
        count = len(image)

        def column(name: str, missing: Any, *shape: int) -> np.ndarray:
            if name in predictions:
                return predictions[name][image, slot]
            return np.full((count, *shape), missing)

        nothing = np.float32(np.nan)
        result = {
            "pair_image": image + self._images,
            "pair_human_xyxy_px": _scaled(column("human_xyxy_px", nothing, 4), scale[image]),
            "pair_object_xyxy_px": _scaled(column("object_xyxy_px", nothing, 4), scale[image]),
            "pair_object_class": column("object_class", np.int32(-1)),
            "pair_human_score": column("human_score", nothing),
            "pair_object_score": column("object_score", nothing),
            "pair_interactiveness": column("interactiveness", nothing),
            "pair_part_scores": column("part_scores", nothing, 6),
            "pair_nis_keep": column("kept", True),
        }
        if "verb_scores" in predictions:
            scores = predictions["verb_scores"][image, slot]
            self._nan_scores += int(np.isnan(scores).sum())
            # A score of zero (or minus infinity) means "excluded" and would only lengthen the tail of rankings.
            pair, verb = np.nonzero(np.isfinite(scores) & (scores != 0))
            score = scores[pair, verb]
            if self._limit is not None:
                best = best_per_image(np.arange(len(pair)), image[pair], score, self._limit)
                pair, verb, score = pair[best], verb[best], score[best]
            result |= {
                "triplet_pair": pair + self._pairs,
                "triplet_verb": verb.astype(np.int32),
                "triplet_score": score,
            }
        return result

    def close(self) -> None:
        """Write the file atomically. Raises io.DataError if an image was added twice."""
        predictions = self.predictions()
        predictions.save(self._path)

    def predictions(self) -> Predictions:
        """The predictions added so far."""
        verbs = {part["agent_scores"].shape[1] for part in self._parts if "agent_scores" in part}
        widths = {"V": max(verbs, default=0), "C": 0}
        if self._parts:
            widths["C"] = self._parts[0]["hoi_scores"].shape[1]
        columns = {name: _join(name, self._parts, widths) for name in _COLUMNS}
        if self._places:
            columns = _in_order(columns, np.argsort(np.concatenate(self._places), kind="stable"))
        counts = {
            "images": len(columns["image_id"]),
            "pairs": len(columns["pair_image"]),
            "triplets": len(columns["triplet_pair"]),
            "agents": len(columns["agent_image"]),
            "nan_scores_dropped": self._nan_scores,
            "max_triplets_per_image": self._limit,
        }
        _check_columns(columns, os.fspath(self._path))
        return Predictions({**self._manifest, "counts": counts}, **columns)

    def __enter__(self) -> "PredictionWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()


def _in_order(columns: dict[str, np.ndarray], images: np.ndarray) -> dict[str, np.ndarray]:
    """The columns with images in this order (rows, first to last); the order within an image is unchanged.

    Score ties are broken by position, so a fixed order makes metrics independent of batching.
    """
    if (np.diff(images) > 0).all():
        return columns
    rank = np.argsort(images)
    pairs = np.argsort(rank[columns["pair_image"]], kind="stable")
    pair_rank = np.argsort(pairs)
    triplets = np.argsort(rank[columns["pair_image"][columns["triplet_pair"]]], kind="stable")
    agents = np.argsort(rank[columns["agent_image"]], kind="stable")
    orders = {"pair": pairs, "triplet": triplets, "agent": agents}
    moved = {name: values[orders.get(name.split("_")[0], images)] for name, values in columns.items()}
    moved["pair_image"] = rank[moved["pair_image"]]
    moved["agent_image"] = rank[moved["agent_image"]]
    moved["triplet_pair"] = pair_rank[moved["triplet_pair"]]
    return moved


def _agent_columns(predictions: Mapping[str, np.ndarray], scale: np.ndarray, first_image: int) -> dict[str, np.ndarray]:
    if "agent_valid" not in predictions:
        return {}
    image, slot = np.nonzero(predictions["agent_valid"])
    return {
        "agent_image": image + first_image,
        "agent_xyxy_px": _scaled(predictions["agent_xyxy_px"][image, slot], scale[image]),
        "agent_scores": predictions["agent_scores"][image, slot],
    }


def _scaled(boxes: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return (boxes * scale).astype(np.float32)


_DTYPES = {"i": np.int64, "f": np.float32, "b": np.bool_}


def _join(name: str, parts: list[dict[str, np.ndarray]], widths: Mapping[str, int]) -> np.ndarray:
    kind, axes = _COLUMNS[name]
    tail = [axis if isinstance(axis, int) else widths[axis] for axis in axes[1:]]
    empty = np.zeros([0, *tail], _DTYPES[kind])
    return np.concatenate([empty, *(part[name] for part in parts if name in part)]).astype(_DTYPES[kind])


def best_per_image(
    rows: Int[np.ndarray, " n"], image: Int[np.ndarray, " n"], score: Float[np.ndarray, " n"], limit: int
) -> Int[np.ndarray, " k"]:
    """The entries of `rows` among the `limit` best of their image, in the same order; earlier rows win ties."""
    order = np.lexsort((-score, image))
    ordered = image[order]
    rank = np.arange(len(rows)) - np.searchsorted(ordered, ordered, side="left")
    return rows[np.sort(order[rank < limit])]
