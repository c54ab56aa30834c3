"""TIN as a System: invariances, labels, scores, and that it learns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax.ops.scoring import lis_weight
from hoi_jax.settings import SettingsError, from_config
from hoi_jax.systems.registry import build_system, system_names
from hoi_jax.systems.tin.config import TinConfig
from hoi_jax.systems.tin.model import PairInputs, TinNet
from hoi_jax.systems.tin.predict import detected_pairs
from hoi_jax.systems.tin.sampling import sample_pairs
from hoi_jax.systems.tin.scores import fuse
from hoi_jax.systems.tin.targets import action_targets, hoi_targets
from tests.helpers.batches import ACTION_STYLE, HOI_STYLE, random_batch
from tests.helpers.losses import value_and_output
from tests.helpers.systems.tin import small_config
from tests.helpers.variables import random_variables

STYLES = {"hoi": HOI_STYLE, "action": ACTION_STYLE}


@functools.cache
def ready(style: str):
    """System, variables, batch and compiled predict of one style."""
    system = build_system("tin", small_config(loss={"weighting": "none"}), STYLES[style])
    batch = random_batch(STYLES[style], batch=4)
    return system, random_variables(system.init, batch), batch, jax.jit(system.predict)


@functools.cache
def loss_and_gradient(style: str):
    """Compiled (params, rest, batch, key) -> ((loss, aux), gradient); one compilation serves several tests."""
    system = ready(style)[0]

    def objective(params, rest, batch, key):
        return value_and_output(system.loss({**rest, "params": params}, batch, key))

    return jax.jit(jax.value_and_grad(objective, has_aux=True))


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


def test_features_shared_between_pairs_equal_one_pair_at_a_time():
    config = from_config(TinConfig, small_config())
    net, batch = TinNet(config, 5), random_batch(HOI_STYLE, batch=1)
    batch = {name: jnp.asarray(value) for name, value in batch.items()}
    inputs = PairInputs(
        image=batch["image"],
        image_hw_px=batch["image_hw_px"],
        human_xyxy_px=batch["detections_xyxy_px"][:, :2],
        human_keypoints_px=batch["detections_keypoints_px"][:, :2],
        object_xyxy_px=batch["detections_xyxy_px"][:, 2:],
        object_class=batch["detections_class"][:, 2:],
        human_index=jnp.asarray([[0, 0, 1, 1, 1]]),
        object_index=jnp.asarray([[0, 3, 1, 2, 0]]),
    )
    apply = jax.jit(net.apply)
    variables = random_variables(net.init, inputs)
    shared = apply(variables, inputs)
    zero = jnp.zeros((1, 1), jnp.int32)
    pairs = zip(np.asarray(inputs.human_index[0]), np.asarray(inputs.object_index[0]), strict=True)
    for pair, (h, o) in enumerate(pairs):
        single = inputs._replace(
            human_xyxy_px=inputs.human_xyxy_px[:, h : h + 1],
            human_keypoints_px=inputs.human_keypoints_px[:, h : h + 1],
            object_xyxy_px=inputs.object_xyxy_px[:, o : o + 1],
            object_class=inputs.object_class[:, o : o + 1],
            human_index=zero,
            object_index=zero,
        )
        one = apply(variables, single)
        for name, row in (("human", h), ("object", o), ("spatial", pair), ("interactiveness", pair)):
            np.testing.assert_allclose(shared[name][0, row], one[name][0, 0], atol=1e-5)


@pytest.mark.parametrize("style", ["action"])  # "hoi": test_contract.py
def test_draws_and_loss_of_an_image_do_not_depend_on_its_batch(style):
    """Terms are means over all valid entries, so the check is made image by image with the others masked."""
    _, variables, batch, _ = ready(style)
    params, program = variables["params"], loss_and_gradient(style)
    key = jax.random.key(3)
    others = random_batch(STYLES[style], batch=4, seed=9)
    for image in range(2):
        only = np.arange(4) == image
        (_, here), _ = program(params, {}, {**batch, "batch_valid": only}, key)
        # The same image in the last place, among other images.
        moved = {name: np.concatenate([others[name][:3], value[only]]) for name, value in batch.items()}
        (_, there), _ = program(params, {}, {**moved, "batch_valid": np.arange(4) == 3}, key)
        for name, value in here.values.items():
            np.testing.assert_allclose(value, there.values[name], rtol=1e-5)


@pytest.mark.parametrize("style", STYLES)
def test_twenty_steps_on_four_images_lower_the_loss(style):
    _, variables, batch, _ = ready(style)
    params, losses = variables["params"], []
    for number in range(20):
        (loss, _), gradient = loss_and_gradient(style)(params, {}, batch, jax.random.key(number))
        params = jax.tree.map(lambda p, g: p - np.float32(0.1) * g, params, gradient)
        losses.append(float(loss))
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])


def draw(vocabulary, example, **options):
    """Sample and targets of one image, compiled."""
    config = from_config(TinConfig, small_config(**options))
    targets = hoi_targets if vocabulary.hois else action_targets

    def program(key, fields):
        sample = sample_pairs(key, fields, vocabulary.human_class, config)
        return sample, targets(sample, fields, vocabulary, config)

    return jax.jit(program)(jax.random.key(0), example)


def one_example(vocabulary, seed=0):
    batch = random_batch(vocabulary, batch=1, seed=seed)
    return {name: jnp.asarray(value[0]) for name, value in batch.items()}


def test_hoi_labels_are_the_verbs_of_the_object_and_negatives_say_no_interaction():
    example = one_example(HOI_STYLE)
    sample, got = draw(HOI_STYLE, example)
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
    example = one_example(HOI_STYLE)
    example["pairs_verbs_known"] = jnp.zeros_like(example["pairs_verbs_known"])
    example["pairs_verbs"] = jnp.zeros_like(example["pairs_verbs"])
    sample, got = draw(HOI_STYLE, example)
    row = int(np.flatnonzero(sample.positive)[0])
    same = np.asarray([o == int(sample.object_class[row]) for _, o in HOI_STYLE.hois])
    np.testing.assert_array_equal(got.pair_known[row], ~same)
    assert not bool(got.interactive_known[row])


def test_the_human_stream_learns_all_actions_of_the_person_and_pairs_only_verbs_with_object():
    example = one_example(ACTION_STYLE)
    example["pairs_human"] = jnp.zeros(4, jnp.int32)
    example["pairs_object"] = jnp.asarray([2, -1, 3, 4])
    example["pairs_verbs"] = jnp.asarray([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]], bool)
    example["pairs_valid"] = jnp.asarray([True, True, True, False])
    example["persons_actions"] = jnp.asarray([[1, 1, 1], [0, 0, 0]])
    example["persons_roles"] = jnp.asarray([[[2, -1], [-1, -1], [-1, 3]]] * 2)
    sample, got = draw(ACTION_STYLE, example)
    for row in np.flatnonzero(sample.positive):
        np.testing.assert_array_equal(got.human[row], [True, True, False, True])
        assert np.asarray(got.human_known[row]).all()
        alone = int(sample.truth[row]) == 1
        np.testing.assert_array_equal(got.pair_known[row], [not alone, False, not alone, not alone])
        assert bool(got.interactive_known[row]) == (not alone)
    negatives = np.flatnonzero(sample.negative)
    assert not np.asarray(got.pair)[negatives].any() and len(negatives)


def test_negatives_never_show_an_annotated_pair():
    example = one_example(HOI_STYLE)
    for name in ("xyxy_px", "class", "keypoints_px"):  # detections are the annotated boxes themselves
        example[f"detections_{name}"] = example[f"detections_{name}"].at[:5].set(example[f"instances_{name}"])
    sample, _ = draw(HOI_STYLE, example, sampling={"negatives": 30})

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
    pairs = jax.jit(lambda e: detected_pairs(e, 0, config))({**example, "detections_score": score})
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
    rules = {"nis": {"enabled": False}, "score": {"lis": "none", "spare_no_interaction": False}}
    plain_config = small_config(loss={"weighting": "none"}, **rules)
    plain = build_system("tin", plain_config, HOI_STYLE).predict
    off = {name: np.asarray(value) for name, value in jax.jit(plain)(variables, batch).items()}
    weight = np.asarray(lis_weight(jnp.asarray(out["human_score"])) * lis_weight(jnp.asarray(out["object_score"])))
    valid = out["pair_valid"]
    np.testing.assert_allclose(out["interactiveness"][valid], (off["interactiveness"] * weight)[valid], rtol=1e-5)
    expected = off["verb_scores"] * weight[..., None]
    # "no_interaction" (verb 0) goes without f_P here, and with it where nothing is spared.
    expected[..., 0][valid] /= off["interactiveness"][valid]
    np.testing.assert_allclose(out["verb_scores"][valid], expected[valid], rtol=1e-5)
    np.testing.assert_array_equal(out["kept"], valid & (out["interactiveness"] >= 0.1))
    np.testing.assert_array_equal(off["kept"], off["pair_valid"])
    assert 0 < out["kept"].sum() < valid.sum()
    assert (off["verb_scores"][valid] <= 3).all() and off["verb_scores"].max() > 0.3


def logit(p):
    return np.log(p) - np.log1p(-p)


def test_scores_are_the_probabilities_that_training_made():
    """sigmoid(ln(N / n_c) z) where training scales logits; the release scales them in training only."""
    streams = {"classifier": {"streams": ("spatial",)}, "interactiveness": {"streams": ()}}
    found, batch = {}, random_batch(HOI_STYLE)
    for name, more in {
        "trained": {},
        "released": {"score": {"weighted_logits": False}},
        "loss_scale": {"loss": {"weighting": "loss_scale"}},
        "none": {"loss": {"weighting": "none"}},
    }.items():
        config = small_config(**streams, **{"score": {"lis": "none", **more.pop("score", {})}, **more})
        system = build_system("tin", config, HOI_STYLE)
        found[name] = jax.jit(system.predict)(random_variables(system.init, batch), batch)
    for name in ("loss_scale", "none"):
        np.testing.assert_array_equal(found[name]["verb_scores"], found["released"]["verb_scores"])
    plain, trained = (np.asarray(found[name]["verb_scores"], np.float64) for name in ("released", "trained"))
    objects, valid = np.asarray(found["trained"]["object_class"]), np.asarray(found["trained"]["pair_valid"])
    for (verb, obj), count in zip(HOI_STYLE.hois, HOI_STYLE.train_counts, strict=True):
        rows = valid & (objects == obj)
        weight = np.log(sum(HOI_STYLE.train_counts) / count)
        np.testing.assert_allclose(logit(trained[rows][:, verb]), weight * logit(plain[rows][:, verb]), rtol=1e-3)
    assert not np.allclose(plain, trained, atol=0.05)


def test_several_images_in_one_update_pull_as_so_many_updates_of_one():
    """The mean over images of what each gives alone, however many pairs they have; or over all entries at once."""
    streams = {"classifier": {"streams": ("spatial",), "dropout": 0.0}, "interactiveness": {"streams": ("spatial",)}}
    batch, key = random_batch(HOI_STYLE, batch=4), jax.random.key(2)
    batch["pairs_valid"] = np.arange(4)[None] < np.array([1, 4, 2, 0])[:, None]  # the last image has no pair
    batch["detections_valid"][3] = False
    together = {}
    for mean in ("image", "batch"):
        system = build_system("tin", small_config(**streams, loss={"mean": mean}), HOI_STYLE)
        variables = random_variables(system.init, batch)
        program = jax.jit(
            lambda valid, s=system, v=variables: dict(s.loss(v, batch | {"batch_valid": valid}, key).values)
        )
        together[mean] = program(np.ones(4, bool))
        alone = [program(np.arange(4) == image) for image in range(4)]
        assert float(alone[3]["spatial"]) == 0 < float(alone[1]["spatial"])
        expected = {name: np.mean([float(terms[name]) for terms in alone]) for name in together[mean]}
        same = {name: np.isclose(value, expected[name], rtol=1e-5) for name, value in together[mean].items()}
        assert all(same.values()) == (mean == "image")


def test_a_configuration_says_what_its_records_must_have():
    columns = {}
    for name, config in {
        "paper": small_config(),
        "without poses": small_config(interactiveness={"streams": ("human", "object", "spatial")}),
        "c": small_config(interactiveness={"streams": ()}),
    }.items():
        columns[name] = [r.column for r in build_system("tin", config, HOI_STYLE).requires]
    assert columns == {
        "paper": ["detections", "detections_keypoints_px"], "without poses": ["detections"], "c": ["detections"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("c_streams", "p_streams", "sees_image"),
    [
        (("spatial",), ("spatial", "pose"), False),
        (("human", "object"), ("human", "object"), True),
        (("human", "object", "spatial"), (), True),
    ],
)
def test_a_probe_without_a_stream_has_no_parameters_for_it(c_streams, p_streams, sees_image):
    config = small_config(classifier={"streams": c_streams}, interactiveness={"streams": p_streams})
    system, batch = build_system("tin", config, HOI_STYLE), random_batch(HOI_STYLE)
    variables = random_variables(system.init, batch)
    assert ("appearance" in variables["params"]) == sees_image
    assert ("interactiveness" in variables["params"]) == bool(p_streams)
    assert ("image" in system.needs_train, "image" in system.needs_predict) == (sees_image, sees_image)
    trace = functools.partial(jax.eval_shape, lambda *args: dict(system.loss(*args).values))
    terms = trace(variables, batch, jax.random.key(0))
    assert set(terms) == set(c_streams) | ({"interactiveness"} if p_streams else set())
    predict = jax.jit(system.predict)
    black = {**batch, "image": np.zeros_like(batch["image"])}
    same = np.allclose(predict(variables, batch)["verb_scores"], predict(variables, black)["verb_scores"])
    assert same != sees_image


def test_the_paper_network_has_the_papers_sizes():
    net = TinNet(TinConfig(), 600)
    box, row = jnp.zeros((1, 2, 4)), jnp.zeros((1, 3), jnp.int32)
    image, hw = jnp.zeros((1, 64, 64, 3), jnp.uint8), jnp.full((1, 2), 64)
    init = functools.partial(net.init, jax.random.key(0))
    inputs = PairInputs(image, hw, box, jnp.zeros((1, 2, 17, 3)), box, jnp.zeros((1, 2), jnp.int32), row, row)
    params = jax.eval_shape(init, inputs)["params"]
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
        ({"classifier": {"streams": ("pose",)}}, r"'model.classifier.streams\[0\]' is 'pose'"),
        ({"classifier": {"streams": ()}, "interactiveness": {"streams": ()}}, "no parameters to train"),
        ({"max_pairs": 0}, "max_pairs is 0"),
        ({"maps": {"size": 8}}, "too small"),
    ],
)
def test_a_bad_setting_is_refused_with_its_name(config, message):
    with pytest.raises(SettingsError, match=message):
        build_system("tin", config, HOI_STYLE)


def test_late_fusion_sums_the_streams_or_multiplies_appearance_by_the_spatial_one():
    rng = np.random.default_rng(3)
    human, obj, spatial = (jnp.asarray(rng.random((1, 5, 4)), jnp.float32) for _ in range(3))
    streams = {"human": human, "object": obj, "spatial": spatial}
    np.testing.assert_allclose(fuse(streams, "sum"), human + obj + spatial, rtol=1e-6)
    np.testing.assert_allclose(fuse(streams, "product"), (human + obj) * spatial, rtol=1e-6)
    for fusion in ("sum", "product"):
        np.testing.assert_array_equal(fuse({"spatial": spatial}, fusion), spatial)
        np.testing.assert_allclose(fuse({"human": human, "object": obj}, fusion), human + obj, rtol=1e-6)
