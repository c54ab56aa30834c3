"""A small system with the difficulties of several devices: uneven valid counts, dropout, running statistics."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hoi_jax.losses.terms import Term, mean_term
from hoi_jax.system import LossOutput, System

ITEMS, WIDTH, CLASSES = 6, 5, 3


class Encoder(nn.Module):
    poisoned: bool = False

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(8, name="first")(x))
        return nn.Dense(8, name="second")(jnp.log(x) if self.poisoned else x)


class Toy(nn.Module):
    poisoned: bool = False

    @nn.compact
    def __call__(self, features, keep):
        mean = self.variable("stats", "mean", jnp.zeros, (WIDTH,))
        hidden = Encoder(self.poisoned, name="encoder")(features - mean.value[None, None])
        hidden = hidden * keep[:, None, :] if keep is not None else hidden
        return nn.Dense(CLASSES, name="head")(hidden)


def make_system(scale_at_nan: float = 1.0, poisoned: bool = False) -> System:
    """Masked cross entropy over items; labels of -9 in a batch make the loss term "items" infinite."""
    model = Toy(poisoned)

    def init(key, batch):
        return model.init(key, batch["features"], None)

    def loss(variables, batch, key, *, train, axis_name):
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(batch["example_id"])
        keep = jax.vmap(lambda k: jax.random.bernoulli(k, 0.8, (8,)))(keys) / 0.8 if train else None
        logits = model.apply(variables, batch["features"], keep)
        label = jnp.maximum(batch["label"], 0)
        per_item = -jnp.take_along_axis(jax.nn.log_softmax(logits), label[..., None], axis=-1)[..., 0]
        per_item = jnp.where(batch["label"] == -9, jnp.inf, per_item)
        valid = batch["valid"]
        total, count = jnp.sum(jnp.where(valid, per_item, 0.0)), jnp.sum(valid).astype(jnp.float32)
        mean = jnp.mean(batch["features"], axis=(0, 1))
        size = mean_term(1e-3 * jnp.square(logits), jnp.ones(logits.shape, bool))
        terms = {"items": Term(total, count), "size": size}
        state = {"stats": {"mean": 0.9 * variables["stats"]["mean"] + 0.1 * mean}}
        return LossOutput(terms, state)

    def predict(variables, batch):
        return {"hoi_scores": jnp.mean(model.apply(variables, batch["features"], None), axis=1)}

    fields = frozenset({"features", "label", "valid", "example_id"})
    return System("toy", fields, fields, init, loss, predict)


def make_batch(step: int, size: int = 8, part: slice = slice(None)) -> dict[str, np.ndarray]:
    """Batch of `step`, a function of it alone. Examples have 0 to 6 valid items, so devices have unequal counts."""
    draw = np.random.default_rng((7, step))
    features = draw.normal(size=(size, ITEMS, WIDTH)).astype(np.float32)
    counts = np.arange(size) * ITEMS // max(size - 1, 1)
    batch = {
        "features": features,
        "label": (features.sum(-1) > 0).astype(np.int32) + (features[..., 0] > 1),
        "valid": np.arange(ITEMS) < counts[:, None],
        "example_id": np.arange(size, dtype=np.int32) + 100 * step,
    }
    return {name: value[part] for name, value in batch.items()}


def batches(start: int, size: int = 8):
    """Endless stream of batches from step `start` on."""
    while True:
        yield make_batch(start, size)
        start += 1
