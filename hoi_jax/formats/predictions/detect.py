"""Prediction files of every layout, told apart by their content, as a `Predictions`.

- `store`: our own npz;
- `flat-npz`: HICO-DET's `pair_*`, `trip_*` or V-COCO's `det_*`, `role_*`;
- `ppdm-json`, `qpic-json`, `gen-vlkt-json`: result lists of that family, plain or gzipped;
- `hico-mat`: a folder of official `detections_XX.mat` (also UPT's and PViC's cache);
- `vcoco-pickle`: official V-COCO detections (also UPT's and PViC's cache).
"""

import os
from pathlib import Path

from hoi_jax import io
from hoi_jax import npz as arrays
from hoi_jax.annotations import Annotations
from hoi_jax.formats.predictions import flat_npz as prediction_flat
from hoi_jax.formats.predictions import hico_mat as hico_detections
from hoi_jax.formats.predictions import hoi_json as prediction_json
from hoi_jax.formats.predictions import vcoco_pickle as vcoco_detections
from hoi_jax.predictions import Predictions, load_predictions
from hoi_jax.settings import choice
from hoi_jax.vocab import Vocabulary

FORMATS = ("store", "flat-npz", *prediction_json.DIALECTS, "hico-mat", "vcoco-pickle")


def detect_format(path: str | os.PathLike[str]) -> str:
    """The format of a file by its content; "json" for any of that family. Raises io.DataError for none of them."""
    if Path(path).is_dir():
        return "hico-mat"
    head = io.read_head(path, 128)
    if head.startswith(b"PK"):
        return "store" if arrays.META in io.read_npz(path) else "flat-npz"
    if io.is_mat(head):
        raise io.DataError(f"{path}: give the folder of all detections_XX.mat, not one of them")
    if head.startswith(b"\x1f\x8b") or head.lstrip()[:1] in (b"[", b"{") and not head.startswith(b"]"):
        return "json"
    # Pickles begin with a protocol byte; those of protocol 0 with the mark of a list.
    if head[:1] == b"\x80" or head[:2] == b"(l":
        return "vcoco-pickle"
    raise io.CorruptFileError(f"{path}: no known format of predictions; there are {', '.join(FORMATS)}")


def read_predictions(
    path: str | os.PathLike[str], vocabulary: Vocabulary, annotations: Annotations, format: str = "auto"
) -> Predictions:
    """Predictions of any known format.

    Args:
      vocabulary: of verbs and objects; a store must be in it.
      annotations: the split that is predicted: names, numbers and order of its images.
      format: one of `FORMATS`, or "auto" to decide by content.

    Raises:
      io.DataError: naming file, record and field that are wrong. ValueError: unknown `format`.
    """
    choice("format", format, ("auto", *FORMATS))
    found = detect_format(path) if format == "auto" else format
    if found == "store":
        predictions = load_predictions(path)
        if predictions.vocabulary_name != vocabulary.name:
            raise io.DataError(
                f"{path}: predictions are in {predictions.vocabulary_name!r}, expected {vocabulary.name!r}"
            )
        return predictions
    if found == "flat-npz":
        content = io.read_npz(path)
        if prediction_flat.is_flat_pairs(content) and vocabulary.hois:
            return prediction_flat.predictions_from_flat_pairs(content, path, vocabulary, annotations)
        if prediction_flat.is_flat_actions(content) and vocabulary.actions:
            return prediction_flat.predictions_from_flat_actions(content, path, vocabulary, annotations)
        raise io.CorruptFileError(f"{path}: no flat predictions for {vocabulary.name}; it has {sorted(content)}")
    if found == "hico-mat":
        _needs(bool(vocabulary.hois), path, found, vocabulary)
        return hico_detections.predictions_from_detections(path, vocabulary, annotations)
    if found == "vcoco-pickle":
        _needs(bool(vocabulary.actions), path, found, vocabulary)
        return vcoco_detections.predictions_from_detections(io.read_bytes(path), path, vocabulary, annotations)
    table = io.read_json(path)
    if not prediction_json.is_json_predictions(table):
        raise io.CorruptFileError(f"{path}: JSON of no known prediction layout; expected a list with 'hoi_prediction'")
    dialect = None if found == "json" else found
    return prediction_json.predictions_from_json(table, path, vocabulary, annotations, dialect)


def _needs(fits: bool, path: str | os.PathLike[str], format: str, vocabulary: Vocabulary) -> None:
    if not fits:
        raise io.DataError(f"{path}: {format} files do not hold predictions in {vocabulary.name!r}")


def write_official(
    path: str | os.PathLike[str],
    predictions: Predictions,
    annotations: Annotations,
    vocabulary: Vocabulary,
    *,
    use_nis: bool = True,
) -> int:
    """Predictions for the scripts of the datasets' authors: a folder of `.mat` for HOI classes, a pickle for actions.

    Returns:
      number of rows or records written.
    """
    if vocabulary.hois:
        return hico_detections.write_detections(path, predictions, annotations, vocabulary, use_nis=use_nis)
    return vcoco_detections.write_detections(path, predictions, annotations, vocabulary, use_nis=use_nis)
