"""Choice of rows and pairs, and the score rules of TIN."""

import jax
import jax.numpy as jnp
import numpy as np

from hoi_jax.losses.elementwise import binary_cross_entropy, log_frequency_weights
from hoi_jax.losses.terms import mean_term, valid_mean
from hoi_jax.ops import pairs, scoring
from tests.helpers.losses import device_share


def test_top_rows_ignores_invalid_rows_and_keeps_order():
    score, valid = jnp.asarray([0.1, 0.9, 0.5, 0.9]), jnp.asarray([True, False, True, True])
    index, used = pairs.top_rows(score, valid, 4)
    assert list(np.asarray(index)[np.asarray(used)]) == [3, 2, 0]


def test_a_person_is_not_paired_with_the_own_box_but_with_other_people():
    box = jnp.asarray([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 2.0, 2.0]])
    both = jnp.ones(2, bool)
    np.testing.assert_array_equal(pairs.enumerate_pairs(box, box, both, both), [[False, True], [True, False]])


def test_a_detected_pair_is_annotated_only_when_both_boxes_are():
    person, ball, chair = [0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0], [40.0, 0.0, 50.0, 10.0]
    near = [0.0, 0.0, 10.0, 9.5]
    free = pairs.unannotated_pairs(
        jnp.asarray([near, chair]), jnp.asarray([ball, chair]), jnp.asarray([person]), jnp.asarray([ball]),
        jnp.asarray([True]), overlap=0.8,
    )  # fmt: skip
    np.testing.assert_array_equal(free, [[False, True], [True, True]])


def test_random_rows_draws_each_valid_row_equally_often():
    valid = jnp.asarray([True, True, False, True, True])
    draw = jax.jit(jax.vmap(lambda key: pairs.random_rows(key, valid, 2)[0]))
    counts = np.bincount(np.asarray(draw(jax.random.split(jax.random.key(0), 4000))).ravel(), minlength=5)
    assert counts[2] == 0
    np.testing.assert_allclose(counts[[0, 1, 3, 4]] / 4000, 0.5, atol=0.04)


def test_verb_scores_are_the_classes_of_the_detected_object():
    table = jnp.asarray([[0, 1], [-1, 2]])  # verbs x objects
    got = scoring.verb_scores_of_class(jnp.asarray([[0.1, 0.2, 0.3]] * 2), jnp.asarray([0, 1]), table)
    np.testing.assert_allclose(got, [[0.1, 0.0], [0.2, 0.3]])


def test_suppression_keeps_the_threshold_itself():
    kept = scoring.suppress_pairs(jnp.asarray([0.05, 0.1, 0.9]), jnp.asarray([True, True, False]))
    np.testing.assert_array_equal(kept, [False, True, False])


def test_cross_entropy_is_finite_and_right_for_large_logits():
    logits, labels = jnp.asarray([200.0, 200.0, -200.0, 0.0]), jnp.asarray([True, False, False, True])
    np.testing.assert_allclose(binary_cross_entropy(logits, labels), [0, 200, 0, np.log(2)], atol=1e-6)


def test_a_class_without_training_instances_weighs_like_one_with_one():
    np.testing.assert_allclose(log_frequency_weights(np.array([0, 1, 9])), np.log([10, 10, 10 / 9]))


def test_mean_over_devices_is_the_global_mean_with_unequal_counts():
    values = jnp.arange(8.0).reshape(2, 4)
    valid = jnp.asarray([[True, False, False, False], [True, True, True, False]])

    def local(v, m):
        return jax.lax.psum(device_share({"mean": mean_term(v, m)}, "d"), "d")

    got = jax.vmap(local, axis_name="d")(values, valid)
    np.testing.assert_allclose(got, np.asarray(values)[np.asarray(valid)].mean())


def test_mean_of_nothing_is_zero():
    assert float(valid_mean(jnp.asarray([jnp.nan]), jnp.asarray([False]))) == 0.0
