"""Attention maps of CALIPSO and DEFR agree with their scores."""

import jax
import numpy as np
import pytest

from hoi_jax.commands.score_run import draw_attention_maps
from hoi_jax.settings import from_config
from hoi_jax.systems.calipso.config import CalipsoConfig
from hoi_jax.systems.calipso.model import CalipsoNet, anchors_of
from hoi_jax.systems.calipso.predict import anchors_to_read
from hoi_jax.systems.registry import build_system
from tests.helpers.batches import HOI_STYLE, random_batch
from tests.helpers.systems import calipso as calipso_examples
from tests.helpers.systems.defr import small_config as small_defr
from tests.helpers.variables import random_variables


def without_padding(batch):
    """The same images, all of them as large as the batch."""
    sizes = np.broadcast_to(np.array(batch["image"].shape[1:3], np.int32), batch["image_hw_px"].shape)
    return {**batch, "image_hw_px": sizes.copy()}


def test_calipso_shows_the_embedding_distance_from_the_person_at_the_nearest_anchors():
    config = from_config(CalipsoConfig, calipso_examples.small_config(), "model")
    system = build_system("calipso", calipso_examples.small_config(), HOI_STYLE)
    batch = without_padding(random_batch(HOI_STYLE, batch=2, size=calipso_examples.SIZE))
    batch["image_hw_px"][1] = 48, 40
    variables = random_variables(system.init, batch)
    net, attention = CalipsoNet(config, len(HOI_STYLE.verbs)), system.attention

    def everything(variables, batch):
        maps = net.apply(variables, batch["image"], batch["image_hw_px"], method="trunk")
        return (
            attention.explain(variables, batch),
            system.predict(variables, batch),
            net.apply(variables, maps, method="dense"),
        )

    seen, out, dense = jax.device_get(jax.jit(everything)(variables, batch))
    image, query = 0, int(np.flatnonzero(out["pair_valid"][0])[-1])
    anchors = anchors_of(config, (64, 64))
    index, share = jax.device_get(
        anchors_to_read(out["human_xyxy_px"][image, query : query + 1], anchors, np.ones(len(anchors), bool), config)
    )
    verbs = np.array(out["verb_scores"][image, query])
    if HOI_STYLE.no_interaction >= 0:
        verbs[HOI_STYLE.no_interaction] = -1
    every = dense["embedding"][image][:, verbs.argmax()]
    own = sum(weight * every[row] for row, weight in zip(index[0], share[0], strict=True))
    distance = np.linalg.norm(every - own, axis=-1)
    cells, starts = (
        64 // attention.cell_px,
        np.cumsum([0, *((64 // s) ** 2 * config.anchors.per_cell for s in config.backbone.strides)]),
    )
    for y, x in np.random.default_rng(0).integers(0, cells, (40, 2)):
        best = np.inf
        for start, stride in zip(starts, config.backbone.strides, strict=False):
            places = np.arange(64 // stride) * stride
            row, column = (np.argmin(abs(places - (cell + 0.5) * attention.cell_px)) for cell in (y, x))
            first = start + (row * len(places) + column) * config.anchors.per_cell
            best = min(best, distance[first : first + config.anchors.per_cell].min())
        np.testing.assert_allclose(seen["weights"][image, query, 0, y, x], np.exp(-best), rtol=2e-4, atol=1e-6)
    # Of a padded image the cells far beyond its edge are dark.
    beyond = -(-48 // attention.cell_px) + config.backbone.strides[-1] // attention.cell_px
    assert not seen["allowed"][1, :, 0, beyond:].any() and seen["allowed"][1, :, 0, 0, 0].all()


@pytest.mark.parametrize("blocks", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_defr_shows_the_attention_to_patches_under_the_boxes(blocks):
    changes = {"detection": {"blocks": blocks}, "backbone": {"layers": 3}}
    system = build_system("defr", small_defr(**changes), HOI_STYLE)
    batch = without_padding(random_batch(HOI_STYLE, batch=2, size=64))
    shapes = jax.eval_shape(system.init, jax.random.key(0), batch)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)
    seen, out = jax.device_get(
        jax.jit(lambda v, b: (system.attention.explain(v, b), system.predict(v, b)))(variables, batch)
    )
    weights, allowed = seen["weights"], seen["allowed"]
    assert weights.shape == allowed.shape == (2, 18, 1, 4, 4)
    assert np.all((weights > 0) <= allowed) and np.all(weights.sum(axis=(-2, -1)) < 1)
    for image, query in np.argwhere(out["pair_valid"]):
        for y, x in np.ndindex(4, 4):  # a patch is 8 of the 32 pixels of the network, 16 of the image's 64
            under = False
            for name in ("human", "object"):
                x1, y1, x2, y2 = out[f"{name}_xyxy_px"][image, query]
                under |= x1 < 16 * (x + 1) and x2 > 16 * x and y1 < 16 * (y + 1) and y2 > 16 * y
            assert allowed[image, query, 0, y, x] == under


def test_defr_without_pairs_or_attention_shows_nothing():
    assert build_system("defr", small_defr(detection={"rule": "average"}), HOI_STYLE).attention is None


@pytest.mark.slow
def test_every_used_image_of_a_batch_gives_at_most_one_drawing_with_its_score():
    batch = without_padding(random_batch(HOI_STYLE, batch=4, size=64))
    batch["batch_valid"][1] = False
    system = build_system("defr", small_defr(), HOI_STYLE)
    shapes = jax.eval_shape(system.init, jax.random.key(0), batch)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)
    drawn = draw_attention_maps(system, variables, batch, HOI_STYLE)
    assert 1 <= len(drawn) <= 3 and all(image.width > 300 for _, image in drawn)
    assert all(" " in caption and float(caption.rsplit(" ", 1)[1]) >= 0 for caption, _ in drawn)
