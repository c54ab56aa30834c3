"""Prediction files of every layout, detected from file content and returned as `Predictions`.

- `store`: npz of this library (`hoi_jax/predictions.py`);
- `flat-npz`: HICO-DET's `pair_*`, `trip_*` or V-COCO's `det_*`, `role_*`;
- `ppdm-json`, `qpic-json`, `gen-vlkt-json`: result lists of these systems, plain or gzipped;
- `hico-mat`: a folder of official `detections_XX.mat` (also UPT's and PViC's cache);
- `vcoco-pickle`: official V-COCO detections (also UPT's and PViC's cache).
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path

from hoi_jax import io, npz
from hoi_jax.annotations import Annotations
from hoi_jax.formats.predictions import flat_npz, hico_mat, hoi_json, hoi_w, vcoco_pickle
from hoi_jax.predictions import Predictions, load_predictions
from hoi_jax.settings import choice
from hoi_jax.vocab import Vocabulary
from hoi_jax.vocab.datasets import HOI_W

PathLike = str | os.PathLike[str]
FORMATS = ("store", "flat-npz", *hoi_json.DIALECTS, "hico-mat", "vcoco-pickle")


def detect_format(path: str | os.PathLike[str]) -> str:
    """Format of a file by its content; "json" for any of the JSON formats. Raises io.DataError for unknown content."""
    if Path(path).is_dir():
        return "hico-mat"
    head = io.read_head(path, 128)
    if head.startswith(b"PK"):
        return "store" if npz.META in io.read_npz(path) else "flat-npz"
    if io.is_mat(head):
        raise io.DataError(f"{path}: is one of the detections_XX.mat files; give their folder")
    if head.startswith(b"\x1f\x8b") or head.lstrip()[:1] in (b"[", b"{") and not head.startswith(b"]"):
        return "json"
    # Pickles begin with a protocol byte; those of protocol 0 with the mark of a list.
    if head[:1] == b"\x80" or head[:2] == b"(l":
        return "vcoco-pickle"
    raise io.CorruptFileError(f"{path}: is in no known prediction format ({', '.join(FORMATS)})")


def read_predictions(
    path: str | os.PathLike[str], vocabulary: Vocabulary, annotations: Annotations, format: str = "auto"
) -> Predictions:
    """Predictions of any known format.

    Args:
      vocabulary: vocabulary of verbs and objects, which a file of format `store` must use.
      annotations: the split, for names, numbers and order of its images.
      format: one of `FORMATS`, or "auto" to detect it from the content.

    Raises:
      io.DataError: the content is malformed; the message names file, record and field.
      ValueError: unknown `format`.
    """
    choice("format", format, ("auto", *FORMATS))
    found = detect_format(path) if format == "auto" else format
    return READERS[found](path, vocabulary, annotations)


def _read_own(path: PathLike, vocabulary: Vocabulary, annotations: Annotations) -> Predictions:
    predictions = load_predictions(path)
    if predictions.vocabulary_name != vocabulary.name:
        raise io.DataError(
            f"{path}: predictions use vocabulary {predictions.vocabulary_name!r}, expected {vocabulary.name!r}"
        )
    return predictions


def _read_flat(path: PathLike, vocabulary: Vocabulary, annotations: Annotations) -> Predictions:
    content = io.read_npz(path)
    if flat_npz.is_flat_pairs(content) and vocabulary.hois:
        return flat_npz.predictions_from_flat_pairs(content, path, vocabulary, annotations)
    if flat_npz.is_flat_actions(content) and vocabulary.actions:
        return flat_npz.predictions_from_flat_actions(content, path, vocabulary, annotations)
    raise io.CorruptFileError(f"{path}: has no flat predictions for {vocabulary.name}, only {sorted(content)}")


def _read_hico_mat(path: PathLike, vocabulary: Vocabulary, annotations: Annotations) -> Predictions:
    if not vocabulary.hois:
        raise io.DataError(f"{path}: hico-mat files cannot have predictions in vocabulary {vocabulary.name!r}")
    return hico_mat.predictions_from_detections(path, vocabulary, annotations)


def _read_vcoco_pickle(path: PathLike, vocabulary: Vocabulary, annotations: Annotations) -> Predictions:
    if not vocabulary.actions:
        raise io.DataError(f"{path}: vcoco-pickle files cannot have predictions in vocabulary {vocabulary.name!r}")
    return vcoco_pickle.predictions_from_detections(io.read_bytes(path), path, vocabulary, annotations)


def _read_json(
    path: PathLike, vocabulary: Vocabulary, annotations: Annotations, dialect: str | None = None
) -> Predictions:
    table = io.read_json(path)
    if not hoi_json.is_json_predictions(table):
        raise io.CorruptFileError(f"{path}: is in no known prediction layout; expected a list with 'hoi_prediction'")
    return hoi_json.predictions_from_json(table, path, vocabulary, annotations, dialect)


READERS: dict[str, Callable[[PathLike, Vocabulary, Annotations], Predictions]] = {
    "store": _read_own,
    "flat-npz": _read_flat,
    "hico-mat": _read_hico_mat,
    "vcoco-pickle": _read_vcoco_pickle,
    "json": _read_json,
    **{name: functools.partial(_read_json, dialect=name) for name in hoi_json.DIALECTS},
}
"""Format of `detect_format` or `FORMATS` -> its reader."""


def write_official(
    path: str | os.PathLike[str],
    predictions: Predictions,
    annotations: Annotations,
    vocabulary: Vocabulary,
    *,
    use_nis: bool = True,
) -> int:
    """Write predictions for the scripts of the datasets' authors.

    The format is a folder of `.mat` for HICO-DET, a pickle for V-COCO, and a JSON list of images for HOI-W.

    Returns:
      Number of rows or records written.
    """
    if vocabulary.name == HOI_W.name:
        records = hoi_w.hoi_w_results(predictions, annotations)
        io.write_json_atomic(path, records)
        return len(records)
    writer = hico_mat if vocabulary.hois else vcoco_pickle
    return writer.write_detections(path, predictions, annotations, vocabulary, use_nis=use_nis)
