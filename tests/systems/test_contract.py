"""What every registered system owes to the rest of the library, whatever its method.

A system that is registered is tested here without another line, except for its small configuration
(`tests/helpers/systems`). Every program is compiled once per system and shape of the batch, and shared by all tests.
Tolerances are those of float32 sums in another order.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax.schema import ALWAYS_PRESENT, check_batch, check_predictions
from hoi_jax.settings import SettingsError
from hoi_jax.systems.registry import system_names
from hoi_jax.training import Metadata, OptimizerSettings, Parallel, load_for_evaluation, make_optimizer
from hoi_jax.training.exported import write_exported
from hoi_jax.training.step import make_gradients, make_state, step_key
from tests.helpers.batches import emptied, padded, reordered, uneven_batch
from tests.helpers.memory import give_memory_back
from tests.helpers.same_predictions import assert_same_predictions
from tests.helpers.systems import KEY, Case, Small, first_cases, further_cases, missing_message, small_module
from tests.helpers.variables import random_variables

close = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-6)
REVERSED = np.array([3, 2, 1, 0])


def assert_close_trees(found, wanted, tolerance=2e-5):
    """Leaf by leaf, as a share of the largest value of the leaf (at least 1)."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance * max(1.0, float(np.max(np.abs(b), initial=0.0))))


@pytest.mark.parametrize("name", system_names())
def test_every_registered_system_has_a_small_configuration(name):
    assert small_module(name) is not None, missing_message(name)


def known(cases):
    """Cases of systems that can be made small; the test above names the others."""
    return [pytest.param(case, id=str(case)) for case in cases if small_module(case.name) is not None]


@pytest.fixture(scope="module", params=known(first_cases()))
def small(request):
    """One small system after another, with the programs that its tests have compiled so far."""
    yield Small(request.param)
    give_memory_back()


@pytest.fixture(scope="module", params=known(further_cases()))
def further(request):
    yield Small(request.param)
    give_memory_back()


def fields_read(program, batch) -> set[str]:
    """Names of the fields of a batch that a program reads: arguments that it does not use are dropped on lowering."""
    text = jax.jit(program).lower(batch).as_text(debug_info=True)
    signature = re.search(r"func\.func public @main\((.*?)\) -> ", text, re.DOTALL)
    assert signature
    return set(re.findall(r"loc\(\"b\['(\w+)'\]\"", signature[1]))


def check_needs(small):
    check_batch(small.batch, small.system.needs_train | small.system.needs_predict)
    unread = small.setting("UNREAD", {}).get(small.case.style, set())

    def loss(b):
        return small.system.loss(small.variables, b, jax.random.key(KEY), train=True, axis_name=None).value

    def predict(b):
        return small.system.predict(small.variables, b)

    assert fields_read(loss, small.batch) - ALWAYS_PRESENT == small.system.needs_train - ALWAYS_PRESENT - unread
    assert fields_read(predict, small.batch) - ALWAYS_PRESENT == small.system.needs_predict - ALWAYS_PRESENT


def check_schema(small):
    found = small.predict(small.batch)
    check_predictions(found, len(small.batch["batch_valid"]))
    if "pair_valid" in found:
        used = found["pair_valid"]
        assert used.any()
        assert all(np.isfinite(values[used]).all() for name, values in found.items() if name == "verb_scores")
        assert ("agent_scores" in found) == (small.case.style == "action" and small.setting("AGENTS", True))
    if "hoi_scores" in found:
        assert np.isfinite(found["hoi_scores"]).all()


def check_padding(small):
    assert assert_same_predictions(small.predict(padded(small.batch)), small.predict(small.batch), atol=5e-5)


def check_order(small):
    """Detections in another order, and images in another order."""
    found = small.predict(small.batch)
    order = np.random.default_rng(0).permutation(small.batch["detections_score"].shape[1])
    assert_same_predictions(small.predict(reordered(small.batch, "D", order)), found)
    turned = small.predict({name: value[REVERSED] for name, value in small.batch.items()})
    assert_same_predictions({name: value[REVERSED] for name, value in turned.items()}, found)


