"""TIN as a System: invariances, labels, scores, and that it learns."""

import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax.ops.scoring import lis_weight
from hoi_jax.schema import check_batch, check_predictions
from hoi_jax.settings import SettingsError, from_config
from hoi_jax.systems.registry import build_system, system_names
from hoi_jax.systems.tin.config import TinConfig
from hoi_jax.systems.tin.model import TinNet
from hoi_jax.systems.tin.predict import propose_pairs
from hoi_jax.systems.tin.sampling import sample_pairs
from hoi_jax.systems.tin.targets import action_targets, hoi_targets

sys.path.insert(0, str(Path(__file__).parent))
from tin_examples import ACTION_STYLE, HOI_STYLE, random_batch, small_config  # noqa: E402

STYLES = {"hoi": HOI_STYLE, "action": ACTION_STYLE}


@functools.cache
def ready(style: str):
    """System, variables and batch of one style; predict and loss compiled."""
    vocabulary = STYLES[style]
    system = build_system("tin", small_config(), vocabulary)
    batch = random_batch(vocabulary)
    variables = jax.jit(system.init)(jax.random.key(0), batch)
    # Scores far from one half, so that a change anywhere shows.
    noise = lambda path, x: x + 0.2 * jax.random.normal(jax.random.key(len(str(path))), x.shape)  # noqa: E731
    variables = jax.tree_util.tree_map_with_path(noise, variables)
    return system, variables, batch, jax.jit(system.predict)


def pair_table(predictions, image: int) -> dict:
    """{(human box, object box): (scores, s_P, kept)} of the valid pairs of one image."""
    p = {name: np.asarray(value[image]) for name, value in predictions.items()}
    return {
        (tuple(p["human_xyxy_px"][q]), tuple(p["object_xyxy_px"][q])): np.append(
            p["verb_scores"][q], [p["interactiveness"][q], p["kept"][q]]
        )
        for q in np.flatnonzero(p["pair_valid"])
    }


def assert_same_pairs(a, b, atol=1e-5):
    for image in range(len(a["pair_valid"])):
        first, second = pair_table(a, image), pair_table(b, image)
        assert first.keys() == second.keys() and len(first) > 3
        for pair, scores in first.items():
            np.testing.assert_allclose(scores, second[pair], atol=atol)


@pytest.mark.parametrize("style", STYLES)
def test_needs_name_exactly_the_fields_that_are_read(style):
    system, variables, batch, _ = ready(style)
    check_batch(batch, system.needs_train | system.needs_predict)
    always = {"example_id", "batch_valid"}
    few = {name: batch[name] for name in system.needs_train | always}
    jax.eval_shape(system.loss, variables, few, jax.random.key(0))
    jax.eval_shape(system.predict, variables, {name: batch[name] for name in system.needs_predict})
    for name in system.needs_train:
        without = {k: v for k, v in few.items() if k != name}
        with pytest.raises(KeyError):
            jax.eval_shape(system.loss, variables, without, jax.random.key(0))


@pytest.mark.parametrize("style", STYLES)
def test_predictions_satisfy_the_schema_and_jit_changes_nothing(style):
    system, variables, batch, predict = ready(style)
    out = predict(variables, batch)
    check_predictions({name: np.asarray(value) for name, value in out.items()}, 2)
    with jax.disable_jit():
        plain = system.predict(variables, {name: jnp.asarray(value) for name, value in batch.items()})
    for name, value in out.items():
        np.testing.assert_allclose(value, plain[name], atol=1e-5)
    assert ("agent_scores" in out) == (style == "action")


@pytest.mark.parametrize("style", STYLES)
def test_padding_detections_and_pictures_changes_no_score(style):
    _, variables, batch, predict = ready(style)
    wide = dict(batch)
    for name in batch:
        if name.startswith("detections_"):
            pad = [(0, 0), (0, 3)] + [(0, 0)] * (batch[name].ndim - 2)
            wide[name] = np.pad(batch[name], pad)
    wide["image"] = np.pad(batch["image"], [(0, 0), (0, 21), (0, 40), (0, 0)])
    assert_same_pairs(predict(variables, batch), predict(variables, wide))


@pytest.mark.parametrize("style", STYLES)
def test_the_order_of_detections_changes_no_score(style):
    _, variables, batch, predict = ready(style)
    order = np.random.default_rng(0).permutation(batch["detections_score"].shape[1])
    mixed = {name: v[:, order] if name.startswith("detections_") else v for name, v in batch.items()}
    assert_same_pairs(predict(variables, batch), predict(variables, mixed))


