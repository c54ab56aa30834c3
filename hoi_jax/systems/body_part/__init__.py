"""Body-part interactiveness (Wu et al., "Mining Cross-Person Cues", ECCV 2022), with QPIC and CDN as settings.

Read `model.py` for the network, `interactiveness.py` for the paper's contribution, `targets.py` and `loss.py`
for training, `reweight.py` for CDN's class weights, `predict.py` for scores and attention maps, `convert.py` for the
authors' weights.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from hoi_jax.schema import NUM_PARTS
from hoi_jax.settings import from_config
from hoi_jax.system import Batch, Requirement, System, Variables
from hoi_jax.systems.body_part.config import BodyPartConfig
from hoi_jax.systems.body_part.loss import make_loss, training_fields
from hoi_jax.systems.body_part.model import HoiTransformer
from hoi_jax.systems.body_part.predict import make_attention_maps, make_predict, prediction_fields
from hoi_jax.systems.body_part.reweight import initial_state, training_counts
from hoi_jax.systems.body_part.targets import has_absent_class
from hoi_jax.vocab.tables import Vocabulary

START_FROM = (
    "Start from COCO's DETR: python -m hoi_jax.systems.body_part.convert detr-r50-e632da11.pth detr.npz "
    "--detr-queries 64 (the config's number of queries; --absent-class for V-COCO), then "
    "--config.train.init_from=detr.npz"
)
_BUILD = "build with data_prep.build ... --detections FILE --poses FILE"


def requirements(config: BodyPartConfig) -> tuple[Requirement, ...]:
    """Required content of the records: detections and poses if body parts are used, and labels of parts if learned."""
    needed: tuple[Requirement, ...] = ()
    if config.uses_parts:
        needed += (
            Requirement(
                "detections",
                "body parts are taken from detected people; without any, the masks contain only the object",
                f"{_BUILD} (detections: COCO results, detectron2's instances_predictions.pth, or fredzzhang/hicodet's "
                "folder of JSON files)",
            ),
            Requirement(
                "detections_keypoints_px",
                "body-part boxes are computed from poses",
                f"{_BUILD} (poses: AlphaPose's or COCO's keypoint results)",
            ),
        )
    if config.loss.parts:
        needed += (
            Requirement(
                "pairs_part_states",
                "loss.parts trains on labels of interacting body parts",
                "build with --annotations train=FILE, where FILE is HAKE's instance-level labels",
                "train",
            ),
        )
    return needed


def build(model_config: Mapping[str, Any], vocabulary: Vocabulary) -> System:
    """Build the system for a vocabulary of either style; in action style a pair's object may be absent.

    Raises:
      SettingsError: a key or value of `model_config` is not valid.
    """
    config = from_config(BodyPartConfig, model_config, "model")
    reweight = config.loss.reweight
    net = HoiTransformer(config, len(vocabulary.objects) + has_absent_class(vocabulary), len(vocabulary.verbs))

    def init(key: Array, batch: Batch) -> Variables:
        # Parameter shapes do not depend on the size of the image or of any table, so the smallest sizes are used.
        size = 2 * 2 ** (len(config.backbone.stage_sizes) + 1)
        parts = jnp.zeros((1, 1, NUM_PARTS, 4)), jnp.zeros((1, 1, NUM_PARTS), bool)
        variables = net.init(key, jnp.zeros((1, size, size, 3)), jnp.full((1, 2), size, jnp.int32), *parts)
        return {**variables, **initial_state(reweight, training_counts(reweight, vocabulary))}

    loss, batch_sums = make_loss(net, config, vocabulary)
    return System(
        name="body_part",
        needs_train=training_fields(config),
        needs_predict=prediction_fields(config),
        init=init,
        loss=loss,
        predict=make_predict(net, config, vocabulary),
        attention=make_attention_maps(net, config, vocabulary),
        requires=requirements(config),
        start_from=START_FROM,
        batch_sums=batch_sums,
    )
