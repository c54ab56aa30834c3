"""TIN's released form and iCAN: every option against a literal evaluation, a closed form, or the authors' numbers."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax.backbones.resnet import ResNet
from hoi_jax.experiment import load_experiment
from hoi_jax.nn.mlp import MLP
from hoi_jax.settings import from_config
from hoi_jax.systems.registry import build_system
from hoi_jax.systems.tin.appearance import Context
from hoi_jax.systems.tin.config import NisConfig, TinConfig
from hoi_jax.systems.tin.heads import BoxFeatures, Sides
from hoi_jax.systems.tin.model import PairInputs, TinNet, chunked_logits
from hoi_jax.systems.tin.network_config import ContextConfig
from hoi_jax.systems.tin.predict import detected_pairs
from hoi_jax.systems.tin.score_pairs import pair_scorer
from hoi_jax.systems.tin.scores import best_objects, kept_pairs
from tests.helpers.batches import ACTION_STYLE, HOI_STYLE, random_batch
from tests.helpers.systems.tin import small_config
from tests.helpers.typecheck import unchecked
from tests.helpers.variables import random_variables

RELEASED = {
    "classifier": {"context": True, "spatial_human": True, "unit_norm": True},
    "interactiveness": {
        "layout": "joined", "context": True, "logits": 2, "logit_weights": (1.6, 0.2), "pose_features": (4, 2),
    },
    "context": {"channels": 6, "features": 5, "bias": True},
    "nis": {"rule": "two_sided"},
    "score": {"fusion": "product", "times_interactiveness": False},
}  # fmt: skip
EARLY = {
    "classifier": {"streams": ("human", "joint"), "context": True, "object_class": True},
    "interactiveness": {"streams": ()},
    "context": {"channels": 6, "features": 5, "bias": False},
}


def toy_inputs(**pairs) -> PairInputs:
    """Two people and four objects of a random image."""
    batch = {name: jnp.asarray(value) for name, value in random_batch(HOI_STYLE, batch=1).items()}
    return PairInputs(
        image=batch["image"],
        image_hw_px=batch["image_hw_px"],
        human_xyxy_px=batch["detections_xyxy_px"][:, :2],
        human_keypoints_px=batch["detections_keypoints_px"][:, :2],
        object_xyxy_px=batch["detections_xyxy_px"][:, 2:],
        object_class=batch["detections_class"][:, 2:],
        **pairs,
    )


@pytest.mark.parametrize("options", [RELEASED, EARLY], ids=["released", "early"])
def test_one_pass_over_all_pairs_equals_one_pair_at_a_time(options):
    """The factorised head against the literal one: one human, one object, one pair per call (and in chunks)."""
    config = from_config(TinConfig, small_config(**options, pair_chunk=2))
    net = TinNet(config, 7, 3)
    inputs = toy_inputs(human_index=jnp.asarray([[0, 0, 1, 1, 1]]), object_index=jnp.asarray([[0, 3, 1, 2, 0]]))
    apply = jax.jit(net.apply)
    variables = random_variables(net.init, inputs)
    shared = apply(variables, inputs)
    zero = jnp.zeros((1, 1), jnp.int32)
    for pair, (h, o) in enumerate(
        zip(np.asarray(inputs.human_index[0]), np.asarray(inputs.object_index[0]), strict=True)
    ):
        single = inputs._replace(
            human_xyxy_px=inputs.human_xyxy_px[:, h : h + 1],
            human_keypoints_px=inputs.human_keypoints_px[:, h : h + 1],
            object_xyxy_px=inputs.object_xyxy_px[:, o : o + 1],
            object_class=inputs.object_class[:, o : o + 1],
            human_index=zero,
            object_index=zero,
        )
        one = apply(variables, single)
        for name in shared:
            row = {"human": h, "object": o}.get(name, pair)
            np.testing.assert_allclose(shared[name][0, row], one[name][0, 0], atol=1e-5)
    valid = jnp.asarray([[True, True, True, False, False]])
    chunks = jax.jit(lambda v: chunked_logits(net, v, inputs, valid))(variables)
    for name in shared:
        used = slice(None) if name in ("human", "object") else slice(0, 3)
        np.testing.assert_allclose(chunks[name][0, used], shared[name][0, used], atol=1e-5)
    # The third chunk has no valid pair and is skipped.
    skipped = [n for n in chunks if n not in ("human", "object")]
    assert skipped and all(not np.asarray(chunks[n][0, 4]).any() for n in skipped)


@pytest.mark.parametrize("bias", [True, False])
def test_context_attention_equals_its_definition(bias):
    """iCAN section 3.2 as a loop: mean dot product, softmax over valid cells, 1x1 convolution, ReLU, mean."""
    rng = np.random.default_rng(1)
    features, valid = rng.normal(size=(1, 3, 4, 6)).astype(np.float32), np.ones((1, 3, 4, 1), bool)
    valid[:, :, 3] = False
    human, obj = (rng.normal(size=(1, n, 5)).astype(np.float32) for n in (2, 3))
    module = Context(ContextConfig(channels=4, features=7, bias=bias))
    args = jnp.asarray(features), jnp.asarray(valid), jnp.asarray(human), jnp.asarray(obj), None
    variables = random_variables(module.init, *args)
    got = module.apply(variables, *args)
    p = jax.tree.map(np.asarray, variables["params"])

    def dense(x, name):
        kernel = p[name]["kernel"].reshape(p[name]["kernel"].shape[-2:])
        return np.maximum(x @ kernel + p[name].get("bias", 0.0), 0)

    cells = features[0][valid[0, ..., 0]]
    for vectors, name, result in ((human, "human_query", got[0]), (obj, "object_query", got[1])):
        for row, vector in enumerate(vectors[0]):
            dots = (dense(cells, "key") * dense(vector, name)).mean(axis=1)
            attention = np.exp(dots) / np.exp(dots).sum()
            expected = dense(dense(cells, "value") * attention[:, None], "bottleneck").mean(axis=0)
            np.testing.assert_allclose(result[0, row], expected, atol=1e-6)


def test_a_negative_sees_its_human_branch_twice_only_with_the_legacy_copy():
    rng = np.random.default_rng(0)

    def rows(width):
        return Sides(*(jnp.asarray(rng.normal(size=(1, 2, width)), jnp.float32) for _ in range(2)))

    boxes = BoxFeatures(vectors=rows(8), context=rows(5))
    corners = [jnp.asarray(rng.uniform(0, 40, (1, 2, 4)) + [0, 0, 40, 40], jnp.float32) for _ in range(2)]
    index = jnp.asarray([[0, 1]])
    inputs = toy_inputs(human_index=index, object_index=index)._replace(
        human_xyxy_px=corners[0], object_xyxy_px=corners[1], human_keypoints_px=jnp.zeros((1, 2, 17, 3))
    )

    def logits(legacy, negative):
        options = {**RELEASED, "interactiveness": {**RELEASED["interactiveness"], "legacy_negative_copy": legacy}}
        net = TinNet(from_config(TinConfig, small_config(**options)), 7, 3)
        variables = random_variables(functools.partial(net.init, method="pairs"), boxes, inputs)
        chosen = inputs._replace(negative=jnp.asarray(negative))
        return np.asarray(net.apply(variables, boxes, chosen, method="pairs")["interactiveness"])

    plain, copied = logits(True, [[False, False]]), logits(True, [[True, False]])
    assert np.abs(plain[0, 0] - copied[0, 0]).max() > 1e-4
    np.testing.assert_allclose(plain[0, 1], copied[0, 1], atol=1e-6)
    np.testing.assert_allclose(logits(False, [[True, False]]), plain, atol=1e-6)


def test_layers_of_unit_norm_have_no_bias_and_are_scaled():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 3, 4)), jnp.float32)
    module = MLP((5,), unit_norm=True)
    variables = module.init(jax.random.key(0), x)
    assert set(variables["params"]["fc0"]) == {"kernel"}
    expected = np.maximum(np.asarray(x) @ np.asarray(variables["params"]["fc0"]["kernel"]) / np.sqrt(1 + 1e-5), 0)
    # Sums of four products of size one may cancel: each is rounded to 6e-8.
    np.testing.assert_allclose(module.apply(variables, x), expected, rtol=1e-6, atol=2.5e-7)


def test_two_sided_suppression_needs_both_bounds_of_the_object_class():
    config = NisConfig(rule="two_sided", drop_person_objects=True)
    bounds = jnp.asarray([[0.5, 0.5], [0.1, 0.9]])
    interactive, non_interactive = jnp.asarray([0.05, 0.05, 0.2, 0.05]), jnp.asarray([0.95, 0.8, 0.95, 0.95])
    kept = kept_pairs(config, interactive, interactive, non_interactive, jnp.asarray([1, 1, 1, 0]), bounds, 0)
    np.testing.assert_array_equal(kept, [False, True, True, False])
    off = NisConfig(enabled=False, rule="two_sided")
    assert kept_pairs(off, interactive, interactive, non_interactive, jnp.ones(4, int), bounds, 0).all()


def test_each_person_keeps_one_object_per_verb():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (9, 3)).astype(np.float32)  # with ties and zeros
    human, valid = rng.integers(0, 3, 9), rng.random(9) < 0.8
    got = np.asarray(best_objects(jnp.asarray(scores), jnp.asarray(human), jnp.asarray(valid), 3))
    for verb in range(3):
        for person in range(3):
            rows = [r for r in range(9) if human[r] == person and valid[r] and scores[r, verb] > 0]
            best = max(rows, key=lambda r: (scores[r, verb], -r), default=None)
            expected = [r for r in rows if r == best]
            assert [r for r in range(9) if human[r] == person and got[r, verb]] == expected


def test_an_image_without_pairs_falls_back_on_its_best_boxes():
    batch = random_batch(HOI_STYLE, batch=1)
    example = {name: jnp.asarray(value[0]) for name, value in batch.items()}
    example["detections_score"] = jnp.asarray([0.3, 0.4, 0.35, 0.2, 0.1, 0.15])  # all below the thresholds
    for fallback, pairs in ((0, 0), (2, 4), (4, 8)):  # two people; never the person as an object
        config = from_config(TinConfig, small_config(score={"fallback": fallback}))
        p = jax.jit(lambda e, c=config: detected_pairs(e, 0, c))(example)
        assert int(p["pair_valid"].sum()) == pairs and bool(p["fallback"]) == (fallback > 0)
    usual = {**example, "detections_score": jnp.full(6, 0.9)}
    p = jax.jit(lambda e: detected_pairs(e, 0, from_config(TinConfig, small_config(score={"fallback": 4}))))(usual)
    assert not bool(p["fallback"]) and int(p["pair_valid"].sum()) == 10


def test_scores_of_given_pairs_are_those_of_the_same_detections():
    """score_pairs on the pairs that predict enumerates: the same scores, without confidences."""
    options = {**RELEASED, "score": {"fusion": "product", "lis": "none", "times_interactiveness": True}}
    config = small_config(**options)
    system, batch = build_system("tin", config, HOI_STYLE), random_batch(HOI_STYLE, batch=1)
    variables = random_variables(system.init, batch)
    out = {name: np.asarray(value)[0] for name, value in jax.jit(system.predict)(variables, batch).items()}
    rows = np.flatnonzero(out["pair_valid"])
    score_pairs = pair_scorer(config, HOI_STYLE, variables)
    keypoints = [
        batch["detections_keypoints_px"][0][(batch["detections_xyxy_px"][0] == box).all(axis=1).argmax()]
        for box in out["human_xyxy_px"][rows]
    ]
    boxes = out["human_xyxy_px"][rows], out["object_xyxy_px"][rows], out["object_class"][rows]
    got = score_pairs(batch["image"][0], *boxes, np.stack(keypoints))
    np.testing.assert_allclose(got, out["verb_scores"][rows], atol=1e-5)
    assert got.shape == (len(rows), 4) and len(rows) > 5
    empty = np.zeros((0, 4), np.float32)
    assert score_pairs(batch["image"][0], empty, empty, np.zeros(0, int)).shape == (0, 4)
    with unchecked(), pytest.raises(ValueError, match="2 labels"):
        score_pairs(batch["image"][0], boxes[0][:1], boxes[1][:1], np.zeros(2, int))


def test_early_fusion_learns_its_two_terms_and_scores_pairs_by_the_joint_stream():
    system = build_system("tin", small_config(**EARLY, loss={"human": 2.0, "weighting": "none"}), ACTION_STYLE)
    batch = random_batch(ACTION_STYLE)
    variables = random_variables(system.init, batch)
    out = jax.jit(lambda v, b: system.loss(v, b, jax.random.key(0)))(variables, batch)
    assert set(out.terms) == {"human", "joint"}
    predictions = jax.jit(system.predict)(variables, batch)
    assert (np.asarray(predictions["verb_scores"]) <= 1).all() and "agent_scores" in predictions


def sizes(net, height, width):
    image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    hw = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    variables = jax.eval_shape(net.init, jax.random.key(0), image, hw)
    return jax.eval_shape(net.apply, variables, image, hw).shape, variables["params"]


def test_layouts_of_resnet_differ_in_place_of_strides_and_not_in_parameters():
    shapes = {
        layout: sizes(ResNet((3, 4, 6), (1, 2, 2), layout=layout), 160, 192)
        for layout in ("torchvision", "caffe", "slim")
    }
    first = shapes["torchvision"]
    for shape, params in shapes.values():
        assert shape == first[0] == (1, 10, 12, 1024)
        assert jax.tree.map(lambda x: x.shape, params) == jax.tree.map(lambda x: x.shape, first[1])


@pytest.mark.parametrize("layout", ["caffe", "slim"])
def test_padding_changes_no_valid_feature_of_any_layout(layout):
    net = ResNet((1, 2) if layout == "caffe" else (2, 1), (1, 2), width=8, layout=layout)
    rng = np.random.default_rng(0)
    image, hw = rng.normal(size=(1, 45, 37, 3)).astype(np.float32), jnp.asarray([[45, 37]])
    variables = random_variables(net.init, jnp.asarray(image), hw)
    apply = jax.jit(net.apply)
    plain = np.asarray(apply(variables, jnp.asarray(image), hw))
    wide = np.asarray(apply(variables, jnp.asarray(np.pad(image, [(0, 0), (0, 19), (0, 27), (0, 0)])), hw))
    np.testing.assert_allclose(wide[:, : plain.shape[1], : plain.shape[2]], plain, atol=1e-4)
    assert np.abs(plain).max() > 0.1


@pytest.mark.parametrize(
    "name",
    [
        "tin_hico_det_release", "tin_vcoco_release", "tin_hico_det_ican", "tin_vcoco_ican",
        "tin_vcoco_ican:fusion=early",
        "tin_hico_det:mode=c", "tin_hico_det:mode=p,on=both", "tin_hico_det:mode=join,p=a,c=b",
        "tin_hico_det:mode=tune,c=b", "tin_vcoco:mode=p,on=other", "tin_vcoco:without=both,p_streams=object",
    ],
)  # fmt: skip
def test_every_configuration_loads(name):
    path, _, options = name.partition(":")
    module = importlib.import_module(f"configs.{path}")
    experiment = load_experiment((module.get_config(options) if options else module.get_config()).to_dict())
    assert experiment.build_system().name == "tin"


def test_the_released_network_has_the_released_sizes():
    """Widths in the specification: 3072, 7456 into C; 11184, 3072 into P on HICO-DET, 10160, 4096 on V-COCO."""
    found = {}
    for dataset in ("hico_det", "vcoco"):
        config = load_experiment(importlib.import_module(f"configs.tin_{dataset}_release").get_config().to_dict())
        system = config.build_system()
        batch = {"image": jnp.zeros((1, 64, 64, 3), jnp.uint8)}
        params = jax.eval_shape(system.init, jax.random.key(0), batch)["params"]
        found[dataset] = params["classifier"], params["interactiveness"]
    for classifier, _ in found.values():
        assert classifier["human"]["fc0"]["kernel"].shape == (3072, 1024) and "bias" not in classifier["human"]["fc0"]
        assert classifier["spatial"]["fc0"]["kernel"].shape == (7456, 1024)
    branches = ("human_branch", "object_branch", "pair")
    widths = {d: [p[b]["fc0"]["kernel"].shape[0] for b in branches] for d, (_, p) in found.items()}
    assert widths == {"hico_det": [11184, 3072, 2048], "vcoco": [10160, 4096, 2048]}
    assert found["hico_det"][1]["score"]["kernel"].shape == (1024, 2)
