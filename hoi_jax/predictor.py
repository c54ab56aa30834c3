"""Prediction functions for images and boxes without a dataset, used by `predict.py`.

They are made from a workdir's checkpoint, optionally with other classes given as text (DEFR), or from CLIP's weights
alone (DEFR without training).
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hoi_jax import schema
from hoi_jax.data.numpy_batch import batch_from_images
from hoi_jax.data.settings import SizeSettings
from hoi_jax.system import Requirement
from hoi_jax.vocab import Vocabulary, get_vocabulary

Predict = Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]]
"""Host batch -> host predictions (`schema.PREDICTION_FIELDS`)."""


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A system's prediction function and its required inputs."""

    run: Predict
    requires: tuple[Requirement, ...] = ()

    def __call__(self, batch: dict[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return self.run(batch)


def load_predictor(
    workdir: Path,
    which: str,
    phrases: Sequence[str] = (),
    text_weights: Path | None = None,
    change_model: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
) -> tuple[Predict, Vocabulary, Mapping[str, Any], int]:
    """(jitted prediction, vocabulary, config, step) of a checkpoint.

    Args:
      which: "best", "last" or a step number.
      phrases: classes ("riding a bicycle") that replace those of a DEFR checkpoint, without training; the rows of its
        classifier come from the text encoder in `text_weights`.
      change_model: function that returns the model's settings for prediction; the parameters must stay the same.

    Raises:
      ValueError: the system needs batch fields that images and detections do not provide.
      CheckpointError: there is no such checkpoint.
    """
    from absl import logging

    from hoi_jax.systems.registry import build_system
    from hoi_jax.training.checkpoint import load_for_evaluation

    logging.set_verbosity(logging.ERROR)  # hides Orbax's warning about checkpoints opened read-only
    variables, config_text, metadata = load_for_evaluation(workdir, which=which)
    config = json.loads(config_text)
    if change_model:
        config["model"] = change_model(config["model"])
    vocabulary = get_vocabulary(config["dataset"]["vocabulary"])
    if phrases:
        variables, vocabulary = with_phrases(variables, config, vocabulary, phrases, text_weights)
    predict = jitted(build_system(config["system"], config["model"], vocabulary), variables)
    return predict, vocabulary, config, metadata.step


def load_zero_shot(
    weights: Path, phrases: Sequence[str], objects: Vocabulary | None, *, size: int | None, text_weights: Path | None
) -> tuple[Predict, Vocabulary, Mapping[str, Any]]:
    """(jitted prediction, vocabulary, config) of an untrained DEFR; arguments as in `open_vocabulary.from_clip`.

    Raises:
      ValueError, DataError: see `open_vocabulary.from_clip`.
    """
    from hoi_jax.systems.defr.open_vocabulary import from_clip
    from hoi_jax.systems.registry import build_system

    model, variables, vocabulary = from_clip(weights, phrases, objects=objects, size=size, text_weights=text_weights)
    side = model["inputs"]["size"]
    sizes = {"image_hw": (side, side), "fit": "stretch", "interpolation": "bicubic"}
    sizes |= {"instances": 1, "detections": 64, "pairs": 1}
    config = {"system": "defr", "model": model, "sizes": sizes}
    return jitted(build_system("defr", model, vocabulary), variables), vocabulary, config


def jitted(system: Any, variables: Mapping[str, Any]) -> Predictor:
    """A system's jitted prediction function. Raises ValueError if it needs more than images and detections."""
    import jax

    needs = system.needs_predict | schema.ALWAYS_PRESENT
    probe = batch_from_images([], [], SizeSettings((8, 8), instances=1, detections=1, pairs=1), image_ids=[])
    missing = sorted(needs - set(probe))
    if missing:
        raise ValueError(f"system {system.name!r} needs {missing}, which images and detections do not provide")
    jitted = jax.jit(system.predict)

    def predict(batch: dict[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return jax.device_get(jitted(variables, {name: batch[name] for name in sorted(needs)}))

    return Predictor(predict, tuple(one for one in system.requires if one.when != "train"))


def with_phrases(
    variables: Mapping[str, Any],
    config: Mapping[str, Any],
    vocabulary: Vocabulary,
    phrases: Sequence[str],
    text_weights: Path | None,
) -> tuple[Mapping[str, Any], Vocabulary]:
    """(variables, vocabulary) of a DEFR checkpoint with the phrases as classes. Raises ValueError, DataError."""
    from hoi_jax.systems.defr.embeddings import load_encoder
    from hoi_jax.systems.defr.open_vocabulary import phrase_rows, phrase_vocabulary

    if config["system"] != "defr":
        raise ValueError(f"--verbs needs a DEFR checkpoint, but this one is of system {config['system']!r}")
    if text_weights is None:
        raise ValueError("--verbs needs --text-weights: the text encoder that was trained with the image encoder")
    chosen = phrase_vocabulary(phrases, vocabulary)
    params = variables["params"]
    width = np.shape(params["classifier"]["kernel"])[1]
    rows = phrase_rows(load_encoder(text_weights), phrases, width)
    return {**variables, "params": {**params, "classifier": {"kernel": rows}}}, chosen
