"""Cascaded human-object interaction recognition (Zhou et al., CVPR 2020).

Read `model.py` for the steps, `detect.py` for instance localisation, `regions.py`, `mining.py`, `geometry.py`,
`prior.py` and `relation.py` for relation features, `detector_loss.py` and `loss.py` for Eq. 18, `predict.py` for
inference.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from hoi_jax.settings import from_config
from hoi_jax.system import Batch, System, Variables
from hoi_jax.systems.cascade.config import CascadeConfig
from hoi_jax.systems.cascade.loss import make_loss, training_fields
from hoi_jax.systems.cascade.model import CascadeNet
from hoi_jax.systems.cascade.predict import make_predict, prediction_fields
from hoi_jax.systems.cascade.prior import prior_of_vocabulary, read_prior, released_prior
from hoi_jax.vocab.tables import Vocabulary


def prior_of(name: str, vocabulary: Vocabulary) -> np.ndarray:
    """The table behind X_s, [objects, 1 + verbs]: of the vocabulary, uniform, HOI-W's released one, or from a file."""
    if name == "vocabulary":
        return prior_of_vocabulary(vocabulary)
    if name == "uniform":
        columns = 1 + len(vocabulary.verbs)
        return np.full((len(vocabulary.objects), columns), 1 / columns, np.float32)
    return released_prior(vocabulary) if name == "hoi_w_release" else read_prior(name, vocabulary)


def build(model_config: Mapping[str, Any], vocabulary: Vocabulary) -> System:
    """The cascade for a vocabulary of either style; action style also gives agent scores.

    Raises:
      SettingsError: for a key or value of `model_config` that is not valid; io.DataError for a damaged prior file.
    """
    config = from_config(CascadeConfig, model_config, "model")
    prior = prior_of(config.relation.prior, vocabulary)
    net = CascadeNet(config, len(vocabulary.objects), len(vocabulary.verbs))

    def init(key: Array, batch: Batch) -> Variables:
        del batch  # Parameter shapes do not depend on the size of the picture or of any table.
        size = config.backbone.coarsest
        return net.init(key, jnp.zeros((1, size, size, 3), jnp.uint8), jnp.full((1, 2), size, jnp.int32))

    return System(
        name="cascade",
        needs_train=training_fields(config),
        needs_predict=prediction_fields(config),
        init=init,
        loss=make_loss(net, config, vocabulary, prior),
        predict=make_predict(net, config, vocabulary, prior),
    )
