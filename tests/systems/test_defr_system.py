"""DEFR as a System: what it reads, what may not change its numbers, how pairs are made and scored."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hoi_jax.commands import count_labels
from hoi_jax.schema import check_predictions
from hoi_jax.settings import SettingsError, from_config
from hoi_jax.systems.defr import inputs as inputs_module
from hoi_jax.systems.defr.config import DefrConfig, DetectionConfig, InputConfig, LossConfig
from hoi_jax.systems.defr.inputs import prepare
from hoi_jax.systems.defr.loss import classification_loss
from hoi_jax.systems.defr.predict import detected_pairs, noisy_boxes
from hoi_jax.systems.defr.targets import class_weights, image_labels, label_fields, read_weights
from hoi_jax.systems.registry import build_system
from hoi_jax.training import OptimizerSettings, Parallel, make_optimizer
from hoi_jax.training.step import make_gradients, make_state
from tests.helpers.batches import HOI_STYLE
from tests.helpers.systems.defr import STYLES, make_batch, small_config


@functools.cache
def ready(style: str):
    """System, variables, batch, compiled predict and loss of one style."""
    system, batch = build_system("defr", small_config(), STYLES[style]), make_batch(style)
    shapes = jax.eval_shape(system.init, jax.random.key(0), batch)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)
    return system, variables, batch, jax.jit(system.predict), jax.jit(system.loss)


@pytest.mark.parametrize("style", STYLES)
def test_predictions_satisfy_the_schema(style):
    _, variables, batch, predict, _ = ready(style)
    out = {name: np.asarray(value) for name, value in predict(variables, batch).items()}
    check_predictions(out, 4)
    assert ("agent_scores" in out) == (style == "action") and ("hoi_scores" in out) == (style == "hoi")
    assert out["pair_valid"].shape[1] == 3 * 6 and out["pair_valid"].any()


def test_padding_changes_no_score():
    _, variables, batch, predict, _ = ready("hoi")
    padded = dict(batch)
    padded["image"] = np.pad(batch["image"], ((0, 0), (0, 9), (0, 21), (0, 0)), constant_values=77)
    for name in ("detections_xyxy_px", "detections_class", "detections_score", "detections_valid"):
        padded[name] = np.pad(batch[name], ((0, 0), (0, 3)) + ((0, 0),) * (batch[name].ndim - 2))
    first, second = predict(variables, batch), predict(variables, padded)
    for name in ("hoi_scores", "verb_scores"):
        np.testing.assert_allclose(first[name], second[name], atol=2e-5)


def test_a_pair_that_covers_the_image_scores_as_the_image():
    _, variables, batch, predict, _ = ready("hoi")
    whole = dict(batch)
    height, width = batch["image_hw_px"][0]
    rows = batch["detections_class"].shape[1]
    whole["detections_xyxy_px"] = np.tile(np.float32([0, 0, width, height]), (4, rows, 1))
    whole["detections_class"] = np.tile(np.arange(rows, dtype=np.int32) % 3, (4, 1))
    whole["detections_score"] = np.ones_like(batch["detections_score"])
    out = predict(variables, whole)
    photo = 1 / (1 + np.exp(-np.asarray(out["hoi_scores"])))
    for image in range(4):
        pairs = np.flatnonzero(out["pair_valid"][image])
        assert len(pairs) == 2  # one box of each class is left: the person with the ball, and with the chair
        for pair in pairs:
            for hoi, (verb, obj) in enumerate(HOI_STYLE.hois):
                if obj == out["object_class"][image, pair]:
                    np.testing.assert_allclose(out["verb_scores"][image, pair, verb], photo[image, hoi], atol=1e-4)


def test_pairs_may_see_another_interpolation_than_whole_images():
    _, variables, batch, predict, _ = ready("hoi")
    detection, other = small_config()["detection"], {"kernel": "bilinear", "antialias": False}
    both = build_system("defr", small_config(detection={**detection, **other}), HOI_STYLE)
    throughout = build_system("defr", small_config(inputs={"size": 32, **other}), HOI_STYLE)
    out, changed = (jax.jit(system.predict)(variables, batch) for system in (both, throughout))
    plain = predict(variables, batch)
    np.testing.assert_allclose(out["hoi_scores"], plain["hoi_scores"], atol=1e-5)
    np.testing.assert_allclose(out["verb_scores"], changed["verb_scores"], atol=1e-6)
    assert np.abs(out["verb_scores"] - plain["verb_scores"]).max() > 1e-4


def test_prior_power_raises_the_detector_scores():
    _, variables, batch, predict, _ = ready("hoi")
    released = build_system(
        "defr", small_config(detection={**small_config()["detection"], "prior_power": 2.8}), HOI_STYLE
    )
    first, second = predict(variables, batch), jax.jit(released.predict)(variables, batch)
    prior = np.asarray(first["human_score"] * first["object_score"])[..., None]
    np.testing.assert_allclose(second["verb_scores"], first["verb_scores"] * prior**1.8, rtol=1e-4, atol=1e-7)


def test_pairs_join_each_person_with_every_other_box_but_not_itself():
    boxes = np.float32([[0, 0, 4, 4], [10, 0, 14, 4], [20, 0, 24, 4], [30, 0, 34, 4], [0, 0, 4, 3.9], [40, 0, 44, 4]])
    example = {
        "detections_xyxy_px": jnp.asarray(boxes),
        "detections_class": jnp.asarray([0, 0, 1, 2, 0, 1]),
        "detections_score": jnp.asarray([0.9, 0.8, 0.7, 0.6, 0.85, 0.1]),  # row 4 repeats row 0, row 5 is too weak
        "detections_valid": jnp.ones(6, bool),
    }
    out = detected_pairs(example, 0, DetectionConfig(max_humans=4, max_objects=3))
    used = np.asarray(out["pair_valid"])
    got = {
        (float(h[0]), float(o[0])) for h, o in zip(out["human_xyxy_px"][used], out["object_xyxy_px"][used], strict=True)
    }
    assert got == {(0, 10), (0, 20), (0, 30), (10, 0), (10, 20), (10, 30)} and used.sum() == 6


def test_random_changes_follow_the_example_not_its_place():
    _, variables, batch, _, loss = ready("hoi")
    key = jax.random.key(1)
    turned = {name: value[::-1] for name, value in batch.items()}
    first, second = loss(variables, batch, key).value, loss(variables, turned, key).value
    np.testing.assert_allclose(first, second, rtol=1e-5)
    assert abs(float(first) - float(loss(variables, batch, jax.random.key(2)).value)) > 1e-4


def test_augmentation_draws_windows_and_colours_within_their_bounds():
    image = np.full((200, 24, 24, 3), 100, np.uint8)
    image[:, :, :, 1] = np.arange(24)[None, :, None] * 8  # green rises downwards
    hw = np.full((200, 2), 24, np.int32)
    config = InputConfig(size=24, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), brightness=0.2, contrast=0.0)
    keys = jax.random.split(jax.random.key(0), 200)
    out = np.asarray(prepare(jnp.asarray(image), jnp.asarray(hw), config, keys))
    factor = out[:, 0, 0, 0] / (100 / 255)
    assert 0.8 <= factor.min() < 0.83 and 1.17 < factor.max() <= 1.2001
    rise = (out[:, 20, 0, 1] - out[:, 3, 0, 1]) / (17 * 8 / 255) / factor  # height of the window, share of the image
    assert 0.7 < rise.min() < 0.78 and 0.98 < rise.max() < 1.01
    plain = np.asarray(prepare(jnp.asarray(image), jnp.asarray(hw), config))
    np.testing.assert_allclose(plain, image / 255, atol=1e-5)


def test_twenty_steps_lower_the_loss():
    system, _, batch, _, _ = ready("hoi")
    optimizer = optax.adam(3e-3)

    @jax.jit
    def run(params):
        def step(carry, _):
            params, state = carry
            value, gradient = jax.value_and_grad(lambda p: system.loss({"params": p}, batch, jax.random.key(0)).value)(
                params
            )
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, updates), state), value

        return jax.lax.scan(step, (params, optimizer.init(params)), None, length=20)[1]

    values = run(system.init(jax.random.key(0), batch)["params"])
    assert values[-1] < 0.8 * values[0]


@pytest.mark.parametrize("kind", ["lse_sign", "bce", "weighted_bce", "focal", "softmax"])
def test_losses_are_means_over_valid_images(kind):
    rng = np.random.default_rng(0)
    logits, positive = jnp.asarray(rng.normal(size=(3, 4)), jnp.float32), jnp.asarray(np.eye(3, 4, dtype=bool))
    weights = (2.0, 2.0, 2.0, 2.0) if kind == "weighted_bce" else ()
    config = LossConfig(kind=kind, positive_weights=weights)
    settled = jnp.ones((3, 4), bool)
    all_of, two = (
        classification_loss(logits, positive, settled, jnp.asarray(valid), config).value
        for valid in ([True, True, True], [True, False, True])
    )
    single = [
        classification_loss(logits[i : i + 1], positive[i : i + 1], settled[:1], jnp.ones(1, bool), config).value
        for i in range(3)
    ]
    np.testing.assert_allclose([all_of, two], [np.mean(single), (single[0] + single[2]) / 2], rtol=1e-5)


def test_class_weights_count_what_an_epoch_shows():
    labels = np.array([[1, -1, 0], [1, 1, -2], [-1, -1, -1], [-1, -1, 0]])
    assert class_weights(labels) == (1.0, 3.0, 1.0)
    assert class_weights(labels, np.array([1, 3, 1, 1])) == (0.5, 1.0, 1.0)


def test_weights_are_counted_on_a_built_split_and_read_by_training_only(tmp_path, monkeypatch):
    """The authors' rule (hts, dataloader.py): negatives over positives on the list with its copies."""
    labels = np.full((40, 4), -1, np.int32)
    labels[:10, 0], labels[10:12, 1], labels[12:, 2], labels[0, 3] = 1, 1, 1, 0

    class Stored:
        @staticmethod
        def load(path):
            return SimpleNamespace(image_labels=lambda classes: labels if path.name == "labels.npz" else None)

    monkeypatch.setattr(count_labels, "Annotations", Stored)
    monkeypatch.setattr(count_labels, "get_vocabulary", lambda name: HOI_STYLE)
    path = tmp_path / "weights.npz"
    arguments = ["--annotations", str(tmp_path / "labels.npz"), "--oversample-to", "6", "--out", str(path)]
    assert count_labels.main(arguments) == 0
    # Class 1 has 2 images, shown 3 times each: 44 in all, of which 10, 6 and 28 are positive; class 3 has none.
    expected = [34 / 10, 38 / 6, 16 / 28, 1.0]
    np.testing.assert_allclose(read_weights(str(path), 4), expected, rtol=1e-6)
    logits, positive = jnp.asarray([[0.5, -1.0, 2.0, 0.0]]), jnp.asarray([[True, True, False, False]])
    ones = jnp.ones((1, 4), bool), jnp.ones(1, bool)
    from_file, given = (
        classification_loss(logits, positive, *ones, LossConfig(kind="weighted_bce", positive_weights=weights)).value
        for weights in (str(path), tuple(expected))
    )
    np.testing.assert_allclose(from_file, given, rtol=1e-6)
    absent = {"kind": "weighted_bce", "positive_weights": str(tmp_path / "absent.npz")}
    system = build_system("defr", small_config(loss=absent), HOI_STYLE)  # evaluation needs no such file
    with pytest.raises(SettingsError, match="count_labels"):
        jax.eval_shape(system.loss, ready("hoi")[1], make_batch("hoi"), jax.random.key(0))
    assert count_labels.main(["--annotations", str(tmp_path / "none.npz"), "--out", str(path)]) == 2


