"""CLIP's towers, regional class tokens, losses and gradients against the public code in float64 (defr.npz)."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.backbones.clip_resnet import ModifiedResNet
from hoi_jax.backbones.text import TextTower
from hoi_jax.backbones.vit import ViT
from hoi_jax.backbones.vit_names import clip_rule
from hoi_jax.losses.elementwise import binary_cross_entropy, binary_focal, lse_sign_loss, weighted_binary_cross_entropy
from hoi_jax.ops.resample import resize_positions
from hoi_jax.ops.token_masks import pair_patches
from hoi_jax.serialization.conversion import convert_state
from hoi_jax.systems.defr.model import cosine_logits, unit
from hoi_jax.systems.defr.tokenizers import TextError, clip_tokenizer
from tests.helpers.clip_rule_weights import resnet_shapes, state, text_shapes, tree, vit_shapes
from tests.helpers.vit import all_tokens


@pytest.fixture(scope="module")
def golden(golden_dir):
    return io.read_npz(golden_dir / "defr.npz", max_bytes=2**28)


@pytest.fixture(scope="module")
def meta(golden):
    return json.loads(str(golden["meta_json"]))


@pytest.fixture(scope="module", autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def take(golden, *names):
    missing = [name for name in names if name not in golden]
    if missing:
        pytest.skip(f"the file lacks {missing}")
    return [golden[name] for name in names]


def assert_close(got, expected, tolerance=1e-9):
    """Error relative to the spread of the expected values."""
    expected = np.asarray(expected)
    error = np.abs(np.asarray(got) - expected).max() / (expected.std() or 1.0)
    assert error < tolerance, f"error {error:.1e} of the standard deviation"


def channels_last(image):
    return jnp.asarray(image.transpose(0, 2, 3, 1))


def convert(shapes, prefix):
    flat, unknown = convert_state(state(shapes, prefix), clip_rule)
    assert not unknown
    return tree(flat)["params"], tree(flat).get("batch_stats", {})


@pytest.fixture(scope="module")
def vit(meta):
    """(module, variables, projection, compiled image -> tokens of each block and feature)."""
    s = meta["vit"]
    shapes = vit_shapes(s["resolution"], s["patch"], s["width"], s["layers"], s["output"])
    params, _ = convert(shapes, meta["name_prefix"])
    grid = (s["resolution"] // s["patch"],) * 2
    net = ViT(s["patch"], s["width"], s["layers"], s["heads"], grid, "clip")

    def run(image):
        variables = {"params": params["backbone"]}
        tokens = net.apply(variables, image, method=all_tokens)
        return tokens, net.apply(variables, image)

    return net, {"params": params["backbone"]}, jnp.asarray(params["image_projection"]), jax.jit(run)


@pytest.fixture(scope="module")
def resnet(meta):
    s = meta["resnet"]
    params, statistics = convert(
        resnet_shapes(s["stages"], s["width"], s["resolution"], s["output"]), meta["name_prefix"]
    )
    net = ModifiedResNet(
        tuple(s["stages"]), s["width"], s["pool_heads"], s["output"], grid=(s["resolution"] // 32,) * 2
    )
    return net, {"params": params["backbone"], "batch_stats": statistics["backbone"]}


def test_the_file_holds_cases(golden):
    assert {"vit_cls", "text_features", "rn_out", "lse_sign_loss", "pair_cls_mask1"} & set(golden)


def test_every_block_of_the_vit(golden, vit):
    image, feature, out = take(golden, "vit_image", "vit_cls", "vit_out")
    net, variables, projection, run = vit
    patches = jax.jit(lambda x: net.apply(variables, x, method=lambda m, x: m.patch_embed(x)))(channels_last(image))
    assert_close(patches.reshape(golden["vit_patch_embed"].shape), golden["vit_patch_embed"])
    tokens, got = run(channels_last(image))
    assert_close(tokens[0], golden["vit_ln_pre"])
    for number in range(net.layers):
        assert_close(tokens[number + 1], golden[f"vit_block{number}"])
    assert_close(got, feature)
    assert_close(got @ projection, out)


@pytest.mark.parametrize("size", ["big", "small"])
def test_the_vit_at_another_resolution(golden, meta, vit, size):
    image, positions, feature, out = take(golden, *(f"vit_{size}_{key}" for key in ("image", "pe", "cls", "out")))
    net, variables, projection, run = vit
    grid = (meta["vit"][f"{size}_resolution"] // net.patch,) * 2
    assert_close(resize_positions(jnp.asarray(variables["params"]["positional_embedding"]), net.grid, grid), positions)
    got = run(channels_last(image))[1]
    assert_close(got, feature)
    assert_close(got @ projection, out)


@pytest.fixture(scope="module")
def regional(golden, meta, vit):
    """Compiled (blocks, rule, exact) -> regional class tokens of all pairs."""
    image, human, obj = take(golden, "vit_big_image", "pair_boxes_h", "pair_boxes_o")
    net, variables, _, run = vit
    grid = (meta["vit"]["big_resolution"] // net.patch,) * 2
    visible = pair_patches(jnp.asarray(human), jnp.asarray(obj), grid, net.patch)
    streams = run(channels_last(image))[0][:-1]

    def tokens(blocks, rule="mask", exact=True):
        def run(streams, visible):
            options = {"blocks": blocks, "rule": rule, "exact": exact}
            return net.apply(variables, streams, visible[None], method="regional", **options)

        return jax.jit(run)(streams, visible)[0]

    return visible, tokens


def test_patches_under_a_pair(golden, regional):
    (mask,) = take(golden, "pair_mask")
    np.testing.assert_array_equal(regional[0], mask)


@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
@pytest.mark.parametrize(("key", "exact"), [("pair_cls_mask", True), ("pair_cls_twostream", False)])
def test_regional_class_tokens(golden, regional, key, exact, blocks):
    (expected,) = take(golden, f"{key}{blocks}")
    assert_close(regional[1](blocks, exact=exact), expected)


def test_average_pool_of_a_pair(golden, regional):
    (expected,) = take(golden, "pair_cls_avepool")
    assert_close(regional[1](1, rule="average"), expected)


def test_text_features(golden, meta):
    tokens, features = take(golden, "text_tokens", "text_features")
    s = meta["text"]
    shapes = text_shapes(s["context"], s["vocabulary"], s["width"], s["layers"], s["output"])
    params, _ = convert(shapes, meta["name_prefix"])
    net = TextTower(s["vocabulary"], s["context"], s["width"], s["layers"], s["heads"], s["output"])
    assert_close(jax.jit(net.apply)({"params": params["text"]}, jnp.asarray(tokens)), features)


def test_cosine_head_on_text_weights_brought_back_through_the_projection(golden, vit):
    feature, text, weight = take(golden, "vit_cls", "text_features", "head_pullback_w")
    projection, x, texts = vit[2], jnp.asarray(feature), unit(jnp.asarray(text))
    got = texts @ projection.T
    assert_close(got, weight)
    assert_close(cosine_logits(x, got, 1.0), golden["head_cosine"])
    assert_close(cosine_logits(x, got, 100.0), golden["head_logits_gamma100"])
    assert_close(cosine_logits(x @ projection, texts, 1.0), golden["head_cosine_projected"])


def test_every_stage_of_the_modified_resnet(golden, resnet):
    image, out = take(golden, "rn_image", "rn_out")
    net, variables = resnet
    got, sown = jax.jit(lambda x: net.apply(variables, x, mutable=["intermediates"]))(channels_last(image))
    for name in ("stem", "layer1", "layer2", "layer3", "layer4"):
        assert_close(sown["intermediates"][name][0].transpose(0, 3, 1, 2), golden[f"rn_{name}"])
    assert_close(got, out)


def test_the_modified_resnet_at_another_resolution(golden, meta, resnet):
    image, positions, out = take(golden, "rn_big_image", "rn_big_pe", "rn_big_out")
    net, variables = resnet
    table = jnp.asarray(variables["params"]["pool"]["positional_embedding"])
    assert_close(resize_positions(table, net.grid, (meta["resnet"]["big_resolution"] // 32,) * 2), positions)
    assert_close(jax.jit(net.apply)(variables, channels_last(image)), out)


def test_lse_sign_loss_and_gradient(golden):
    logits, targets, value = take(golden, "loss_logits", "loss_targets", "lse_sign_loss")
    labels = jnp.asarray(targets == 1)
    np.testing.assert_allclose(lse_sign_loss(jnp.asarray(logits), labels), value, rtol=1e-9, atol=1e-30)
    gradient = jax.grad(lambda s: jnp.sum(lse_sign_loss(s, labels)))(jnp.asarray(logits))
    np.testing.assert_allclose(gradient, golden["lse_sign_grad"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["bce", "wbce", "focal"])
def test_other_losses_and_gradients(golden, name):
    logits, targets, value = take(golden, "loss_logits", "loss_targets", f"{name}_loss")
    labels = jnp.asarray(targets == 1)
    losses = {
        "bce": binary_cross_entropy,
        "wbce": lambda s, y: weighted_binary_cross_entropy(s, y, jnp.asarray(golden["wbce_pos_weight"])),
        "focal": functools.partial(binary_focal, alpha=0.25, gamma=2.0),
    }
    got, gradient = jax.value_and_grad(lambda s: jnp.mean(losses[name](s, labels)))(jnp.asarray(logits))
    np.testing.assert_allclose(got, value, rtol=1e-9)
    np.testing.assert_allclose(gradient, golden[f"{name}_grad"], rtol=1e-9, atol=1e-12)


def test_gradients_of_lse_sign_through_the_cosine_head(golden):
    x, w, targets, value = take(golden, "cos_x", "cos_w", "loss_targets", "cos_lse_loss")

    def loss(x, w):
        return jnp.mean(lse_sign_loss(cosine_logits(x, w, 100.0), jnp.asarray(targets == 1)))

    got, (by_x, by_w) = jax.value_and_grad(loss, argnums=(0, 1))(jnp.asarray(x), jnp.asarray(w))
    np.testing.assert_allclose(got, value, rtol=1e-9)
    assert_close(by_x, golden["cos_lse_grad_x"])
    assert_close(by_w, golden["cos_lse_grad_w"])


def test_image_level_ap(golden):
    from hoi_jax.evaluation.metrics.hico import ImageProtocol, evaluate_hico_images

    labels, scores, default = take(golden, "ap_labels", "ap_scores", "ap_default")
    result = evaluate_hico_images(scores, labels, ImageProtocol(thresholds="tenths"))
    np.testing.assert_allclose(result.per_class["image/ap"], default, atol=1e-9)
    np.testing.assert_allclose(result.per_class["image/known_object_ap"], golden["ap_known_object"], atol=1e-9)


def test_tokens(golden):
    """Prompts with words that are neither in the small table nor in an installed vocabulary are skipped by name."""
    prompts, tokens = take(golden, "text_prompts", "text_tokens")
    tokenizer, unknown = clip_tokenizer(), []
    for prompt, expected in zip(prompts, tokens, strict=True):
        try:
            got = tokenizer([str(prompt)])[0]
        except TextError:
            unknown.append(str(prompt))
            continue
        np.testing.assert_array_equal(got, expected)
    if unknown:
        pytest.skip(f"needs the whole vocabulary: {unknown}")
