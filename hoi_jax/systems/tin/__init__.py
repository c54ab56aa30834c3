"""TIN: transferable interactiveness knowledge for human-object interaction detection (Li et al., CVPR 2019).

Modules: `model.py` (network), `sampling.py` and `targets.py` (training pairs and labels), `loss.py`, `predict.py`.
"""

from collections.abc import Mapping
from typing import Any, cast

import jax.numpy as jnp
from jaxtyping import Array

from hoi_jax.settings import SettingsError, from_config
from hoi_jax.system import Batch, Requirement, System, Variables
from hoi_jax.systems.tin.config import TinConfig
from hoi_jax.systems.tin.loss import make_loss, training_fields
from hoi_jax.systems.tin.model import PairInputs, TinNet, image_field
from hoi_jax.systems.tin.predict import make_predict, prediction_fields
from hoi_jax.vocab.tables import Vocabulary

START_FROM = (
    "R is a trained ResNet-50: python -m hoi_jax.systems.tin.convert resnet50.pth resnet50.npz, then "
    "--config.train.init_from=resnet50.npz (with mode=p the option r=resnet50.npz)"
)


def frozen_parameters(config: TinConfig) -> tuple[str, ...]:
    """Patterns of the parameters without gradient: those of a frozen R."""
    c = config
    if not c.backbone.frozen or c.backbone.cached or not c.uses_pixels:
        return ()
    return ("appearance/backbone/.*",) if c.shares_stages else ("interactiveness_stages/backbone/.*",)


def requirements(config: TinConfig) -> tuple[Requirement, ...]:
    """Required content of the records: detections, and their poses if P reads poses.

    Training needs poses of detections as well: positives take the estimated pose of the detection that they overlap,
    as negatives do, so that P cannot distinguish them by the kind of pose.
    """
    boxes = Requirement(
        "detections",
        "TIN pairs detected boxes; without them there are no pairs to score and no negative pairs to train on",
        "build with --detections FILE (iCAN's Train/Test_Faster_RCNN pickles, fredzzhang/hicodet's JSON, COCO results, "
        "detectron2)",
    )
    poses = Requirement(
        "detections_keypoints_px",
        "the spatial-pose stream of interactiveness needs the pose of every person",
        "build with --poses FILE (AlphaPose or COCO keypoints), or remove the pose from model.interactiveness.streams",
    )
    return (boxes, poses) if "pose" in config.interactiveness.streams else (boxes,)


def build(model_config: Mapping[str, Any], vocabulary: Vocabulary) -> System:
    """Build TIN for a vocabulary of either style.

    HOI style: the network's outputs are HOI classes. Action style: its outputs are verbs; the human stream learns all
    actions of a person and gives the agent scores, and pairs get scores of verbs that take an object.

    Raises:
      SettingsError: a key or value of `model_config` is not valid, or the vocabulary has neither style.
    """
    config = from_config(TinConfig, model_config, "model")
    if not vocabulary.hois and not vocabulary.verb_role:
        raise SettingsError(f"vocabulary {vocabulary.name!r} defines neither HOI classes nor the roles of its verbs")
    net = TinNet(config, len(vocabulary.hois) or len(vocabulary.verbs), len(vocabulary.objects))

    def init(key: Array, batch: Batch) -> Variables:
        # Parameter shapes do not depend on the size of the image or of any table, so the smallest sizes are used.
        size = 2 * 2 ** (len(config.backbone.stage_sizes) + 2)
        box, row = jnp.zeros((1, 1, 4)), jnp.zeros((1, 1), jnp.int32)
        image, hw = jnp.zeros((1, size, size, 3), jnp.uint8), jnp.full((1, 2), size, jnp.int32)
        for name in image_field(config):
            image = jnp.zeros((1, *batch[name].shape[1:])) if name == "image_features" else image
        inputs = PairInputs(
            image=image,
            image_hw_px=hw,
            human_xyxy_px=box,
            human_keypoints_px=jnp.zeros((1, 1, 17, 3)),
            object_xyxy_px=box,
            object_class=row,
            human_index=row,
            object_index=row,
        )
        return net.init(key, inputs)

    def features(variables: Variables, batch: Batch) -> Array:
        return cast(Array, net.apply(dict(variables), batch["image"], batch["image_hw_px"], method="features"))

    return System(
        name="tin",
        needs_train=training_fields(vocabulary, config),
        needs_predict=prediction_fields(config),
        init=init,
        loss=make_loss(net, config, vocabulary),
        predict=make_predict(net, config, vocabulary),
        features=features if config.uses_pixels and not config.backbone.cached else None,
        requires=requirements(config),
        frozen=frozen_parameters(config),
        start_from=START_FROM,
    )
