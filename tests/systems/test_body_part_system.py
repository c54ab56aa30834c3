"""The body-part system: invariances, labels, ablations, QPIC and CDN as settings, and that it learns."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hoi_jax.experiment import load_experiment
from hoi_jax.nn.positional import sine_positions
from hoi_jax.schema import check_batch, check_predictions
from hoi_jax.settings import SettingsError, from_config
from hoi_jax.systems.body_part.config import BodyPartConfig, LossConfig, PartsConfig, TransformerConfig
from hoi_jax.systems.body_part.interactiveness import InteractivenessDecoder, Memory
from hoi_jax.systems.body_part.loss import loss_terms, term_weights
from hoi_jax.systems.body_part.targets import pair_targets
from hoi_jax.systems.registry import build_system
from hoi_jax.training.optimizer import match_rules
from tests.helpers.batches import ACTION_STYLE, HOI_STYLE, random_batch
from tests.helpers.losses import device_share, value_and_output
from tests.helpers.systems.body_part import only, small_config
from tests.helpers.variables import random_variables

STYLES = {"hoi": HOI_STYLE, "action": ACTION_STYLE}


@functools.cache
def ready(style: str, query: str = "embedding"):
    """System, variables, batch and compiled predict of one style and one kind of queries."""
    system = build_system("body_part", small_config(query=query), STYLES[style])
    batch = random_batch(STYLES[style], batch=4)
    return system, random_variables(system.init, batch), batch, jax.jit(system.predict)


@functools.cache
def loss_and_gradient():
    """Compiled (params, batch, key) -> ((loss, aux), gradient)."""
    system = ready("hoi")[0]
    return jax.jit(jax.value_and_grad(lambda p, b, k: value_and_output(system.loss({"params": p}, b, k)), has_aux=True))


def assert_close(a, b):
    """Scores to 1e-5; boxes to 1e-4 of a pixel."""
    for name in a:
        atol = 1e-4 if name.endswith("_px") else 1e-5
        np.testing.assert_allclose(np.asarray(a[name]), np.asarray(b[name]), atol=atol, rtol=0, err_msg=name)


@pytest.mark.parametrize("style", list(STYLES))
def test_predictions_follow_the_schema_and_excluded_verbs_score_zero(style):
    system, variables, batch, predict = ready(style)
    check_batch(only(batch, set(batch)), system.needs_train)
    found = {k: np.asarray(v) for k, v in predict(variables, only(batch, system.needs_predict)).items()}
    check_predictions(found, 4)
    vocabulary = STYLES[style]
    if style == "hoi":
        allowed = vocabulary.verb_object_mask.T[found["object_class"]]
        assert (found["verb_scores"][~allowed] == 0).all() and (found["verb_scores"] > 0).any()
        assert not np.isnan(found["object_xyxy_px"]).any()
    else:
        absent = found["object_class"] == -1
        np.testing.assert_array_equal(np.isnan(found["object_xyxy_px"]).all(-1), absent)
        assert found["agent_scores"].shape == found["verb_scores"].shape


@pytest.mark.parametrize("query", ["point"])  # "embedding": test_contract.py
def test_padding_the_image_and_the_tables_changes_no_score_and_no_loss(query):
    system, variables, batch, predict = ready("hoi", query)
    grown = dict(batch)
    grown["image"] = np.pad(batch["image"], ((0, 0), (0, 16), (0, 32), (0, 0)))
    for name in batch:
        if name.startswith(("detections_", "instances_", "pairs_")):
            table = batch[name]
            grown[name] = np.pad(table, ((0, 0), (0, 3), *((0, 0),) * (table.ndim - 2)))
    assert_close(*(predict(variables, only(x, system.needs_predict)) for x in (batch, grown)))
    loss = jax.jit(lambda b: system.loss(variables, b, jax.random.key(0), train=False).value)
    np.testing.assert_allclose(loss(batch), loss(grown), rtol=1e-5)


def test_the_release_setting_leaks_padding_as_the_authors_code_does():
    system = build_system("body_part", small_config(backbone={"mask_padding": False}), HOI_STYLE)
    _, variables, batch, _ = ready("hoi")
    grown = {**batch, "image": np.pad(batch["image"], ((0, 0), (0, 16), (0, 32), (0, 0)))}
    predict = jax.jit(system.predict)
    a, b = (predict(variables, only(x, system.needs_predict))["interactiveness"] for x in (batch, grown))
    assert np.abs(np.asarray(a) - np.asarray(b)).max() > 1e-5


def uneven(batch):
    """Half of the batch has most of the pairs: uneven counts are what a per-device mean gets wrong."""
    batch = {**batch, "pairs_valid": batch["pairs_valid"].copy(), "batch_valid": np.array([True, True, True, False])}
    batch["pairs_valid"][1] = False
    return batch


def assert_same_gradients(ours, wanted):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * max(1.0, float(np.abs(b).max())))


def test_terms_of_body_parts_are_the_same_on_one_device_and_on_two():
    config = from_config(BodyPartConfig, small_config(loss={"parts": 0.1}))
    batch = uneven(random_batch(HOI_STYLE, batch=4))
    rng = np.random.default_rng(0)
    batch["pairs_part_states"] = rng.integers(-1, 2, (*batch["pairs_valid"].shape, 6)).astype(np.int32)
    targets = pair_targets({k: jnp.asarray(v) for k, v in batch.items()}, HOI_STYLE, config.loss)
    shapes = {"object_logits": (4,), "verb_logits": (4,), "interactiveness_logits": (2,), "human_cxcywh": (4,)}
    shapes["object_cxcywh"] = (4,)
    outputs = {k: rng.uniform(0.2, 0.8, (1, 4, 7, *shape)).astype(np.float32) for k, shape in shapes.items()}
    outputs["part_logits"] = rng.normal(size=(4, 7, 6, 2)).astype(np.float32)
    weights = term_weights(config.loss)

    def value_and_gradient(outputs, targets, used, axis_name=None):
        def total(outputs):
            terms = loss_terms(outputs, targets, used, config)
            return device_share({k: term.scaled(weights[k]) for k, term in terms.items()}, axis_name), terms

        return jax.value_and_grad(total, has_aux=True)(outputs)

    (one, terms), gradient = jax.jit(value_and_gradient)(outputs, targets, batch["batch_valid"])
    assert {"consistency", "parts"} <= set(terms)
    axes = {name: int(name != "part_logits") for name in outputs}

    def halved(x, axis=0):
        return jnp.moveaxis(jnp.reshape(x, (*x.shape[:axis], 2, 2, *x.shape[axis + 1 :])), axis, 0)

    split = {name: halved(value, axes[name]) for name, value in outputs.items()}
    run = jax.vmap(functools.partial(value_and_gradient, axis_name="d"), axis_name="d")
    (many, _), gradients = jax.jit(run)(split, jax.tree.map(halved, targets), halved(batch["batch_valid"]))
    np.testing.assert_allclose(many.sum(), one, rtol=1e-5)
    assert_same_gradients(gradients, {k: halved(v, axes[k]) for k, v in gradient.items()})


def test_a_batch_without_any_pair_has_a_finite_loss_and_gradient():
    _, variables, batch, _ = ready("hoi")
    empty = {**batch, "pairs_valid": np.zeros_like(batch["pairs_valid"])}
    (loss, output), gradient = loss_and_gradient()(variables["params"], empty, jax.random.key(0))
    assert np.isfinite(loss) and all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))
    assert all(float(output.values[name]) == 0 for name in ("human_box", "object_giou"))


def test_terms_sum_to_the_loss_and_forty_steps_on_one_batch_lower_it():
    _, variables, batch, _ = ready("hoi")
    tx = optax.adam(3e-3)
    params, state = variables["params"], tx.init(variables["params"])
    losses = []
    for step in range(40):
        (loss, output), gradient = loss_and_gradient()(params, batch, jax.random.key(step))
        np.testing.assert_allclose(sum(output.values.values()), loss, rtol=1e-5)
        updates, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        losses.append(float(loss))
    assert losses[-1] < 0.7 * losses[0]


ABLATIONS = {
    "without_parts": {"scheme": "instance"},
    "without_saliency": {"scheme": "six_pass", "masks": "none"},
    "intuitive": {"scheme": "six_pass", "masks": "parts"},
    "without_progressive": {"masks": "parts"},
    "without_one_pass": {"scheme": "six_pass"},
    "release": {
        "part_filter": "per_query", "merge_parts": "all", "part_query": "affine", "other_humans": "xor",
        "layer3_mask": "same", "cell_rule": "floor", "pose_failure": "skip",
    },
}  # fmt: skip


@pytest.mark.parametrize("style", list(STYLES))
@pytest.mark.parametrize("name", [*ABLATIONS, "qpic", "cdn", "parts_labels"])
def test_every_setting_of_table_5_and_the_ancestors_have_a_loss_and_predictions(name, style):
    changes: dict = {"parts": ABLATIONS.get(name, {})}
    if name == "qpic":
        changes = {"verbs": {"source": "box_decoder"}, "interactiveness": "none", "matching": {"aux": "own"}}
    if name == "cdn":
        changes = {"interactiveness": "box_decoder", "matching": {"aux": "own", "interactiveness_score": "softmax"}}
    if name == "parts_labels":
        changes = {"loss": {"parts": 0.1}}
    system = build_system("body_part", small_config(**changes), STYLES[style])
    batch = random_batch(STYLES[style], batch=2)
    batch["pairs_part_states"] = np.ones((*batch["pairs_valid"].shape, 6), np.int32)
    variables = jax.eval_shape(system.init, jax.random.key(0), batch)
    loss = functools.partial(system.loss, key=jax.random.key(0))
    fields = system.needs_train | {"batch_valid", "example_id"}
    value, out = jax.eval_shape(lambda v, b: value_and_output(loss(v, b)), variables, only(batch, fields))
    assert value.shape == () and ("parts" in out.terms) == (name == "parts_labels")
    found = jax.eval_shape(system.predict, variables, only(batch, system.needs_predict))
    assert found["verb_scores"].shape == (2, 7, len(STYLES[style].verbs))
    assert ("interactiveness" in found) == (name != "qpic")


def test_six_passes_at_once_equal_six_passes_one_by_one():
    """The intuitive scheme runs all passes as one batch; each must be what the same layers give alone."""
    sizes = TransformerConfig(hidden=16, heads=2, feedforward=24)
    rng = np.random.default_rng(0)
    batch, queries, tokens = 2, 5, 12
    d, x = (jnp.asarray(rng.normal(size=(batch, n, 16)), jnp.float32) for n in (queries, tokens))
    valid = jnp.arange(tokens)[None] < jnp.array([[12], [9]])
    memory = Memory(x, x + 0.1, valid, (3, 4))
    cells = [jnp.asarray(rng.random((batch, n, tokens)) < 0.4) for n in (queries, queries, 6)]
    six = InteractivenessDecoder(PartsConfig(scheme="six_pass", masks="parts"), sizes)
    variables = random_variables(six.init, d, memory, *cells)
    got = six.apply(variables, d, memory, *cells)
    # One pass without parts has the same layers: feed it one part's query and let it see that part's cells only.
    alone = InteractivenessDecoder(PartsConfig(scheme="instance"), sizes)
    weights = dict(variables["params"])
    score = weights["score"]["fc0"]
    shared = {name: weights[name] for name in ("layer0", "layer1", "layer2", "norm")}
    shared["score"] = {"fc0": {"kernel": score["kernel"][:16], "bias": score["bias"]}}
    hidden = np.einsum("bqd,kde->bqke", d, weights["query_hidden"]) + weights["query_hidden_bias"]
    query = np.einsum("bqkd,kde->bqke", np.maximum(hidden, 0), weights["query_out"]) + weights["query_out_bias"]
    whole = alone.apply({"params": shared}, d, memory, *cells)["states"][-1]
    for part in range(6):
        allowed = valid & cells[2][:, part]
        allowed = jnp.where(allowed.any(-1, keepdims=True), allowed, valid)
        seen = Memory(x, x + 0.1, allowed, (3, 4))
        state = alone.apply({"params": shared}, jnp.asarray(query[:, :, part], jnp.float32), seen, *cells)["states"][-1]
        logits = np.concatenate([state, whole], axis=-1) @ score["kernel"] + score["bias"]
        np.testing.assert_allclose(got["part_logits"][:, :, part], logits, atol=2e-5)
    probability = jax.nn.softmax(got["part_logits"], axis=-1)[..., 1].max(-1)
    np.testing.assert_allclose(jax.nn.softmax(got["interactiveness_logits"], axis=-1)[..., 1], probability, rtol=1e-6)


def test_targets_are_relative_to_the_unpadded_image_and_no_interaction_can_be_negative():
    batch = random_batch(HOI_STYLE, batch=1, pairs=3)
    batch["instances_xyxy_px"][0, 0] = [12, 6, 36, 30]
    batch["image_hw_px"][:] = 24, 48
    batch["pairs_human"][:], batch["pairs_object"][:] = 0, [[2, 2, -1]]
    batch["pairs_valid"][:] = True
    batch["pairs_verbs"][:] = [[[True, False, False, False], [True, True, False, False], [False, True, False, False]]]
    batch = {name: jnp.asarray(value) for name, value in batch.items()}
    targets = pair_targets(batch, HOI_STYLE, LossConfig(no_interaction_negative=True))
    np.testing.assert_allclose(targets.human_cxcywh[0, 0], [0.5, 0.75, 0.5, 1.0])
    np.testing.assert_array_equal(targets.valid[0], [True, True, False])
    np.testing.assert_array_equal(targets.interactive[0], [False, True, False])
    np.testing.assert_array_equal(pair_targets(batch, HOI_STYLE, LossConfig()).interactive[0], [True, True, False])
    action = random_batch(ACTION_STYLE, batch=1, pairs=1)
    action["pairs_object"][:] = -1
    absent = pair_targets({k: jnp.asarray(v) for k, v in action.items()}, ACTION_STYLE, LossConfig())
    assert absent.valid.all() and int(absent.object_class[0, 0]) == len(ACTION_STYLE.objects)
    assert not absent.has_object.any() and not np.asarray(absent.object_cxcywh).any()


def test_position_codes_of_valid_cells_do_not_depend_on_padding():
    valid = np.ones((1, 3, 4), bool)
    alone = sine_positions(valid, 8)
    grown = sine_positions(np.pad(valid, ((0, 0), (0, 2), (0, 1))), 8)
    np.testing.assert_allclose(grown[:, :3, :4], alone, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"parts": {"schem": "one_pass"}}, "parts.scheme"), ({"parts": {"masks": "all"}}, "masks"),
        ({"verbs": {"source": "own"}}, "source"), ({"queries": 0}, "queries"),
        ({"interactiveness": "none", "predict": {"times_interactiveness": True}}, "interactiveness head"),
        ({"predict": {"product_nms": {"threshold": 0.7}}}, "set one of them"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused_by_name(values, message):
    with pytest.raises(SettingsError, match=message):
        from_config(BodyPartConfig, values, "model")


@pytest.mark.parametrize(
    "name",
    [
        "hico_det", "hico_det:ablation=without_parts", "hico_det:ablation=without_saliency",
        "hico_det:ablation=intuitive", "hico_det:ablation=without_progressive", "hico_det:ablation=without_one_pass",
        "hico_det:supervision=parts", "hico_det_release", "hico_det_stage2", "hico_det_qpic", "hico_det_cdn:B",
        "hico_det_cdn_stage2", "vcoco", "vcoco_stage2", "vcoco_qpic", "vcoco_cdn:B", "vcoco_cdn_stage2", "hoi_scenes",
        "hoi_scenes:ablation=intuitive,detector=runs/x", "hoi_scenes_stage2",
    ],
)  # fmt: skip
def test_every_config_is_valid_and_its_rules_name_every_parameter(name):
    module, _, argument = name.partition(":")
    config = importlib.import_module(f"configs.body_part_{module}").get_config(*filter(None, [argument]))
    experiment = load_experiment(config.to_dict())
    shapes = jax.eval_shape(experiment.build_system().init, jax.random.key(0), {})
    labels = match_rules(experiment.optimizer.rules, shapes["params"])
    assert set(jax.tree.leaves(labels)) == set(range(len(experiment.optimizer.rules)))


def test_released_weights_fit_the_release_config_and_the_papers_but_for_the_part_queries():
    trees = []
    for name in ("hico_det", "hico_det_release"):
        config = importlib.import_module(f"configs.body_part_{name}").get_config()
        variables = jax.eval_shape(load_experiment(config.to_dict()).build_system().init, jax.random.key(0), {})
        leaves = jax.tree_util.tree_leaves_with_path(variables)
        trees.append({(jax.tree_util.keystr(path), leaf.shape) for path, leaf in leaves})
    assert all("'query_" in name for name, _ in trees[0] ^ trees[1])


def required(name: str, options: str = "") -> dict[str, str]:
    """{column: when} of what a config's system requires."""
    module = importlib.import_module(f"configs.{name}")
    config = module.get_config(options) if options else module.get_config()
    return {r.column: r.when for r in load_experiment(config.to_dict()).build_system().requires}


