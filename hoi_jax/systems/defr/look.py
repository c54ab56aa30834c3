"""Where DEFR's regional class token looks: the patches under a pair's boxes, and its attention to them (Figure 5)."""

import dataclasses
from collections.abc import Callable
from typing import Any, cast

from jaxtyping import Array

from hoi_jax.ops.token_masks import pair_patches
from hoi_jax.system import Batch, Look, Predictions, Variables
from hoi_jax.systems.defr.config import DefrConfig
from hoi_jax.systems.defr.inputs import prepare
from hoi_jax.systems.defr.model import DefrNet
from hoi_jax.systems.defr.predict import in_square

TITLES = ("patches under either box",)
BELOW = ("attention of the pair's class token",)
LEGEND = (
    "upper row: the patches that the pair's class",
    "token sees in the last block",
    "lower row: its attention, mean over heads,",
    "red a little, yellow the most",
)


def make_look(net: DefrNet, config: DefrConfig, predict: Callable[[Variables, Batch], Predictions]) -> Look | None:
    """`System.look`: the last block; None where pairs are not scored, or without attention (the rule "average")."""
    d, size = config.detection, config.inputs.size
    if not config.detects or d.rule != "mask":
        return None
    side = size // config.backbone.stride
    block = f"blocks_{config.backbone.layers - 1}"

    def apply(variables: Variables, batch: Batch) -> dict[str, Array]:
        out, hw = predict(variables, batch), batch["image_hw_px"]
        inputs = (
            dataclasses.replace(config.inputs, kernel=d.kernel, antialias=d.antialias) if d.kernel else config.inputs
        )
        image = prepare(batch["image"], hw, inputs)
        streams, _ = cast(tuple[list[Array], Array], net.apply(dict(variables), image, method="streams"))
        boxes = [in_square(out[f"{name}_xyxy_px"], hw, size) for name in ("human", "object")]
        visible = pair_patches(boxes[0], boxes[1], (side, side), config.backbone.patch)
        _, sown = net.apply(dict(variables), streams, visible, method="pair_logits", mutable=["intermediates"])
        found: Any = sown["intermediates"]
        weights = found["backbone"][block]["attention_of_reader"][0].reshape(visible.shape)
        grid = (*visible.shape[:2], 1, side, side)
        return {"weights": weights.reshape(grid), "allowed": visible.reshape(grid)}

    return Look(TITLES, None, apply, BELOW, LEGEND)
