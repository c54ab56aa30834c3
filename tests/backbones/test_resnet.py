"""ResNets: sizes at full scale, known parameter count, padding that leaves no trace."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax.backbones.resnet import MaskedGroupNorm, ResNet


def shapes(net, height, width):
    image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    hw = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    variables = jax.eval_shape(net.init, jax.random.key(0), image, hw)
    return jax.eval_shape(net.apply, variables, image, hw).shape, variables


def count(tree, names=None) -> int:
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return sum(int(np.prod(x.shape)) for path, x in paths if names is None or path[-1].key in names)


def test_resnet50_has_the_known_23_508_032_parameters():
    _, variables = shapes(ResNet(), 64, 64)
    assert count(variables["params"]) + count(variables["batch_stats"], {"scale", "bias"}) == 23_508_032


def test_stride_16_prefix_gives_1024_channels_at_800x1333():
    net = ResNet((3, 4, 6), (1, 2, 2))
    assert shapes(net, 800, 1333)[0] == (1, 50, 84, 1024)
    assert net.stride == 16


def test_stride_32_gives_2048_channels_at_800x1333():
    assert shapes(ResNet(), 800, 1333)[0] == (1, 25, 42, 2048)


def test_resnet18_has_the_known_11_176_512_parameters():
    _, variables = shapes(ResNet((2, 2, 2, 2), kind="basic"), 64, 64)
    assert count(variables["params"]) + count(variables["batch_stats"], {"scale", "bias"}) == 11_176_512


@pytest.mark.parametrize(
    ("norm", "stem"), [("frozen_batch", "imagenet"), ("group", "imagenet"), ("group", "small"), ("none", "small")]
)
def test_padding_changes_no_valid_feature(norm, stem):
    net = ResNet((1, 1), (1, 2), width=8, kind="bottleneck", norm=norm, stem=stem)
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, 45, 37, 3)).astype(np.float32)
    hw = jnp.asarray([[45, 37]])
    variables = jax.jit(net.init)(jax.random.key(0), jnp.asarray(image), hw)
    # Biases away from zero, so that a leak of normalised padding would show.
    variables = jax.tree_util.tree_map_with_path(lambda path, x: x + 0.3 if path[-1].key == "bias" else x, variables)
    plain = np.asarray(net.apply(variables, jnp.asarray(image), hw))
    padded = np.pad(image, [(0, 0), (0, 19), (0, 27), (0, 0)])
    wide = np.asarray(net.apply(variables, jnp.asarray(padded), hw))
    np.testing.assert_allclose(wide[:, : plain.shape[1], : plain.shape[2]], plain, atol=1e-5)
    assert np.all(wide[:, plain.shape[1] :] == 0) and np.all(wide[:, :, plain.shape[2] :] == 0)


def test_group_norm_has_zero_mean_and_unit_variance_over_valid_cells():
    x = jnp.asarray(np.random.default_rng(0).normal(3, 5, (1, 4, 4, 8)), jnp.float32)
    valid = jnp.arange(4)[None, :, None, None] < jnp.full((1, 4, 4, 1), 2)
    norm = MaskedGroupNorm(channels_per_group=4)
    y = np.asarray(norm.apply(norm.init(jax.random.key(0), x, valid), x, valid))[0, :2]
    for group in (y[..., :4], y[..., 4:]):
        np.testing.assert_allclose([group.mean(), group.std()], [0, 1], atol=1e-4)
