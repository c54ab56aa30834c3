"""Cascaded human-object interaction recognition (Zhou et al., CVPR 2020).

Modules: `model.py` (steps), `detect.py` (instance localisation), `regions.py`, `relation_features.py` and `relation.py`
(relation features), `detector_loss.py` and `loss.py` (Eq. 18), `predict.py` (inference).
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from hoi_jax.settings import from_config
from hoi_jax.system import Batch, Requirement, System, Variables
from hoi_jax.systems.cascade.config import CascadeConfig
from hoi_jax.systems.cascade.loss import make_loss, training_fields
from hoi_jax.systems.cascade.model import CascadeNet
from hoi_jax.systems.cascade.predict import make_predict, prediction_fields
from hoi_jax.systems.cascade.relation_features import prior_of_vocabulary, read_prior, released_prior
from hoi_jax.vocab.tables import Vocabulary

START = (
    "Phase 2 starts from phase 1: config option phase1=WORKDIR. Phase 1 starts from a COCO detector: "
    "`python -m hoi_jax.systems.cascade.convert SOURCE detector.npz --vocabulary NAME`"
)
"""Advice in the error for a run whose frozen parameters are not loaded."""


def prior_of(name: str, vocabulary: Vocabulary) -> np.ndarray:
    """The table of X_s, [objects, 1 + verbs]: the vocabulary's, uniform, the one released for HOI-W, or from a file."""
    if name == "vocabulary":
        return prior_of_vocabulary(vocabulary)
    if name == "uniform":
        columns = 1 + len(vocabulary.verbs)
        return np.full((len(vocabulary.objects), columns), 1 / columns, np.float32)
    return released_prior(vocabulary) if name == "hoi_w_release" else read_prior(name, vocabulary)


def requirements(config: CascadeConfig) -> tuple[Requirement, ...]:
    """Required content of the records for a configuration."""
    own, relation = config.detector == "own", config.relation
    trains_relations = config.loss.parts != "detector"
    found = []
    if not own:
        detector = "--detections FILE of `python -m data_prep.build`, or dataset.detections='ground_truth'"
        found.append(Requirement("detections", "detector='external' needs detected boxes", detector))
    if trains_relations and relation.face and "v" in relation.streams:
        faces = "--faces FILE of `python -m data_prep.build`, boxes of any detector; or set relation.face=False"
        columns = ("faces_xyxy_px",) if own else ("instances_face_xyxy_px", "detections_face_xyxy_px")
        for column in columns:
            when = "train" if column.startswith("instances") else "both"
            found.append(Requirement(column, "EFRA attends to faces (paper, Eqs. 8 to 10)", faces, when))
    if config.masks.enabled or (trains_relations and relation.uses_masks):
        masks = "a dataset with masks: pic, or V-COCO with --coco-instances"
        when = "train" if own else "both"
        found.append(Requirement("instances_mask_png", "masks of annotated boxes (paper, section 3.4)", masks, when))
    return tuple(found)


def build(model_config: Mapping[str, Any], vocabulary: Vocabulary) -> System:
    """Build the cascade for a vocabulary of either style; action style also gives agent scores.

    Raises:
      SettingsError: a key or value of `model_config` is not valid.
      io.DataError: the prior file is damaged.
    """
    config = from_config(CascadeConfig, model_config, "model")
    prior = prior_of(config.relation.prior, vocabulary)
    net = CascadeNet(config, len(vocabulary.objects), len(vocabulary.verbs))

    def init(key: Array, batch: Batch) -> Variables:
        del batch  # Parameter shapes do not depend on the size of the image or of any table.
        size = config.backbone.coarsest
        return net.init(key, jnp.zeros((1, size, size, 3), jnp.uint8), jnp.full((1, 2), size, jnp.int32))

    return System(
        name="cascade",
        needs_train=training_fields(config),
        needs_predict=prediction_fields(config),
        init=init,
        loss=make_loss(net, config, vocabulary, prior),
        predict=make_predict(net, config, vocabulary, prior),
        requires=requirements(config),
        frozen=("(?!relations_).*",) if config.loss.parts == "relations" and config.detector == "own" else (),
        start_from=START,
    )
