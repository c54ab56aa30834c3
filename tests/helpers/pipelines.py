"""Pipelines that share what is slow to make and depends on neither the host nor the step: files and traced graphs."""

import functools
from pathlib import Path

from hoi_jax.data.pipeline import Pipeline
from hoi_jax.data.prepare import Preparation
from hoi_jax.data.records import RecordFiles

_PREPARATIONS: dict[Preparation, Preparation] = {}


@functools.cache
def record_files(directory: Path, split: str = "train") -> RecordFiles:
    """The files of a split that does not change any more."""
    return RecordFiles(directory, split)


def with_shared_graph(pipeline: Pipeline) -> Pipeline:
    """The pipeline, with the traced preparation of an earlier one if their files and settings are the same.

    Preparations are functions of a planned row and its record, so pipelines that share one stay independent streams.
    """
    own = pipeline.preparation
    vars(pipeline)["preparation"] = _PREPARATIONS.setdefault(own, own)
    return pipeline
