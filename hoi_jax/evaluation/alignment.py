"""Which rows of a prediction store count for the images of a split."""

import dataclasses
import importlib.metadata
import platform

import numpy as np
from jaxtyping import Int

from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.store import PredictionStore
from hoi_jax.io import DataError
from hoi_jax.vocab import Vocabulary, get_vocabulary

ZERO_BASED = np.array([0.0, 0.0, -1.0, -1.0])
"""What turns continuous corners into 0-based inclusive pixels."""


@dataclasses.dataclass(frozen=True)
class Aligned:
    """The part of a store that is counted, with image rows of the annotations."""

    pair_rows: Int[np.ndarray, " p"]
    pair_image: Int[np.ndarray, " p"]
    trip_rows: Int[np.ndarray, " t"]
    trip_pair: Int[np.ndarray, " t"]
    agent_rows: Int[np.ndarray, " m"]
    agent_image: Int[np.ndarray, " m"]
    manifest: dict[str, object]

    @property
    def provenance(self) -> dict[str, object]:
        """The manifest without `use_nis`, for metrics that look at all pairs whatever was suppressed."""
        return {name: value for name, value in self.manifest.items() if name != "use_nis"}


def align(store: PredictionStore, annotations: Annotations, use_nis: bool) -> Aligned:
    """Drops what belongs to unknown images and, with NIS, what was suppressed; counts both.

    A suppressed pair loses its verbs but keeps its `no_interaction`: that score says what the suppression says
    (TIN's authors suppress the 520 real HOI classes of HICO-DET only).
    """
    vocabulary = get_vocabulary(store.vocabulary_name)
    _check_classes(store, vocabulary)
    row_of = {int(image_id): row for row, image_id in enumerate(annotations.image_id)}
    image = np.array([row_of.get(int(image_id), -1) for image_id in store.image_id], np.int64)
    pair_image, agent_image = image[store.pair_image], image[store.agent_image]
    pair_used = (pair_image >= 0) & (store.pair_kept | (not use_nis))
    spared = (store.trip_verb == vocabulary.no_interaction) & (pair_image >= 0)[store.trip_pair]
    trip_rows = np.flatnonzero(pair_used[store.trip_pair] | spared)
    pair_used[store.trip_pair[trip_rows]] = True
    new_row = np.cumsum(pair_used) - 1
    agent_rows = np.flatnonzero(agent_image >= 0)
    manifest = {
        "annotations_fingerprint": annotations.fingerprint,
        "use_nis": use_nis,
        "pairs_in_store": len(store.pair_kept),
        "pairs_suppressed": int((~store.pair_kept & (pair_image >= 0)).sum()),
        "unknown_images_ignored": int((image < 0).sum()),
        "images_without_predictions_entry": int(annotations.num_images - len(np.unique(image[image >= 0]))),
        "predictions": dict(store.manifest),
        "versions": versions(),
    }
    pair_rows = np.flatnonzero(pair_used)
    return Aligned(
        pair_rows,
        pair_image[pair_rows],
        trip_rows,
        new_row[store.trip_pair[trip_rows]],
        agent_rows,
        agent_image[agent_rows],
        manifest,
    )


def _check_classes(store: PredictionStore, vocabulary: Vocabulary) -> None:
    for name, limit in (("trip_verb", len(vocabulary.verbs)), ("pair_object_class", len(vocabulary.objects))):
        values = getattr(store, name)
        if len(values) and values.max() >= limit:
            raise DataError(f"predictions: field {name!r} has {values.max()}, {vocabulary.name} ends at {limit - 1}")
    if len(store.agent_image) and store.agent_scores.shape[1] != len(vocabulary.verbs):
        width = store.agent_scores.shape[1]
        raise DataError(f"predictions: field 'agent_scores' has {width} verbs, not {len(vocabulary.verbs)}")


def versions() -> dict[str, str]:
    """What computed a result."""
    try:
        own = importlib.metadata.version("hoi_jax")
    except importlib.metadata.PackageNotFoundError:
        own = "not installed"  # run from a source folder
    return {"hoi_jax": own, "numpy": np.__version__, "python": platform.python_version()}