def check_empty_predictions(small):
    """No detection, or nobody among them: no pair. Systems that need none of them predict as before."""
    nobody = {**small.batch, "detections_class": np.ones_like(small.batch["detections_class"])}
    for batch in (emptied(small.batch), nobody):
        found = small.predict(batch)
        check_predictions(found, len(batch["batch_valid"]))
        free = small.setting("PAIRS_WITHOUT_DETECTIONS", False) or "detections_valid" not in small.system.needs_predict
        if "pair_valid" in found and not free:
            assert not found["pair_valid"].any()
        floats = [v[found["pair_valid"]] for n, v in found.items() if n in ("verb_scores", "interactiveness")]
        assert all(np.isfinite(values).all() for values in floats)


def test_needs_are_the_fields_that_are_read(small):
    check_needs(small)


def test_predictions_satisfy_the_schema(small):
    check_schema(small)


def test_padding_changes_no_prediction(small):
    check_padding(small)


def test_the_order_of_detections_and_images_changes_no_prediction(small):
    check_order(small)


def test_without_detections_or_people_there_is_no_pair(small):
    check_empty_predictions(small)


def test_padding_changes_no_loss(small):
    kind, rtol = small.setting("PADDED_LOSS", "train"), small.setting("LOSS_RTOL", 1e-4)
    if kind == "evaluated":
        close(small.evaluated_loss(padded(small.batch)), small.evaluated_loss(small.batch), rtol=rtol)
        return
    loss, terms, state, _ = small.gradient(small.batch)
    wide = small.gradient(padded(small.batch, rows=0 if kind == "image" else 2))
    close([wide[0], *wide[1].values()], [loss, *terms.values()], rtol=rtol)
    assert_close_trees(wide[2], state, 1e-4)


def test_the_order_of_images_changes_neither_loss_nor_gradient(small):
    """Draws follow the example, not its place."""
    loss, terms, state, slope = small.gradient(small.batch)
    turned = small.gradient({name: value[REVERSED] for name, value in small.batch.items()})
    close([turned[0], *turned[1].values()], [loss, *terms.values()])
    assert_close_trees(turned[2:], (state, slope), 1e-4)


def test_gradients_are_finite_and_reach_every_part_of_the_network(small):
    slope = small.gradient(small.batch)[3]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
    still = [name for name, part in slope.items() if not any(np.any(leaf) for leaf in jax.tree.leaves(part))]
    assert not still


def test_an_example_that_fills_up_a_batch_adds_nothing(small):
    """Whatever its labels and boxes are: loss, new statistics and gradient stay the same."""
    filled = {**small.batch, "batch_valid": np.array([True, False, True, True])}
    other = uneven_batch(small.vocabulary, seed=5)
    changed = {name: value.copy() for name, value in filled.items()}
    for name in small.system.needs_train - ALWAYS_PRESENT:
        changed[name][1] = other[name][1]
    one, two = small.gradient(filled), small.gradient(changed)
    assert_close_trees(two, one)


def test_an_image_alone_has_the_same_terms_in_any_place_and_company(small):
    """Terms are means over all valid entries, so the check is made image by image with the others masked."""
    others = uneven_batch(small.vocabulary, seed=9)
    for image in range(2):
        only = np.arange(4) == image
        here = small.gradient({**small.batch, "batch_valid": only})
        moved = {name: np.concatenate([others[name][:3], value[only]]) for name, value in small.batch.items()}
        there = small.gradient({**moved, "batch_valid": np.arange(4) == 3})
        close(list(there[1].values()), list(here[1].values()))


@pytest.mark.parametrize(
    "axes", [("P", "N"), ("D",), ("G", "P", "N", "D", "U", "E")], ids=["pairs", "detections", "all"]
)
def test_empty_tables_have_a_finite_loss_and_gradient(small, axes):
    loss, terms, state, slope = small.gradient(emptied(small.batch, axes))
    assert np.isfinite([loss, *terms.values()]).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, slope)))


