"""Box arithmetic against shapely-free closed forms and properties."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hoi_jax.ops import boxes

coordinate = st.integers(0, 64)
box = st.tuples(coordinate, coordinate, st.integers(1, 32), st.integers(1, 32)).map(
    lambda v: (v[0], v[1], v[0] + v[2], v[1] + v[3])
)


def pixels(xyxy) -> set:
    return {(x, y) for x in range(xyxy[0], xyxy[2]) for y in range(xyxy[1], xyxy[3])}


@settings(max_examples=50, deadline=None)
@given(box, box)
def test_iou_counts_pixels(a, b):
    got = float(boxes.iou(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)))
    np.testing.assert_allclose(got, len(pixels(a) & pixels(b)) / len(pixels(a) | pixels(b)), rtol=1e-6)


def test_pairwise_iou_is_iou_of_every_combination():
    rng = np.random.default_rng(0)
    a, b = (np.sort(rng.uniform(0, 9, (n, 2, 2)), axis=1).reshape(n, 4).astype(np.float32) for n in (3, 5))
    table = np.asarray(boxes.pairwise_iou(jnp.asarray(a), jnp.asarray(b)))
    loop = [[float(boxes.iou(jnp.asarray(x), jnp.asarray(y))) for y in b] for x in a]
    np.testing.assert_allclose(table, loop, rtol=1e-6)


def test_iou_of_two_empty_boxes_is_zero_not_nan():
    nothing = jnp.zeros((1, 4))
    assert float(boxes.iou(nothing, nothing)[0]) == 0.0


def test_clip_takes_x_by_width_and_y_by_height():
    got = boxes.clip_boxes(jnp.asarray([[-5.0, -5.0, 300.0, 300.0]]), jnp.asarray([100, 200]))
    np.testing.assert_array_equal(got, [[0, 0, 200, 100]])