def test_features_shared_between_pairs_equal_one_pair_at_a_time():
    config = from_config(TinConfig, small_config())
    net, batch = TinNet(config, 5), random_batch(HOI_STYLE, batch=1)
    human, obj = jnp.asarray(batch["detections_xyxy_px"][:, :2]), jnp.asarray(batch["detections_xyxy_px"][:, 2:])
    keypoints = jnp.asarray(batch["detections_keypoints_px"][:, :2])
    index = jnp.asarray([[0, 0, 1, 1, 1]]), jnp.asarray([[0, 3, 1, 2, 0]])
    picture = jnp.asarray(batch["image"]), jnp.asarray(batch["image_hw_px"])
    apply = jax.jit(net.apply)
    variables = jax.jit(net.init)(jax.random.key(0), *picture, human, obj, keypoints, *index)
    shared = apply(variables, *picture, human, obj, keypoints, *index)
    zero = jnp.zeros((1, 1), jnp.int32)
    for pair, (h, o) in enumerate(zip(*(np.asarray(i[0]) for i in index), strict=True)):
        one = apply(variables, *picture, human[:, h : h + 1], obj[:, o : o + 1], keypoints[:, h : h + 1], zero, zero)
        for name, row in (("human", h), ("object", o), ("spatial", pair), ("interactiveness", pair)):
            np.testing.assert_allclose(shared[name][0, row], one[name][0, 0], atol=1e-5)


@pytest.mark.parametrize("style", STYLES)
def test_draws_and_loss_of_an_image_do_not_depend_on_its_batch(style):
    """Terms are means over all valid entries, so the check is made image by image with the others masked."""
    system, variables, batch, _ = ready(style)
    loss = jax.jit(functools.partial(system.loss, train=True))
    key = jax.random.key(3)
    swapped = {name: value[::-1] for name, value in batch.items()}
    for image in range(2):
        only = np.arange(2) == image
        here = loss(variables, {**batch, "batch_valid": only}, key)[1].terms
        there = loss(variables, {**swapped, "batch_valid": only[::-1]}, key)[1].terms
        alone = {name: value[image : image + 1] for name, value in batch.items()}
        single = system.loss(variables, alone, key)[1].terms
        for name in here:
            np.testing.assert_allclose(here[name], there[name], rtol=1e-5)
            np.testing.assert_allclose(here[name], single[name], rtol=1e-4)


def test_an_example_that_fills_up_a_batch_adds_nothing_to_the_gradient():
    system, variables, batch, _ = ready("hoi")
    grad = jax.jit(jax.grad(lambda v, b: system.loss(v, b, jax.random.key(0))[0]))
    batch = {**batch, "batch_valid": np.array([True, False])}
    other = {**batch, "pairs_verbs": batch["pairs_verbs"].copy()}
    other["pairs_verbs"][1] ^= True
    a, b = grad(variables, batch), grad(variables, other)
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y), a, b)


@pytest.mark.parametrize("style", STYLES)
def test_twenty_steps_on_four_pictures_lower_the_loss(style):
    vocabulary = STYLES[style]
    system = build_system("tin", small_config(loss={"weighting": "none"}), vocabulary)
    batch = random_batch(vocabulary, batch=4)
    variables = jax.jit(system.init)(jax.random.key(0), batch)

    def objective(params, key):
        return system.loss({**variables, "params": params}, batch, key)

    @jax.jit
    def step(params, key):
        (loss, _), gradient = jax.value_and_grad(objective, has_aux=True)(params, key)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), loss

    params, losses = variables["params"], []
    for number in range(20):
        params, loss = step(params, jax.random.key(number))
        losses.append(float(loss))
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])


def one_example(vocabulary, seed=0):
    batch = random_batch(vocabulary, batch=1, seed=seed)
    return {name: jnp.asarray(value[0]) for name, value in batch.items()}


def test_hoi_labels_are_the_verbs_of_the_object_and_negatives_say_no_interaction():
    config, example = from_config(TinConfig, small_config()), one_example(HOI_STYLE)
    sample = sample_pairs(jax.random.key(0), example, 0, config)
    got = hoi_targets(sample, example, HOI_STYLE, config)
    positive, negative = np.asarray(sample.positive), np.asarray(sample.negative)
    assert positive.any() and negative.any() and not (positive & negative).any()
    for row in np.flatnonzero(positive | negative):
        object_class = int(sample.object_class[row])
        verbs = np.asarray(example["pairs_verbs"][sample.truth[row]])
        if negative[row]:
            verbs = np.arange(4) == 0
        else:
            assert object_class == example["instances_class"][example["pairs_object"][sample.truth[row]]]
            assert bool(got.interactive[row]) == verbs[1:].any()
        expected = {h for h, (v, o) in enumerate(HOI_STYLE.hois) if o == object_class and verbs[v]}
        assert set(np.flatnonzero(got.pair[row])) == expected
        assert bool(got.interactive_known[row])