def test_devices_and_micro_batches_do_not_change_the_gradient(small):
    """Two devices, each with two micro-batches of one image. `Parallel`'s own tests compare pmap with shard_map."""
    optimizer = make_optimizer(OptimizerSettings(), small.params, 10)
    state = make_state(small.variables, optimizer.tx, KEY, ema=False)
    parallel = Parallel("pmap", 2)
    batch = parallel.shard_batch(small.fields(small.batch, True))

    def gradients_of(accumulate):
        gradients = make_gradients(small.system, optimizer, accumulate)
        step = parallel.compile_step(lambda s, b: (s, gradients(s, b)))
        return parallel.unreplicate(step(parallel.replicate(state), batch)[1])

    accumulates = small.setting("ACCUMULATES", True)
    if not accumulates:
        with pytest.raises(SettingsError, match="accumulat"):
            gradients_of(2)
    many = gradients_of(2 if accumulates else 1)
    loss, terms, rest, slope = small.gradient(small.batch, step_key(state.key, state.step))
    close([many[0], *(many[1][name] for name in terms)], [loss, *terms.values()], rtol=1e-4)
    assert_close_trees(many[3], slope, 1e-4)
    assert_close_trees({name: many[2][name] for name in rest}, rest, 1e-4)


def test_jit_changes_nothing(small):
    """On two images, and without the parts that `PLAIN` takes out: each operation is compiled by itself."""
    groups = small.setting("PLAIN", {})
    system = small.build(**groups)
    variables = random_variables(system.init, small.batch) if groups else small.variables
    batch = {name: jnp.asarray(small.batch[name][:2]) for name in system.needs_predict | ALWAYS_PRESENT}
    one = {name: np.asarray(value) for name, value in system.predict(variables, batch).items()}
    two = {name: np.asarray(value) for name, value in jax.jit(system.predict)(variables, batch).items()}
    assert_same_predictions(two, one, atol=5e-5)


def test_bfloat16_stays_finite_and_near_float32(small):
    groups = small.setting("BFLOAT16", {"compute_dtype": "bfloat16"})
    if groups is None:
        with pytest.raises(SettingsError, match="compute_dtype"):
            small.build(compute_dtype="bfloat16")
        return
    rough = small.build(**groups)
    output = jax.jit(lambda v, b: rough.loss(v, b, jax.random.key(KEY), train=True, axis_name=None))(
        small.variables, small.fields(small.batch, True)
    )
    loss, terms, _, _ = small.gradient(small.batch)
    assert all(term.total.dtype == jnp.float32 for term in output.terms.values())
    np.testing.assert_allclose(float(output.value), loss, rtol=0.1)
    assert set(output.values) == set(terms) and all(np.isfinite(float(value)) for value in output.values.values())
    found = jax.jit(rough.predict)(small.variables, small.fields(small.batch, False))
    found = {name: np.asarray(values) for name, values in found.items()}
    check_predictions(found, len(small.batch["batch_valid"]))
    if "pair_valid" in found:
        assert np.isfinite(found["verb_scores"][found["pair_valid"]]).all()


def test_exported_variables_give_the_same_predictions(small, tmp_path):
    write_exported(tmp_path / "run", small.variables, Metadata(1, 1, "{}", "print", {}))
    loaded, _, _ = load_for_evaluation(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, dict(loaded), dict(small.variables))
    found, wanted = small.predict(small.batch, loaded), small.predict(small.batch)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


def test_other_variants_and_labels_read_what_they_need(further):
    check_needs(further)


def test_other_variants_and_labels_satisfy_the_schema(further):
    check_schema(further)


def test_padding_changes_no_prediction_of_other_variants_and_labels(further):
    check_padding(further)


def test_order_changes_no_prediction_of_other_variants_and_labels(further):
    check_order(further)


def test_other_variants_and_labels_predict_no_pair_without_detections_or_people(further):
    check_empty_predictions(further)


def test_a_system_without_a_small_configuration_is_named_with_what_to_add(monkeypatch):
    with pytest.raises(LookupError, match=r"system 'sixth' is registered .* add tests/helpers/systems/sixth\.py"):
        Small(Case("sixth"))