def test_ambiguous_labels_are_negative_unless_masked():
    logits = jnp.asarray([[3.0, -2.0]])
    positive, settled, valid = jnp.asarray([[False, False]]), jnp.asarray([[False, True]]), jnp.ones(1, bool)
    plain = classification_loss(logits, positive, settled, valid, LossConfig()).value
    masked = classification_loss(logits, positive, settled, valid, LossConfig(mask_ambiguous=True)).value
    np.testing.assert_allclose([plain, masked], np.log([1 + np.exp(3) + np.exp(-2), 1 + np.exp(-2)]), rtol=1e-5)


def test_box_noise_has_the_asked_deviation_and_keeps_corners_in_order():
    boxes = jnp.tile(jnp.asarray([[10.0, 20.0, 50.0, 120.0]]), (4000, 1))
    moved = np.asarray(noisy_boxes(jax.random.key(0), boxes, 0.1)) - np.asarray(boxes)
    np.testing.assert_allclose(moved.std(axis=0), [4, 10, 4, 10], rtol=0.05)
    np.testing.assert_allclose(moved.mean(axis=0), 0, atol=0.6)
    wild = np.asarray(noisy_boxes(jax.random.key(0), boxes, 2.0))
    assert (wild[:, 2:] >= wild[:, :2]).all()
    np.testing.assert_array_equal(noisy_boxes(jax.random.key(0), boxes, 0.0), boxes)


