"""DEFR's losses on image-level labels (section 3.3, Table 7)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from hoi_jax.arrays import ArrayLike
from hoi_jax.losses.elementwise import (
    binary_cross_entropy,
    binary_focal,
    lse_sign_loss,
    softmax_cross_entropy,
    weighted_binary_cross_entropy,
)
from hoi_jax.losses.terms import Term, mean_term
from hoi_jax.system import Batch, LossOutput, Variables
from hoi_jax.systems.defr.config import DefrConfig, LossConfig
from hoi_jax.systems.defr.inputs import prepare
from hoi_jax.systems.defr.model import DefrNet
from hoi_jax.systems.defr.targets import image_labels, read_weights
from hoi_jax.vocab.tables import Vocabulary


def classification_loss(
    logits: Float[ArrayLike, "batch classes"],
    positive: Bool[ArrayLike, "batch classes"],
    settled: Bool[ArrayLike, "batch classes"],
    valid: Bool[ArrayLike, " batch"],
    config: LossConfig,
) -> Term:
    """The configured loss: a mean over images ("lse_sign", "softmax"), or over images and classes (other kinds)."""
    known = settled if config.mask_ambiguous else jnp.ones_like(settled)
    if config.kind == "lse_sign":
        return mean_term(lse_sign_loss(logits, positive, known), valid)
    if config.kind == "softmax":
        return mean_term(softmax_cross_entropy(logits, jnp.argmax(positive, axis=-1)), valid)
    if config.kind == "focal":
        values = binary_focal(logits, positive, alpha=config.focal_alpha, gamma=config.focal_gamma)
    elif config.kind == "weighted_bce":
        given = config.positive_weights
        weights = jnp.asarray(
            read_weights(given, logits.shape[-1]) if isinstance(given, str) else np.asarray(given, np.float32)
        )
        values = weighted_binary_cross_entropy(logits, positive, weights)
    else:
        values = binary_cross_entropy(logits, positive)
    return mean_term(values, known & valid[:, None])


def make_loss(net: DefrNet, config: DefrConfig, vocabulary: Vocabulary):
    """Return the `loss` function of a System (see `system.System`)."""

    def loss(
        variables: Variables, batch: Batch, key: Array, *, train: bool = True, axis_name: str | None = None
    ) -> LossOutput:
        keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(batch["example_id"]) if train else None
        image = prepare(batch["image"], batch["image_hw_px"], config.inputs, keys)
        logits, state = net.apply(
            dict(variables), image, train=train, axis_name=axis_name, mutable=["batch_stats"]
        )  # fmt: skip
        positive, settled = image_labels(batch, vocabulary, config.labels)
        term = classification_loss(logits, positive, settled, batch["batch_valid"], config.loss)
        state = {name: value for name, value in variables.items() if name != "params"} | dict(state)
        return LossOutput(terms={config.loss.kind: term}, state=state)

    return loss