def test_unknown_labels_do_not_count():
    config, example = from_config(TinConfig, small_config()), one_example(HOI_STYLE)
    example["pairs_verbs_known"] = jnp.zeros_like(example["pairs_verbs_known"])
    example["pairs_verbs"] = jnp.zeros_like(example["pairs_verbs"])
    sample = sample_pairs(jax.random.key(0), example, 0, config)
    got = hoi_targets(sample, example, HOI_STYLE, config)
    row = int(np.flatnonzero(sample.positive)[0])
    same = np.asarray([o == int(sample.object_class[row]) for _, o in HOI_STYLE.hois])
    np.testing.assert_array_equal(got.pair_known[row], ~same)
    assert not bool(got.interactive_known[row])


def test_the_human_stream_learns_all_actions_of_the_person_and_pairs_only_verbs_with_object():
    config, example = from_config(TinConfig, small_config()), one_example(ACTION_STYLE)
    example["pairs_human"] = jnp.zeros(4, jnp.int32)
    example["pairs_object"] = jnp.asarray([2, -1, 3, 4])
    example["pairs_verbs"] = jnp.asarray([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]], bool)
    example["pairs_valid"] = jnp.asarray([True, True, True, False])
    example["persons_actions"] = jnp.asarray([[1, 1, 1], [0, 0, 0]])
    example["persons_roles"] = jnp.asarray([[[2, -1], [-1, -1], [-1, 3]]] * 2)
    sample = sample_pairs(jax.random.key(0), example, 0, config)
    got = action_targets(sample, example, ACTION_STYLE, config)
    for row in np.flatnonzero(sample.positive):
        np.testing.assert_array_equal(got.human[row], [True, True, False, True])
        assert np.asarray(got.human_known[row]).all()
        alone = int(sample.truth[row]) == 1
        np.testing.assert_array_equal(got.pair_known[row], [not alone, False, not alone, not alone])
        assert bool(got.interactive_known[row]) == (not alone)
    negatives = np.flatnonzero(sample.negative)
    assert not np.asarray(got.pair)[negatives].any() and len(negatives)


def test_negatives_never_show_an_annotated_pair():
    config, example = from_config(TinConfig, small_config(sampling={"negatives": 30})), one_example(HOI_STYLE)
    for name in ("xyxy_px", "class", "keypoints_px"):  # detections are the annotated boxes themselves
        example[f"detections_{name}"] = example[f"detections_{name}"].at[:5].set(example[f"instances_{name}"])
    sample = sample_pairs(jax.random.key(0), example, 0, config)

    def boxes(human, obj):
        return {tuple(np.concatenate([h, o])) for h, o in zip(np.asarray(human), np.asarray(obj), strict=True)}

    valid = np.flatnonzero(example["pairs_valid"])
    instance = np.asarray(example["instances_xyxy_px"])
    truth = boxes(instance[example["pairs_human"][valid]], instance[example["pairs_object"][valid]])
    rows = np.flatnonzero(sample.negative)
    drawn = boxes(sample.human_xyxy_px[sample.human_index[rows]], sample.object_xyxy_px[sample.object_index[rows]])
    assert len(drawn) == len(rows) >= 4  # without replacement
    assert not truth & drawn


def test_pairs_are_every_confident_person_with_every_other_confident_detection():
    config, example = from_config(TinConfig, small_config()), one_example(HOI_STYLE)
    score = jnp.asarray([0.9, 0.5, 0.95, 0.3, 0.45, 0.8])
    pairs = propose_pairs({**example, "detections_score": score}, 0, config)
    classes = np.asarray(example["detections_class"])
    humans = [i for i in range(6) if classes[i] == 0 and score[i] > 0.6]
    objects = [i for i in range(6) if score[i] > 0.4]
    expected = sorted(-score[h] * score[o] for h in humans for o in objects if h != o)
    valid = np.asarray(pairs["pair_valid"])
    got = pairs["human_score"][pairs["human_index"]] * pairs["object_score"][pairs["object_index"]]
    np.testing.assert_allclose(np.asarray(got)[valid], -np.asarray(expected), rtol=1e-6)


