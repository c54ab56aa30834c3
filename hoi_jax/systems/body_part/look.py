"""Where the interactiveness decoder looks: masks and attention of its three layers, per query (paper, Figure 4)."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from hoi_jax.backbones.resnet import make_resnet
from hoi_jax.ops.token_masks import unblock
from hoi_jax.system import Batch, Look, Variables
from hoi_jax.systems.body_part.config import BodyPartConfig
from hoi_jax.systems.body_part.inputs import network_inputs
from hoi_jax.systems.body_part.interactiveness import LAYERS
from hoi_jax.systems.body_part.model import HoiTransformer
from hoi_jax.vocab.tables import Vocabulary

TITLES = {
    "progressive": (
        "layer 1: chosen parts of everybody, other people, object",
        "layer 2: chosen parts of everybody, object",
        "layer 3: chosen parts of this person, object",
    ),
    "parts": tuple(f"layer {number}: chosen parts of everybody" for number in (1, 2, 3)),
    "none": tuple(f"layer {number}: the whole picture" for number in (1, 2, 3)),
}


def make_look(net: HoiTransformer, config: BodyPartConfig, vocabulary: Vocabulary) -> Look | None:
    """`System.look`; None for settings without one pass of three layers per query."""
    if config.interactiveness != "parts" or config.parts.scheme == "six_pass":
        return None
    masked = config.parts.scheme == "one_pass" and config.parts.masks != "none"
    titles = TITLES[config.parts.masks if masked else "none"]
    if config.parts.layer3_mask == "same" and config.parts.masks == "progressive" and masked:
        titles = (*titles[:2], titles[1].replace("2", "3"))

    def apply(variables: Variables, batch: Batch) -> dict[str, Array]:
        inputs = network_inputs(batch, config, vocabulary.human_class)
        out, sown = net.apply(dict(variables), *inputs, mutable=["intermediates"])
        layers: Any = sown["intermediates"]["interactiveness"]
        weights = [layers[f"layer{number}"]["cross_attention"]["weights"][0] for number in range(LAYERS)]
        attention = jnp.stack(weights, axis=2)  # [B, Q, 3, T]
        valid = out["token_valid"][:, None, None]
        allowed = jnp.broadcast_to(valid, attention.shape)
        if masked:
            allowed = unblock(jnp.moveaxis(out["masks"], 0, 2), valid)
        height, width = out["features"].shape[1:3]
        grid = (*attention.shape[:3], height, width)
        found = {"weights": attention.reshape(grid), "allowed": allowed.reshape(grid)}
        return found | ({"chosen": out["part_kept"]} if "part_kept" in out else {})

    return Look(titles, make_resnet(config.backbone).stride, apply)
