"""DEFR: decoupling object detection from human-object interaction recognition (Jin et al., 2021).

Modules: `model.py` (network), `inputs.py` (image preparation), `targets.py` (labels), `loss.py`, `predict.py` (scores
and attention maps). Initial class embeddings are written by `python -m hoi_jax.systems.defr.embed_labels`.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from hoi_jax.settings import SettingsError, from_config
from hoi_jax.system import Batch, Requirement, System, Variables
from hoi_jax.systems.defr.config import DefrConfig
from hoi_jax.systems.defr.loss import make_loss
from hoi_jax.systems.defr.model import DefrNet
from hoi_jax.systems.defr.predict import make_attention_maps, make_predict, prediction_fields
from hoi_jax.systems.defr.targets import label_fields
from hoi_jax.vocab.tables import Vocabulary

REQUIRES = Requirement(
    "detections",
    "pairs are made of detected boxes",
    "build with --detections (docs/defr.md), or score images only: --config.model.detection.enabled=False",
    "predict",
)


def build(model_config: Mapping[str, Any], vocabulary: Vocabulary) -> System:
    """Build DEFR for a vocabulary of either style; its classes are HOI classes or verbs.

    Raises:
      SettingsError: a key or value of `model_config` is not valid, or does not fit the vocabulary.
    """
    config = from_config(DefrConfig, model_config, "model")
    classes = len(vocabulary.hois) or len(vocabulary.verbs)
    if not vocabulary.hois and not vocabulary.verb_role:
        raise SettingsError(f"vocabulary {vocabulary.name!r} defines neither HOI classes nor the roles of its verbs")
    if not vocabulary.hois and not config.detects:
        raise SettingsError("model.detection must be enabled for action-style vocabularies (only pairs are scored)")
    weights = config.loss.positive_weights
    if weights and not isinstance(weights, str) and len(weights) != classes:
        raise SettingsError(f"model.loss.positive_weights has {len(weights)} entries, expected {classes} (classes)")
    net = DefrNet(config, classes)

    def init(key: Array, batch: Batch) -> Variables:
        # Only the position table depends on the size of the image, which is the configured one.
        return net.init(key, jnp.zeros((1, config.inputs.size, config.inputs.size, 3)))

    predict = make_predict(net, config, vocabulary)
    return System(
        name="defr",
        needs_train=frozenset({"image", "image_hw_px"}) | label_fields(vocabulary, config.labels),
        needs_predict=prediction_fields(config),
        init=init,
        loss=make_loss(net, config, vocabulary),
        predict=predict,
        attention=make_attention_maps(net, config, predict),
        requires=(REQUIRES,) if config.detects else (),
    )