def test_scores_are_the_sum_of_streams_times_s_p_and_nis_only_marks():
    """S = (p_H + p_O + p_SP) * f_P * L(s_h) * L(s_o); the same scores with suppression on and off."""
    _, variables, batch, predict = ready("hoi")
    out = {name: np.asarray(value) for name, value in predict(variables, batch).items()}
    plain_config = small_config(nis={"enabled": False}, score={"lis": "none"})
    plain = build_system("tin", plain_config, HOI_STYLE).predict
    off = {name: np.asarray(value) for name, value in jax.jit(plain)(variables, batch).items()}
    weight = np.asarray(lis_weight(jnp.asarray(out["human_score"])) * lis_weight(jnp.asarray(out["object_score"])))
    valid = out["pair_valid"]
    np.testing.assert_allclose(out["interactiveness"][valid], (off["interactiveness"] * weight)[valid], rtol=1e-5)
    np.testing.assert_allclose(out["verb_scores"][valid], (off["verb_scores"] * weight[..., None])[valid], rtol=1e-5)
    np.testing.assert_array_equal(out["kept"], valid & (out["interactiveness"] >= 0.1))
    np.testing.assert_array_equal(off["kept"], off["pair_valid"])
    assert 0 < out["kept"].sum() < valid.sum()
    assert (off["verb_scores"][valid] <= 3).all() and off["verb_scores"].max() > 0.3


@pytest.mark.parametrize(
    ("c_streams", "p_streams", "sees_picture"),
    [
        (("spatial",), ("spatial", "pose"), False),
        (("human", "object"), ("human", "object"), True),
        (("human", "object", "spatial"), (), True),
    ],
)
def test_a_probe_without_a_stream_has_no_parameters_for_it(c_streams, p_streams, sees_picture):
    config = small_config(classifier={"streams": c_streams}, interactiveness={"streams": p_streams})
    system, batch = build_system("tin", config, HOI_STYLE), random_batch(HOI_STYLE)
    variables = jax.jit(system.init)(jax.random.key(0), batch)
    assert ("appearance" in variables["params"]) == sees_picture
    assert ("interactiveness" in variables["params"]) == bool(p_streams)
    loss, aux = jax.jit(system.loss)(variables, batch, jax.random.key(0))
    assert set(aux.terms) == set(c_streams) | ({"interactiveness"} if p_streams else set())
    np.testing.assert_allclose(loss, sum(aux.terms.values()), rtol=1e-6)
    predict = jax.jit(system.predict)
    black = {**batch, "image": np.zeros_like(batch["image"])}
    same = np.allclose(predict(variables, batch)["verb_scores"], predict(variables, black)["verb_scores"])
    assert same != sees_picture


def test_the_paper_network_has_the_papers_sizes():
    net = TinNet(TinConfig(), 600)
    box, row = jnp.zeros((1, 2, 4)), jnp.zeros((1, 3), jnp.int32)
    image, hw = jnp.zeros((1, 64, 64, 3), jnp.uint8), jnp.full((1, 2), 64)
    init = functools.partial(net.init, jax.random.key(0))
    params = jax.eval_shape(init, image, hw, box, box, jnp.zeros((1, 2, 17, 3)), row, row)["params"]
    c, p = params["classifier"], params["interactiveness"]
    assert [c["human"][f"fc{i}"]["kernel"].shape for i in range(4)] == [(2048, 1024)] + [(1024, 1024)] * 3
    assert c["spatial"]["fc0"]["kernel"].shape == (5408, 1024) and "fc2" not in c["spatial"]
    assert c["object_scores"]["kernel"].shape == (1024, 600)
    assert p["maps"]["conv0"]["kernel"].shape == (5, 5, 3, 64)
    assert p["pair"]["fc0"]["kernel"].shape == (3072, 1024) and p["score"]["kernel"].shape == (1024, 1)


def test_an_unknown_system_names_the_nearest():
    assert "tin" in system_names()
    with pytest.raises(ValueError, match="did you mean 'tin'"):
        build_system("tinn", {}, HOI_STYLE)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"nis": {"treshold": 0.2}}, "model.nis.threshold"),
        ({"score": {"lis": "papr"}}, "did you mean 'paper'"),
        ({"classifier": {"streams": ("pose",)}}, "streams is 'pose'"),
        ({"max_pairs": 0}, "max_pairs is 0"),
        ({"maps": {"size": 8}}, "too small"),
    ],
)
def test_a_bad_setting_is_refused_with_its_name(config, message):
    with pytest.raises(SettingsError, match=message):
        build_system("tin", config, HOI_STYLE)
