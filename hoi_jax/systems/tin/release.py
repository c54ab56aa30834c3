"""Numbers of the authors' released code that the paper does not print: counts, suppression bounds, allowed objects."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hoi_jax import io
from hoi_jax.systems.tin.config import NisConfig
from hoi_jax.vocab.tables import Vocabulary


@functools.cache
def _tables() -> Mapping[str, Any]:
    return io.read_json(Path(__file__).with_name("release_tables.json"), max_bytes=1 << 20)


def released(vocabulary: Vocabulary, name: str) -> Sequence[Any]:
    """A table of the released code. Raises ValueError where it has none for the vocabulary."""
    tables = _tables().get(vocabulary.name, {})
    if name not in tables:
        raise ValueError(f"the released code has no {name!r} for {vocabulary.name!r}; it has {sorted(tables)}")
    return tables[name]


def released_counts(vocabulary: Vocabulary, stream: str) -> np.ndarray:
    """Training counts of the network's outputs, behind the weights ln(sum / count) of one stream of C.

    On HICO-DET one table of 600, in which sampled negatives count as no_interaction; on V-COCO people per action for
    the human stream and pairs per verb for the others.
    """
    name = "counts" if vocabulary.hois else "person_counts" if stream == "human" else "pair_counts"
    return np.asarray(released(vocabulary, name), np.float64)


def nis_bounds(config: NisConfig, vocabulary: Vocabulary) -> np.ndarray:
    """[objects, 2] float32: a pair is suppressed if f_P lies below the first and the non-interactive score above the
    second bound of its object class."""
    if config.bounds == "released":
        return np.asarray(released(vocabulary, "nis_bounds"), np.float32)
    both = (config.interactive_below, config.non_interactive_above)
    return np.tile(np.asarray(both, np.float32), (len(vocabulary.objects), 1))


def allowed_objects(tables: Sequence[str], vocabulary: Vocabulary) -> np.ndarray:
    """[verbs, objects] bool: combinations that every one of `tables` ("vocabulary", "released") allows."""
    allowed = np.ones((len(vocabulary.verbs), len(vocabulary.objects)), bool)
    for table in tables:
        if table == "vocabulary":
            allowed &= vocabulary.verb_object_mask
        else:
            for verb, objects in enumerate(released(vocabulary, "verb_objects")):
                allowed[verb] &= np.isin(np.arange(allowed.shape[1]), objects)
    return allowed
