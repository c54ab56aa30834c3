"""Crops against a literal loop, and their independence of padding."""

import jax.numpy as jnp
import numpy as np

from hoi_jax.ops.roi_align import crop_and_resize


def literal_crop(feature, box, hw, stride, size):
    out = np.zeros((size, size, feature.shape[-1]))
    for i in range(size):
        for j in range(size):
            y = box[1] / stride + i * (box[3] - box[1]) / (stride * (size - 1))
            x = box[0] / stride + j * (box[2] - box[0]) / (stride * (size - 1))
            if not (0 <= y <= hw[0] - 1 and 0 <= x <= hw[1] - 1):
                continue
            y0, x0 = int(np.floor(y)), int(np.floor(x))
            for dy, wy in ((0, 1 - (y - y0)), (1, y - y0)):
                for dx, wx in ((0, 1 - (x - x0)), (1, x - x0)):
                    if wy * wx > 0:
                        out[i, j] += wy * wx * feature[y0 + dy, x0 + dx]
    return out


def cases():
    rng = np.random.default_rng(0)
    feature = rng.normal(size=(2, 6, 9, 3)).astype(np.float32)
    hw = np.array([[6, 9], [4, 7]], np.int32)
    corner = rng.uniform(-5, 40, (2, 8, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 50, (2, 8, 2))], axis=-1).astype(np.float32)
    return feature, boxes, hw


def test_crop_equals_a_literal_loop():
    feature, boxes, hw = cases()
    got = crop_and_resize(jnp.asarray(feature), jnp.asarray(boxes), jnp.asarray(hw), stride=8, size=5)
    for image in range(2):
        for row in range(8):
            expected = literal_crop(feature[image], boxes[image, row], hw[image], 8, 5)
            np.testing.assert_allclose(got[image, row], expected, atol=1e-4)


def test_padded_cells_are_never_read():
    feature, boxes, hw = cases()
    noisy = feature.copy()
    noisy[1, 4:], noisy[1, :, 7:] = 1e6, 1e6
    args = jnp.asarray(boxes), jnp.asarray(hw)
    clean = crop_and_resize(jnp.asarray(feature), *args, stride=8)
    np.testing.assert_array_equal(crop_and_resize(jnp.asarray(noisy), *args, stride=8), clean)
