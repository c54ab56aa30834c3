"""CALIPSO: classifying all interacting pairs in a single shot (Chafik et al., WACV 2020).

Modules: `model.py` and `subnet.py` (network), `targets.py`, `loss.py`, `scores.py` (formulas of inference),
`predict.py` (from detections to scores) and `attention_maps.py` (maps of the embeddings).
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from hoi_jax.settings import from_config
from hoi_jax.system import Batch, Requirement, System, Variables
from hoi_jax.systems.calipso.attention_maps import make_attention_maps
from hoi_jax.systems.calipso.config import CalipsoConfig
from hoi_jax.systems.calipso.loss import make_loss, training_fields
from hoi_jax.systems.calipso.model import CalipsoNet
from hoi_jax.systems.calipso.predict import PREDICTION_FIELDS, make_predict
from hoi_jax.vocab.tables import Vocabulary

REQUIRES = Requirement(
    "detections",
    "the network's outputs are read at detected boxes",
    "build with --detections (boxes of a Faster R-CNN: docs/calipso.md), or --config.dataset.detections=ground_truth",
    "predict",
)


def build(model_config: Mapping[str, Any], vocabulary: Vocabulary) -> System:
    """Build CALIPSO for a vocabulary of either style; its outputs are verbs.

    HOI style: a verb with the detected class of its object is an HOI class. Action style: a verb is an action with one
    of its roles, so that every role has its own embedding; people get agent scores.

    Raises:
      SettingsError: a key or value of `model_config` is not valid.
    """
    config = from_config(CalipsoConfig, model_config, "model")
    net = CalipsoNet(config, len(vocabulary.verbs))

    def init(key: Array, batch: Batch) -> Variables:
        del batch  # Parameter shapes do not depend on the size of the image or of any table.
        size = config.backbone.strides[-1]
        return net.init(key, jnp.zeros((1, size, size, 3), jnp.uint8), jnp.full((1, 2), size, jnp.int32))

    predict = make_predict(net, config, vocabulary)
    return System(
        name="calipso",
        needs_train=training_fields(vocabulary),
        needs_predict=PREDICTION_FIELDS,
        init=init,
        loss=make_loss(net, config, vocabulary),
        predict=predict,
        attention=make_attention_maps(net, config, vocabulary, predict),
        requires=(REQUIRES,),
    )
