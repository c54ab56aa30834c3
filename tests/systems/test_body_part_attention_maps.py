"""What the body-part system shows of its attention is what its decoder used."""

import jax
import numpy as np
import pytest

from hoi_jax.systems.registry import build_system
from tests.helpers.batches import HOI_STYLE, random_batch
from tests.helpers.systems.body_part import only, small_config
from tests.helpers.variables import random_variables


def test_attention_lies_in_the_masks_and_the_masks_narrow_down_to_the_pair():
    config = small_config(verbs={"source": "none"}, parts={"person_score": 0.1, "cell_rule": "floor"})
    config["transformer"] |= {"encoder_layers": 0, "box_layers": 1}
    system = build_system("body_part", config, HOI_STYLE)
    batch = only(random_batch(HOI_STYLE, batch=2), system.needs_predict)
    variables = random_variables(system.init, batch)
    attention = system.attention
    assert attention is not None and len(attention.titles) == 3
    seen, found = jax.jit(lambda v, b: (attention.explain(v, b), system.predict(v, b)))(variables, batch)
    weights, allowed = np.asarray(seen["weights"]), np.asarray(seen["allowed"])
    rows, columns = (-(-size // attention.cell_px) for size in batch["image"].shape[1:3])
    assert weights.shape == allowed.shape == (2, 7, 3, rows, columns)
    np.testing.assert_allclose(weights.sum(axis=(-2, -1)), 1, rtol=1e-5)
    assert ((weights > 0) <= allowed).all() and not allowed.all() and (weights[allowed] > 0).mean() > 0.9
    assert (allowed[:, :, 2] <= allowed[:, :, 1]).all() and (allowed[:, :, 1] <= allowed[:, :, 0]).all()
    # The object's own cells are open in every layer: by the floor rule those from corner to corner.
    for image in range(2):
        height, width = np.asarray(batch["image_hw_px"])[image]
        for query, box in enumerate(np.asarray(found["object_xyxy_px"])[image]):
            x1, y1, x2, y2 = np.floor(box / attention.cell_px).astype(int)
            inside = np.zeros((rows, columns), bool)
            inside[max(y1, 0) : y2 + 1, max(x1, 0) : x2 + 1] = True
            inside[-(-height // attention.cell_px) :] = False
            inside[:, -(-width // attention.cell_px) :] = False
            assert allowed[image, query][:, inside].all()
    assert np.asarray(seen["chosen"]).sum(axis=(1, 2)).tolist() == [round(0.25 * 6 * 7)] * 2


@pytest.mark.parametrize(
    ("changes", "shows"),
    [
        ({}, True), ({"parts": {"masks": "none"}}, True), ({"parts": {"scheme": "instance"}}, True),
        ({"parts": {"scheme": "six_pass"}}, False), ({"interactiveness": "none"}, False),
    ],
)  # fmt: skip
def test_settings_with_one_pass_of_three_layers_have_attention_maps(changes, shows):
    system = build_system("body_part", small_config(**changes), HOI_STYLE)
    assert (system.attention is not None) == shows
    if system.attention is not None:
        batch = only(random_batch(HOI_STYLE, batch=1), system.needs_predict)
        variables = jax.eval_shape(system.init, jax.random.key(0), batch)
        seen = jax.eval_shape(system.attention.explain, variables, batch)
        assert seen["weights"].shape == seen["allowed"].shape
