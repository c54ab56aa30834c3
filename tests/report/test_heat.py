"""Maps of closeness: which anchor answers for a pixel, and colours."""

import numpy as np
import pytest

from hoi_jax.visualization.attention import STOPS, closeness_map, heat_colours, heat_over
from tests.helpers.typecheck import unchecked


def test_a_pixel_takes_the_closest_anchor_of_the_cells_centred_nearest_to_it():
    """Two levels of 2x2 and 1x1 cells with two anchors each, over 4x4 pixels; fine cells are centred at 0 and 2."""
    distance = np.full(10, 9.0)
    distance[3] = 1.0  # cell (0, 1) of the fine level
    distance[8] = 2.0  # the only cell of the coarse level
    made = closeness_map(distance, [(2, 2), (1, 1)], 2, (2, 4))
    wanted = np.full((4, 4), np.exp(-2.0))
    wanted[:1, 1:] = np.exp(-1.0)
    np.testing.assert_allclose(made, wanted)


def test_colours_run_from_the_first_stop_to_the_last_and_get_brighter():
    made = heat_colours(np.linspace(-0.5, 1.5, 41)[None])[0].astype(float)
    np.testing.assert_array_equal(made[[0, -1]], STOPS[[0, -1]])
    brightness = made @ [0.299, 0.587, 0.114]
    assert (np.diff(brightness) >= -0.5).all() and brightness[-1] > brightness[0] + 100


def test_the_frame_is_white_and_scaled_and_the_rest_is_coloured():
    image = np.full((20, 30, 3), 100, np.uint8)
    made = np.asarray(heat_over(image, np.zeros((20, 30)), (10, 5, 20, 15), size=(300, 200)))
    assert made.shape == (200, 300, 3) and (made[50, 100:200] == 255).all()
    np.testing.assert_allclose(made[100, 150], np.round(0.7 * STOPS[0] + 30), atol=1)
    with unchecked(), pytest.raises(ValueError, match="the image has"):
        heat_over(image, np.zeros((4, 4)))
