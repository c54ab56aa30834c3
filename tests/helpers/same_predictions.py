"""Comparison of two tables of predictions up to the order of rows."""

from collections.abc import Mapping

import numpy as np
from scipy.optimize import linear_sum_assignment

from hoi_jax.schema import PREDICTION_FIELDS

_TABLES = {"Q": "pair_valid", "M": "agent_valid", "I": "instance_valid"}
_SMALL = ("h", "w")


def _rows(predictions: Mapping[str, np.ndarray], axis: str, image: int, used: np.ndarray) -> dict[str, np.ndarray]:
    found = {}
    for name, values in sorted(predictions.items()):
        axes = PREDICTION_FIELDS[name].axes
        if axes[:1] == (axis,) and name != _TABLES[axis] and not set(axes) & set(_SMALL):
            found[name] = np.nan_to_num(np.asarray(values[image][used], np.float64), nan=-1e3).reshape(used.sum(), -1)
    return found


def assert_same_predictions(
    found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], atol: float = 1e-5, box_atol: float = 1e-3
) -> int:
    """Compare the valid rows of every table, paired with minimal difference, and image-level scores.

    Returns the number of compared rows. Boxes may differ by `box_atol` pixels, everything else by `atol`; masks are not
    compared, since their grid depends on the padding.
    """
    assert found.keys() == wanted.keys()
    total = 0
    for name in found:
        if PREDICTION_FIELDS[name].axes in ((), ("C",)):
            np.testing.assert_allclose(found[name], wanted[name], atol=atol, err_msg=name)
    for axis, valid in _TABLES.items():
        if valid not in wanted:
            continue
        for image in range(len(wanted[valid])):
            sides = [_rows(p, axis, image, np.asarray(p[valid][image])) for p in (found, wanted)]
            counts = [int(np.sum(p[valid][image])) for p in (found, wanted)]
            assert counts[0] == counts[1], f"image {image}: {counts[0]} rows of {valid}, expected {counts[1]}"
            one, other = (np.concatenate(list(side.values()), axis=1) for side in sides)
            cost = np.abs(one[:, None] - other[None]).sum(-1)
            left, right = linear_sum_assignment(cost)
            for name in sides[0]:
                np.testing.assert_allclose(
                    sides[0][name][left], sides[1][name][right], err_msg=f"{name} of image {image}",
                    atol=box_atol if name.endswith("_px") else atol, rtol=1e-5,
                )  # fmt: skip
            total += counts[0]
    return total
