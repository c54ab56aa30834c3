"""What a program costs: closed forms, published counts of known networks, and another program's opinion."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hoi_jax.backbones.resnet import ResNet
from hoi_jax.backbones.vit import ViT
from hoi_jax.losses.terms import mean_term
from hoi_jax.system import LossOutput, System
from hoi_jax.training import OptimizerSettings
from hoi_jax.training.cost import count_flops, step_cost
from tests.helpers.vit import all_tokens


def shaped(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def test_products_count_multiplications_and_additions():
    assert count_flops(lambda a, b: a @ b, shaped(7, 3), shaped(3, 4)) == 2 * 7 * 3 * 4
    assert count_flops(lambda a, b: jnp.einsum("bij,bkj->bik", a, b), shaped(5, 7, 3), shaped(5, 4, 3)) == 2 * 5 * 84
    assert count_flops(lambda a: jax.nn.relu(a) + a.sum(), shaped(7, 3)) == 0


def convolve(x, kernel, groups=1, stride=2):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "VALID", dimension_numbers=numbers, feature_group_count=groups
    )


@pytest.mark.parametrize("groups", [1, 4])
def test_a_convolution_and_both_of_its_gradients_cost_the_same(groups):
    x, kernel = shaped(2, 12, 8, 16), shaped(2, 2, 16 // groups, 32)
    forward = 2 * (2 * 6 * 4 * 32) * (2 * 2 * 16 // groups)
    assert count_flops(lambda x, k: convolve(x, k, groups), x, kernel) == forward

    def gradients(x, k):
        return jax.grad(lambda x, k: jnp.sum(convolve(x, k, groups) ** 2), argnums=(0, 1))(x, k)

    assert count_flops(gradients, x, kernel) == 3 * forward


def test_loops_count_as_often_as_they_run_and_branches_as_the_largest():
    def layers(x, kernels):
        return jax.lax.scan(lambda x, k: (jnp.tanh(x @ k), None), x, kernels)[0]

    assert count_flops(layers, shaped(2, 3), shaped(5, 3, 3)) == 5 * 2 * 2 * 3 * 3
    small, large = lambda x: x @ x, lambda x: x @ x @ x
    assert count_flops(lambda x: jax.lax.cond(x[0, 0] > 0, small, large, x), shaped(4, 4)) == 2 * 2 * 4**3
    again = jax.checkpoint(lambda x: jnp.sum(jnp.tanh(x @ x)))
    assert count_flops(jax.value_and_grad(again), shaped(4, 4)) == 4 * 2 * 4**3  # forward, again, two gradients
    assert count_flops(jax.grad(again), shaped(4, 4)) == 3 * 2 * 4**3  # nobody reads the first forward pass


def test_known_networks_cost_what_torchvision_says():
    # "GFLOPS" of its model table, multiply-adds at 224 x 224, with a classifier of 1,000 classes that ours have not.
    image, hw = shaped(1, 224, 224, 3), shaped(1, 2, dtype=jnp.int32)
    networks = [
        (ResNet(stage_sizes=(3, 4, 6, 3)), (image, hw), None, 2048, 4.089),
        (ResNet(stage_sizes=(3, 4, 23, 3)), (image, hw), None, 2048, 7.801),
        (ViT(16, grid=(14, 14), kind="imagenet"), (image,), all_tokens, 768, 17.564),
        (ViT(32, grid=(7, 7), kind="imagenet"), (image,), all_tokens, 768, 4.409),
    ]
    for net, arguments, method, features, published in networks:
        variables = jax.eval_shape(net.init, jax.random.key(0), *arguments)
        apply = functools.partial(net.apply, method=method)
        ours = count_flops(apply, variables, *arguments) / 2 + features * 1000
        assert ours / 1e9 == pytest.approx(published, abs=0.001), net


def test_the_compiler_counts_the_same_products():
    def network(x, a, b):
        return jnp.einsum("ij,jk->ik", x @ a, b)

    arrays = [np.ones((32, 64)), np.ones((64, 128)), np.ones((128, 16))]
    compiled = jax.jit(network).lower(*arrays).compile().cost_analysis()
    assert count_flops(network, *arrays) == compiled["flops"]


def toy(rows):
    """tanh(x @ w) with a squared loss of `rows` images."""

    def loss(variables, batch, key, *, train, axis_name):
        assert batch["image"].shape[0] == rows
        out = jnp.tanh(batch["image"].reshape(rows, -1).astype(jnp.float32) @ variables["params"]["w"])
        return LossOutput(terms={"square": mean_term(out**2, jnp.ones(out.shape, bool))}, state={})

    def init(key, batch):
        return {"params": {"w": jnp.zeros((12, 5), jnp.float32)}}

    fields = frozenset({"image"})
    return System("toy", fields, fields, init, loss, lambda variables, batch: {})


def test_a_step_counts_its_passes_its_state_and_what_it_stores():
    batch = {"image": np.zeros((8, 2, 2, 3), np.uint8)}
    cost = step_cost(toy(8), OptimizerSettings(name="adamw", learning_rate=1e-3), batch, compiled=True)
    assert cost.parameters == 60
    assert cost.flops - 2 * 8 * 60 * 2 < 100  # forward and the gradient of w; images have none; flags of finite terms
    assert 3 * 60 * 4 <= cost.state_bytes < 3 * 60 * 4 + 200  # Adam's two slots; counters, key and flag
    assert cost.stored_bytes >= 8 * 5 * 4 + 8 * 12 * 4  # tanh's result and the image in float32
    assert cost.planned_bytes is not None and cost.planned_bytes > 0
    half = step_cost(toy(4), OptimizerSettings(name="adamw", learning_rate=1e-3), batch, accumulate=2)
    assert half.stored_bytes < cost.stored_bytes and half.planned_bytes is None


def test_optax_states_are_counted_as_they_are():
    batch = {"image": np.zeros((8, 2, 2, 3), np.uint8)}
    momentum = step_cost(toy(8), OptimizerSettings(name="momentum", learning_rate=1e-3), batch)
    adam = step_cost(toy(8), OptimizerSettings(name="adamw", learning_rate=1e-3), batch)
    slots = [len(jax.tree.leaves(tx.init({"w": jnp.zeros(60)}))) for tx in (optax.trace(0.9), optax.scale_by_adam())]
    assert slots == [1, 3] and 0 < adam.state_bytes - momentum.state_bytes - 60 * 4 < 20
