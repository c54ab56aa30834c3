"""Which pictures a report shows: confident right predictions, confident wrong ones, interactions not found.

Predictions and ground truth come as the flat tables of `evaluation.store` and `evaluation.annotations`; only their
columns are used. The choice is deterministic: by score, ties by image and row.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy as np

from hoi_jax.report.draw import Interaction
from hoi_jax.vocab import Vocabulary

MATCH_IOU = 0.5


class PredictionTables(Protocol):
    """The columns used of a prediction store; boxes in pixels of the original picture."""

    @property
    def image_id(self) -> np.ndarray: ...
    @property
    def pair_image(self) -> np.ndarray: ...
    @property
    def pair_human_xyxy_px(self) -> np.ndarray: ...
    @property
    def pair_object_xyxy_px(self) -> np.ndarray: ...
    @property
    def pair_object_class(self) -> np.ndarray: ...
    @property
    def pair_kept(self) -> np.ndarray: ...
    @property
    def trip_pair(self) -> np.ndarray: ...
    @property
    def trip_verb(self) -> np.ndarray: ...
    @property
    def trip_score(self) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Truth:
    """Ground-truth triplets of one split, one row per person, object or none, and verb.

    Attributes:
      image: [T] row of the image. human, thing: [T, 4] boxes in original pixels, NaN for no object.
      object_class: [T], -1 for no object. verb: [T].
    """

    image: np.ndarray
    human: np.ndarray
    thing: np.ndarray
    object_class: np.ndarray
    verb: np.ndarray


@dataclasses.dataclass(frozen=True)
class Example:
    """One picture worth showing.

    Attributes:
      verdict: "right", "wrong" (predicted, not there) or "missed" (there, not found at all).
      image_id: the dataset's own number. image_row: row of the annotations.
      title: e.g. "ride bicycle"; caption: what happened, in a sentence.
      predicted, true: what to draw on the left and on the right.
    """

    verdict: Literal["right", "wrong", "missed"]
    image_id: int
    image_row: int
    title: str
    caption: str
    predicted: tuple[Interaction, ...]
    true: tuple[Interaction, ...]


def truth_from_annotations(tables: Mapping[str, np.ndarray], image_count: int) -> Truth:
    """Triplets of the columns `instances_*` and `pairs_*` (schema.RECORD_FIELDS) with their `_count` columns.

    Args:
      tables: `instances_count`, `pairs_count` [I] rows per image; the other columns concatenated over images.
    """
    instance_start = np.cumsum(tables["instances_count"]) - tables["instances_count"]
    image = np.repeat(np.arange(image_count), tables["pairs_count"])
    human_row = tables["pairs_human"] + instance_start[image]
    has_object = tables["pairs_object"] >= 0
    object_row = np.where(has_object, tables["pairs_object"] + instance_start[image], human_row)
    boxes = np.asarray(tables["instances_xyxy_px"], np.float64).reshape(-1, 4)
    return Truth(
        image=image,
        human=boxes[human_row],
        thing=np.where(has_object[:, None], boxes[object_row], np.nan),
        object_class=np.where(has_object, tables["instances_class"][object_row], -1),
        verb=np.asarray(tables["pairs_verb"]),
    )


def _iou(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    """Overlap of a box [4] with boxes [N, 4] in continuous corners; 1 where both are NaN (no object)."""
    low, high = np.maximum(one[:2], many[:, :2]), np.minimum(one[2:], many[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    union = np.prod(one[2:] - one[:2]) + np.prod(many[:, 2:] - many[:, :2], axis=-1) - shared
    overlap = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    both_absent = np.isnan(one[0]) & np.isnan(many[:, 0])
    return np.where(both_absent, 1.0, np.nan_to_num(overlap))


def match_triplets(
    image: np.ndarray, verb: np.ndarray, object_class: np.ndarray, human: np.ndarray, thing: np.ndarray,
    score: np.ndarray, truth: Truth,
) -> np.ndarray:  # fmt: skip
    """The ground-truth row that each predicted triplet finds, or -1: [T] int.

    As in the HICO-DET protocol: same image, verb and object class, min(IoU_human, IoU_object) >= 0.5; the best
    scored prediction takes the ground truth it overlaps most, and each ground truth is found once.
    """
    found = np.full(len(score), -1)
    free: dict[tuple[int, int, int], list[int]] = {}
    for row, key in enumerate(zip(truth.image, truth.verb, truth.object_class, strict=True)):
        free.setdefault((int(key[0]), int(key[1]), int(key[2])), []).append(row)
    for row in np.argsort(-score, kind="stable"):
        candidates = free.get((int(image[row]), int(verb[row]), int(object_class[row])))
        if not candidates:
            continue
        overlap = np.minimum(_iou(human[row], truth.human[candidates]), _iou(thing[row], truth.thing[candidates]))
        best = int(np.argmax(overlap))
        if overlap[best] >= MATCH_IOU:
            found[row] = candidates.pop(best)
    return found


def _box(corners: np.ndarray) -> Any:
    return None if np.isnan(corners[0]) else tuple(float(c) for c in corners)


def _name(vocabulary: Vocabulary, verb: int, object_class: int) -> str:
    words = [vocabulary.verbs[verb], vocabulary.objects[object_class] if object_class >= 0 else ""]
    return " ".join(word.replace("_", " ") for word in words if word)


def _true_interactions(truth: Truth, rows: np.ndarray, vocabulary: Vocabulary) -> tuple[Interaction, ...]:
    """The rows of one picture, verbs of the same pair together."""
    merged: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        key = (_box(truth.human[row]), _box(truth.thing[row]), int(truth.object_class[row]))
        merged.setdefault(key, []).append(int(truth.verb[row]))
    return tuple(
        Interaction(human, thing, _object_name(vocabulary, cls), tuple((vocabulary.verbs[v], None) for v in verbs))
        for (human, thing, cls), verbs in merged.items()
    )


def _object_name(vocabulary: Vocabulary, object_class: int) -> str:
    return vocabulary.objects[object_class] if object_class >= 0 else ""


def choose_examples(
    store: PredictionTables,
    truth_tables: Any,
    vocabulary: Vocabulary,
    *,
    right: int = 4,
    wrong: int = 4,
    missed: int = 2,
) -> list[Example]:
    """The pictures to show: at most one per image and verdict, and one per class and verdict.

    Args:
      store: predictions; suppressed pairs (`pair_kept` False) are left out.
      truth_tables: an `Annotations` or any object with its columns as attributes.
      right, wrong, missed: how many of each at most.

    Returns:
      Right ones first, then wrong, then missed; the last come from pictures with most ground truth unfound.
      A prediction of the verb `no_interaction` is never shown.

    Raises:
      ValueError: when the store holds an image that the annotations lack.
    """
    names = (
        "instances_count", "instances_xyxy_px", "instances_class",
        "pairs_count", "pairs_human", "pairs_object", "pairs_verb",
    )  # fmt: skip
    tables = {name: np.asarray(getattr(truth_tables, name)) for name in names}
    image_ids = np.asarray(truth_tables.image_id)
    truth = truth_from_annotations(tables, len(image_ids))
    row_of = {int(number): row for row, number in enumerate(image_ids)}
    unknown = sorted(set(np.asarray(store.image_id).tolist()) - set(row_of))
    if unknown:
        raise ValueError(f"predictions of image {unknown[0]}, which the annotations lack (and {len(unknown) - 1} more)")
    rows = np.array([row_of[int(number)] for number in store.image_id], int)

    use = store.pair_kept[store.trip_pair] & (store.trip_verb != vocabulary.no_interaction)
    pair = store.trip_pair[use]
    verb, score = store.trip_verb[use], np.asarray(store.trip_score[use], np.float64)
    thing = np.asarray(store.pair_object_xyxy_px, np.float64)[pair]
    human = np.asarray(store.pair_human_xyxy_px, np.float64)[pair]
    object_class = np.where(np.isnan(thing[:, 0]), -1, store.pair_object_class[pair])
    image = rows[store.pair_image[pair]] if len(rows) else np.zeros(0, int)
    found = match_triplets(image, verb, object_class, human, thing, score, truth)

    def interaction(row: int) -> Interaction:
        verbs = ((vocabulary.verbs[verb[row]], float(score[row])),)
        name = _object_name(vocabulary, int(object_class[row]))
        return Interaction(_box(human[row]), _box(thing[row]), name, verbs, bool(found[row] >= 0))

    examples = []
    order = np.argsort(-score, kind="stable")
    for verdict, limit, wanted in (("right", right, True), ("wrong", wrong, False)):
        chosen = [row for row in order if (found[row] >= 0) == wanted]
        for row in _spread(chosen, image, verb, object_class, limit):
            name = _name(vocabulary, int(verb[row]), int(object_class[row]))
            caption = _caption(wanted, float(score[row]), image[row], int(verb[row]), truth, name)
            examples.append(
                _example(verdict, name, caption, int(image[row]), image_ids, (interaction(row),), truth, vocabulary)
            )
    hit = np.zeros(len(truth.image), bool)
    hit[found[found >= 0]] = True
    unseen = np.flatnonzero(~hit & (truth.verb != vocabulary.no_interaction))
    per_image = np.bincount(truth.image[unseen], minlength=len(image_ids))
    ranked = unseen[np.argsort(-per_image[truth.image[unseen]], kind="stable")]
    for row in _spread(list(ranked), truth.image, truth.verb, truth.object_class, missed):
        name = _name(vocabulary, int(truth.verb[row]), int(truth.object_class[row]))
        best = [r for r in order if image[r] == truth.image[row]][:3]
        caption = "No prediction has this class and overlaps both boxes; shown are the strongest of the picture."
        drawn = tuple(interaction(r) for r in best)
        examples.append(_example("missed", name, caption, int(truth.image[row]), image_ids, drawn, truth, vocabulary))
    return examples


def _spread(rows: list[Any], image: np.ndarray, verb: np.ndarray, object_class: np.ndarray, limit: int) -> list[int]:
    """The first `limit` of `rows` that repeat neither a picture nor a class of those before."""
    seen: set[Any] = set()
    kept: list[int] = []
    for row in rows:
        if len(kept) == limit:
            break
        keys = {("image", int(image[row])), ("class", int(verb[row]), int(object_class[row]))}
        if not keys & seen:
            seen |= keys
            kept.append(int(row))
    return kept


def _caption(is_right: bool, score: float, image: int, verb: int, truth: Truth, name: str) -> str:
    if is_right:
        return f"Score {score:.2f}; person, object and verb agree with the ground truth."
    here = truth.image == image
    if not here.any():
        return f"Score {score:.2f}, but the picture has no labelled interaction."
    if not (truth.verb[here] == verb).any():
        return f"Score {score:.2f}, but nobody in the picture is labelled with the verb of {name!r}."
    return f"Score {score:.2f}; the verb occurs, but the boxes or the object differ, or it was found before."


def _example(
    verdict: Any, name: str, caption: str, row: int, image_ids: np.ndarray,
    predicted: tuple[Interaction, ...], truth: Truth, vocabulary: Vocabulary,
) -> Example:  # fmt: skip
    true = _true_interactions(truth, np.flatnonzero(truth.image == row), vocabulary)
    return Example(verdict, int(image_ids[row]), row, name, caption, predicted, true)