def test_labels_of_pairs_are_the_classes_of_annotated_pairs():
    verbs = np.zeros((1, 3, 4), bool)
    verbs[0, 0, [1, 2]] = verbs[0, 1, 3] = verbs[0, 2, 0] = True
    batch = {
        "pairs_verbs": jnp.asarray(verbs),
        "pairs_object": jnp.asarray([[1, 2, -1]]),
        "pairs_valid": jnp.asarray([[True, True, True]]),
        "instances_class": jnp.asarray([[0, 1, 2]]),
    }
    got, settled = image_labels(batch, HOI_STYLE, "pairs")
    assert [HOI_STYLE.hois[i] for i in np.flatnonzero(got[0])] == [(1, 1), (2, 1), (3, 2)] and settled.all()
    assert label_fields(HOI_STYLE, "pairs") == set(batch)


def test_a_clip_resnet_classifies_without_detections_and_updates_its_statistics():
    backbone = {"kind": "clip_resnet", "width": 4, "heads": 2, "output": 8, "stage_sizes": (1, 1, 1, 1)}
    config = {"backbone": backbone, "inputs": {"size": 64}}
    system, batch = build_system("defr", config, HOI_STYLE), make_batch("hoi", 2)
    assert not any(name.startswith("detections") for name in system.needs_predict)
    shapes = jax.eval_shape(system.init, jax.random.key(0), batch)
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.1, np.float32), shapes)
    out = jax.eval_shape(system.loss, variables, batch, jax.random.key(0))
    assert jax.tree.structure(out.state["batch_stats"]) == jax.tree.structure(shapes["batch_stats"])
    assert set(jax.eval_shape(system.predict, variables, batch)) == {"hoi_scores"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inputs": {"size": 100}}, "not a multiple of 16"),
        ({"loss": {"kind": "weighted_bce"}}, "positive_weights"),
        ({"detection": {"blocks": 13}}, "exceeds 12"),
        ({"detection": {"rule": "average", "blocks": 2}}, "last block only"),
        ({"backbone": {"kind": "vit"}}, "clip_vit"),
        ({"classifier": {"gamma": 0.0}}, "above 0"),
        ({"inputs": {"crop_area": 0.0}}, "crop window"),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(SettingsError, match=message):
        from_config(DefrConfig, values, "model")


def test_an_image_that_comes_stretched_passes_through_unchanged():
    image = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), np.uint8)
    hw = jnp.full((2, 2), 48, jnp.int32)
    plain = {"size": 48, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    for kernel, antialias in (("bicubic", True), ("bilinear", True), ("bilinear", False)):
        out = prepare(jnp.asarray(image), hw, InputConfig(**plain, kernel=kernel, antialias=antialias))
        np.testing.assert_array_equal(out, image.astype(np.float32) * np.float32(1 / np.float32(255)))


def test_windows_are_whole_pixels_enlarged_as_by_torchvision():
    """RandomResizedCrop of a tensor without random colours: the window's pixels through Pillow's bilinear filter."""
    from PIL import Image

    config = InputConfig(size=48, mean=(0.0,) * 3, std=(1.0,) * 3, brightness=0.0, contrast=0.0, crop_area=0.5)
    image = np.random.default_rng(1).integers(0, 256, (8, 48, 48, 3), np.uint8)
    keys = jax.random.split(jax.random.key(3), 8)
    hw = jnp.full((8, 2), 48, jnp.int32)
    out = np.asarray(prepare(jnp.asarray(image), hw, config, keys)) * 255
    window_keys = jax.vmap(jax.random.split)(keys)[:, 0]
    for number in range(8):
        x, y, w, h = map(int, inputs_module._random_window(window_keys[number], jnp.asarray([48.0, 48.0]), config))
        assert 0.5 * 48**2 - 48 <= w * h <= 48**2 and 0 <= x <= 48 - w and 0 <= y <= 48 - h
        cut = Image.fromarray(image[number, y : y + h, x : x + w]).resize((48, 48), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(out[number], np.asarray(cut, np.float32), atol=1.01)  # Pillow rounds twice


@pytest.mark.parametrize(("remat", "parts"), [(False, 2), (True, 1), (True, 4)])
def test_parts_of_a_batch_and_recomputed_blocks_give_the_gradient_of_the_whole(remat, parts):
    """Tolerance: sums of float32 in another order."""
    _, variables, batch, _, _ = ready("hoi")
    batch = {**batch, "batch_valid": np.array([True, True, True, False])}

    def gradient(remat, parts):
        system = build_system("defr", small_config(backbone={"remat": remat}), HOI_STYLE)
        optimizer = make_optimizer(OptimizerSettings(), variables["params"], 10)
        gradients, parallel = make_gradients(system, optimizer, parts), Parallel("pmap", 1)
        compiled = parallel.compile_step(lambda state, part: (state, gradients(state, part)[3]))
        state = parallel.replicate(make_state(variables, optimizer.tx, 3, ema=False))
        return parallel.unreplicate(compiled(state, parallel.shard_batch(batch))[1])

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * (1 + np.abs(b).max())),
        gradient(remat, parts),
        gradient(False, 1),
    )
