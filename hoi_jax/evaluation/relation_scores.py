"""Scores of datasets without HOI classes: HOI-W's mAP_rel of a prediction store, PIC's recall of files."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hoi_jax import io
from hoi_jax.evaluation.alignment import align
from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.files.pic_files import KINDS, is_relations, map_files, read_map
from hoi_jax.evaluation.hoi_w import Interactions, evaluate_hoi_w
from hoi_jax.evaluation.pic import Scene, evaluate_pic
from hoi_jax.evaluation.result import EvaluationResult
from hoi_jax.evaluation.store import PredictionStore
from hoi_jax.io import CorruptFileError, MissingFileError
from hoi_jax.vocab.datasets import HOI_W

LEAST_SCORE = 0.01
"""Verbs below it are not written to HOI-W's result files by the authors of C-HOI."""


def evaluate_hoi_w_store(
    store: PredictionStore, annotations: Annotations, *, use_nis: bool = True, least_score: float = LEAST_SCORE
) -> EvaluationResult:
    """`evaluate_hoi_w` of stored predictions: what `files.hoi_w_results` writes, scored without files.

    Raises:
      ValueError: predictions or annotations speak of other verbs.
    """
    for what, name in (("predictions", store.vocabulary_name), ("annotations", annotations.vocabulary_name)):
        if name != HOI_W.name:
            raise ValueError(f"{what} are of {name!r}: metric 'hoi_w' is for {HOI_W.name!r}")
    aligned = align(store, annotations, use_nis)
    image = dict(zip(aligned.pair_rows.tolist(), aligned.pair_image.tolist(), strict=True))
    row = aligned.trip_rows[store.trip_score[aligned.trip_rows] > least_score]
    pair = store.trip_pair[row]
    found = Interactions(
        np.array([image[p] for p in pair.tolist()], np.int64), store.trip_verb[row],
        np.full(len(row), HOI_W.human_class), store.pair_human_xyxy_px[pair],
        store.pair_object_class[pair], store.pair_object_xyxy_px[pair], store.trip_score[row],
    )  # fmt: skip
    human, obj = annotations.instance_rows("pairs_human"), annotations.instance_rows("pairs_object")
    rows = np.flatnonzero(obj >= 0)
    human, obj = human[rows], obj[rows]
    label, boxes = annotations["instances_class"], annotations["instances_xyxy_px"]
    truth = Interactions(
        annotations.image_rows("pairs")[rows], annotations["pairs_verb"][rows], label[human], boxes[human],
        label[obj], boxes[obj], np.ones(len(rows)),
    )  # fmt: skip
    result = evaluate_hoi_w(truth, found)
    return EvaluationResult(result.metrics, result.per_class, {**aligned.manifest, **result.manifest})


def _pic_table(path: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The list of relations at `path`, or of the only one in the folder `path`."""
    if path.is_dir():
        lists = sorted(path.glob("relations*.json"))
        if len(lists) != 1:
            raise MissingFileError(f"{path}: {len(lists)} files relations*.json, expected one")
        path = lists[0]
    table = io.read_json(path)
    if not is_relations(table) or not all(isinstance(row, dict) for row in table):
        raise CorruptFileError(f"{path}: not PIC's layout: expected a list of pictures with 'name', 'relations'")
    return path, table


class LazyScene(NamedTuple):
    """Number of relations of a picture, and what reads its scene."""

    relations: int
    read: Callable[[], Scene]


def pic_scenes(path: str | os.PathLike[str]) -> dict[str, LazyScene]:
    """Picture's name without ending -> its scene, read when it is asked for.

    Args:
      path: `relations_<split>.json` with folders `semantic` and `instance` beside it, or the folder of these.

    Raises:
      io.DataError: naming the file; scenes raise it when a map is absent or damaged.
    """
    file, table = _pic_table(Path(path))
    maps = map_files(file.resolve().parent) or map_files(file.resolve().parent.parent)

    def scene(position: int, record: dict[str, Any], stem: str) -> Scene:
        if absent := [kind for kind in KINDS if (kind, stem) not in maps]:
            raise MissingFileError(f"{file}: record {position} ({stem}): no {absent[0]} map")
        semantic, instance = (read_map(maps[kind, stem]) for kind in KINDS)
        try:
            rows = [[int(r[k]) for k in ("subject", "object", "relation")] for r in record["relations"]]
            scores = [float(r.get("score", 1.0)) for r in record["relations"]]
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFileError(f"{file}: record {position} ({stem}): relations are malformed ({error})") from error
        return Scene(semantic, instance, np.array(rows, np.int64).reshape(-1, 3), np.array(scores))

    found: dict[str, LazyScene] = {}
    for position, record in enumerate(table):
        if not isinstance(record.get("name"), str) or not isinstance(record["relations"], list):
            raise CorruptFileError(f"{file}: record {position}: no text in 'name', or no list in 'relations'")
        stem = Path(record["name"]).stem
        found[stem] = LazyScene(len(record["relations"]), functools.partial(scene, position, record, stem))
    return found


def evaluate_pic_files(predictions: str | os.PathLike[str], annotations: str | os.PathLike[str]) -> EvaluationResult:
    """PIC's recall of result files against label files; annotated pictures without a result recall nothing.

    Raises:
      io.DataError: naming the file and record.
    """
    truth, found = pic_scenes(annotations), pic_scenes(predictions)
    pairs = ((lazy.read(), found[stem].read() if stem in found else None) for stem, lazy in truth.items())
    result = evaluate_pic(pairs)
    counts = {
        "num_predictions": sum(lazy.relations for lazy in found.values()),
        "unknown_images_ignored": len(set(found) - set(truth)),
    }
    return EvaluationResult(result.metrics, result.per_class, {**result.manifest, **counts})
