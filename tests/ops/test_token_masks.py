"""Body-part masks against the paper's equations written as loops, and the guard against blocked rows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoi_jax.ops.token_masks import cells_under_boxes, merge_parts, progressive_masks, select_parts, unblock

STRIDE, HEIGHT, WIDTH = 32, 4, 5
PEOPLE, QUERIES, PARTS = 2, 3, 6
PAPER = {"cell": "corner", "other_humans": "minus", "last_layer": "target_human", "filter": "global"}
RELEASE = {"cell": "floor", "other_humans": "xor", "last_layer": "same", "filter": "per_query"}


@functools.cache
def compiled(preset: str):
    rules = {"paper": PAPER, "release": RELEASE}[preset]

    def masks(parts, human, obj, scores):
        cells = functools.partial(cells_under_boxes, height=HEIGHT, width=WIDTH, stride=STRIDE, rule=rules["cell"])
        part = jnp.any(cells(parts), axis=0).reshape((1, PARTS, -1))
        human, obj = (cells(boxes).reshape((1, QUERIES, -1)) for boxes in (human, obj))
        kept = select_parts(scores[None], rule=rules["filter"], share=0.25, count=3)
        merged, some = merge_parts(part, kept), jnp.any(kept, axis=-1, keepdims=True)
        any_part = jnp.any(part, axis=1, keepdims=True)
        options = {"other_humans": rules["other_humans"], "last_layer": rules["last_layer"]}
        return kept[0], progressive_masks(merged, any_part, human, obj, some, **options)[:, 0]

    return jax.jit(masks)


def covered(box, row, column, rule) -> bool:
    """Eqs. 1 and 2 for one cell: x of the equations is the row."""
    x1, y1, x2, y2 = (float(v) for v in box)
    if rule == "corner":
        return y1 <= row * STRIDE <= y2 and x1 <= column * STRIDE <= x2
    return y1 // STRIDE <= row <= y2 // STRIDE and x1 // STRIDE <= column <= x2 // STRIDE


def literal(parts, human, obj, scores, rules):
    """Eqs. 1 to 6, one number at a time."""
    order = sorted(np.ndindex(QUERIES, PARTS), key=lambda ik: -scores[ik])
    if rules["filter"] == "global":
        kept = set(order[: round(0.25 * QUERIES * PARTS)])
    else:
        kept = {ik for i in range(QUERIES) for ik in [o for o in order if o[0] == i][:3]}
    masks = np.zeros((3, QUERIES, HEIGHT, WIDTH), bool)
    for i, row, column in np.ndindex(QUERIES, HEIGHT, WIDTH):
        m_part = [any(covered(parts[p, k], row, column, rules["cell"]) for p in range(PEOPLE)) for k in range(PARTS)]
        m_hum = covered(human[i], row, column, rules["cell"])
        m_obj = covered(obj[i], row, column, rules["cell"])
        if rules["other_humans"] == "minus":
            m_other = max(max(m_part) - m_hum, 0)
        else:
            m_other = (max(m_part) + m_hum) % 2
        for j in range(3):
            value = 0
            for k in range(PARTS):
                last = min(m_part[k], m_hum) if rules["last_layer"] == "target_human" else m_part[k]
                m = [max(m_other, m_part[k], m_obj), max(m_part[k], m_obj), max(last, m_obj)][j]
                value = max(value, m * ((i, k) in kept))
            masks[j, i, row, column] = value or m_obj  # the object is always added after Eq. 6
    return kept, masks


@pytest.mark.parametrize("preset", ["paper", "release"])
@settings(max_examples=500, deadline=None, database=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([10.0, 40.0, 120.0]), st.booleans())
def test_masks_equal_the_equations(preset, seed, size, on_grid):
    rng = np.random.default_rng(seed)

    def boxes(*shape):
        corner = rng.uniform(-40, 150, (*shape, 2))
        table = np.concatenate([corner, corner + rng.uniform(0, size, (*shape, 2))], axis=-1)
        # Edges on cell borders are where "inside" is decided.
        return (np.round(table / 16) * 16 if on_grid else table).astype(np.float32)

    inputs = boxes(PEOPLE, PARTS), boxes(QUERIES), boxes(QUERIES), rng.permutation(QUERIES * PARTS).reshape(QUERIES, -1)
    inputs = (*inputs[:3], inputs[3].astype(np.float32))
    kept, masks = compiled(preset)(*inputs)
    wanted_kept, wanted = literal(*inputs, {"paper": PAPER, "release": RELEASE}[preset])
    assert {tuple(int(n) for n in ik) for ik in np.argwhere(kept)} == wanted_kept
    np.testing.assert_array_equal(np.asarray(masks).reshape(wanted.shape), wanted)


def test_of_equal_scores_the_lower_index_is_kept():
    scores = jnp.full((1, 2, 6), 0.5)
    kept = select_parts(scores, rule="global", share=0.25, count=3)
    np.testing.assert_array_equal(np.flatnonzero(kept), [0, 1, 2])
    kept = select_parts(scores, rule="per_query", share=0.25, count=2)
    np.testing.assert_array_equal(np.flatnonzero(kept), [0, 1, 6, 7])


def test_a_query_without_any_cell_sees_all_valid_tokens_and_no_other_changes():
    valid = jnp.array([[[True, True, False]]])
    allowed = jnp.array([[[False, False, True], [True, False, True]]])
    np.testing.assert_array_equal(unblock(allowed, valid), [[[True, True, False], [True, False, False]]])


@pytest.mark.parametrize("name", ["cell", "part", "human", "layer"])
def test_unknown_rules_are_refused_by_name(name):
    cells = jnp.ones((1, 2, 4), bool)
    rules = {"other_humans": "minus", "last_layer": "same"}
    with pytest.raises(ValueError, match="expected"):
        if name == "cell":
            cells_under_boxes(jnp.zeros((1, 4)), 2, 2, stride=32, rule="round")
        elif name == "part":
            select_parts(jnp.zeros((1, 2, 6)), rule="best", share=0.2, count=1)
        else:
            rules["other_humans" if name == "human" else "last_layer"] = "none"
            progressive_masks(cells, cells[:, :1], cells, cells, **rules)