def test_only_networks_that_look_at_body_parts_require_people_and_poses():
    both = {"detections": "both", "detections_keypoints_px": "both"}
    for name in ("body_part_hico_det", "body_part_hico_det_release", "body_part_vcoco"):
        assert required(name) == both
    assert required("body_part_hico_det", "supervision=parts") == {**both, "pairs_part_states": "train"}
    assert required("body_part_hico_det", "ablation=without_parts") == {}
    assert required("body_part_hico_det", "ablation=without_saliency") == {}
    for name in ("hico_det_stage2", "hico_det_qpic", "hico_det_cdn", "hico_det_cdn_stage2"):
        assert required(f"body_part_{name}") == {}
    for name in ("vcoco_stage2", "vcoco_qpic", "vcoco_cdn", "vcoco_cdn_stage2"):
        assert required(f"body_part_{name}") == {}


RECIPES = {  # queries, verb cost, epochs, epoch of the drop (0: none), all from the papers or the authors' READMEs
    "hico_det": (64, 0.0, 90, 60), "hico_det_release": (64, 0.0, 100, 60), "hico_det_stage2": (64, 1.0, 60, 40),
    "hico_det_qpic": (100, 1.0, 150, 100), "hico_det_cdn": (64, 1.0, 90, 60), "hico_det_cdn_stage2": (64, 1.0, 10, 0),
    "vcoco": (100, 0.0, 120, 60), "vcoco_stage2": (100, 1.0, 60, 40), "vcoco_qpic": (100, 1.0, 150, 100),
    "vcoco_cdn": (100, 1.0, 90, 60), "vcoco_cdn_stage2": (100, 1.0, 10, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", list(RECIPES))
def test_recipes_have_the_published_lengths_rates_and_costs_for_16_images_an_update(name):
    config = importlib.import_module(f"configs.body_part_{name}").get_config()
    experiment = load_experiment(config.to_dict())
    model = from_config(BodyPartConfig, config.model.to_dict())
    queries, verb, epochs, drop = RECIPES[name]
    images = 37633 if "hico" in name else 5400
    assert (model.queries, model.matching.verb) == (queries, verb)
    assert abs(experiment.train.num_steps * 16 - epochs * images) < 16 * 2
    optimizer = experiment.optimizer
    assert (experiment.batch_size, optimizer.base_batch_size, optimizer.clip_norm) == (16, 16, 0.1)
    assert optimizer.weight_decay == 1e-4
    if drop:
        assert optimizer.learning_rate == 1e-4 and optimizer.schedule.kind == "step"
        assert abs(optimizer.schedule.step_at[0] * 16 - drop * images) < 16 * 2
        assert [r.learning_rate for r in optimizer.rules if r.pattern == "backbone/.*"] == [1e-5]
    else:
        assert (optimizer.learning_rate, optimizer.schedule.kind) == (1e-5, "constant")
    assert (model.predict.product_nms.threshold is not None) == ("cdn" in name)
