"""CLIP of the four published sizes against open_clip 3.3 (PyTorch, float32), with weights made from their names.

`tests/golden/clip_full.npz` holds what open_clip gave for one random image and two sentences. Parameter counts are
those of the public model definition.
"""

import math
import zlib

import jax
import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.backbones.clip_resnet import ModifiedResNet
from hoi_jax.backbones.text import TextTower
from hoi_jax.backbones.vit import ViT
from hoi_jax.backbones.vit_names import clip_rule
from hoi_jax.serialization.conversion import convert_state
from tests.helpers.clip_rule_weights import resnet_shapes, state, text_shapes, tree, vit_shapes

STAGES = {"RN50": (3, 4, 6, 3), "RN101": (3, 4, 23, 3)}
OUTPUT = {"ViT-B-32": 512, "ViT-B-16": 512, "RN50": 1024, "RN101": 512}
COUNTS = {
    "ViT-B-32": (87_849_216, 151_277_313), "ViT-B-16": (86_192_640, 149_620_737),
    "RN50": (38_316_896, 102_007_137), "RN101": (56_259_936, 119_688_033),
}  # fmt: skip
"""Trained parameters of the image tower and of everything."""


def shapes_of(name: str) -> tuple[dict, dict]:
    if name in STAGES:
        image = resnet_shapes(STAGES[name], 64, 224, OUTPUT[name])
    else:
        image = vit_shapes(224, int(name[-2:]), 768, 12, 512)
    return image, text_shapes(77, 49408, 512, 12, OUTPUT[name])


def image_tower(name: str):
    if name in STAGES:
        return ModifiedResNet(STAGES[name], 64, 32, OUTPUT[name], (7, 7))
    patch = int(name[-2:])
    return ViT(patch, 768, 12, 12, (224 // patch, 224 // patch), "clip")


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_are_as_many_as_in_the_public_definition(name):
    image, text = shapes_of(name)
    trained = [sum(math.prod(s) for n, s in part.items() if "running" not in n) for part in (image, text)]
    assert (trained[0], sum(trained)) == COUNTS[name]


@pytest.mark.parametrize("name", COUNTS)
def test_shapes_at_full_size(name):
    image, text = shapes_of(name)
    towers = {
        "backbone": (image_tower(name), jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)),
        "text": (TextTower(output=OUTPUT[name]), jax.ShapeDtypeStruct((2, 77), np.int32)),
    }
    zeros = {n: np.broadcast_to(np.float32(0), s) for n, s in {**image, **text}.items()}
    flat, unknown = convert_state(zeros, clip_rule)
    assert not unknown
    for prefix, (net, example) in towers.items():
        variables = jax.eval_shape(net.init, jax.random.key(0), example)
        ours = {
            f"{path[0].key}/{prefix}/" + "/".join(p.key for p in path[1:]): leaf.shape
            for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
        }
        theirs = {n: a.shape for n, a in flat.items() if n.split("/")[1] == prefix}
        assert ours == theirs


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_features_equal_open_clip(golden_dir, name):
    frozen = io.read_npz(golden_dir / "clip_full.npz", max_bytes=io.MEGABYTE)
    if f"{name}/image" not in frozen:
        pytest.skip(f"the file lacks {name}/image")
    image, text = shapes_of(name)
    flat, _ = convert_state(state({**image, **text}), clip_rule)
    variables = tree(flat, np.float32)
    photo = np.random.default_rng(zlib.crc32(b"image/224")).standard_normal((1, 3, 224, 224)).astype(np.float32)
    collections = {
        kind: variables[kind]["backbone"] for kind in ("params", "batch_stats") if "backbone" in variables.get(kind, {})
    }
    got = jax.jit(image_tower(name).apply)(collections, photo.transpose(0, 2, 3, 1))
    if "image_projection" in variables["params"]:
        got = got @ variables["params"]["image_projection"]
    texts = jax.jit(TextTower(output=OUTPUT[name]).apply)({"params": variables["params"]["text"]}, frozen["tokens"])
    for ours, theirs in ((got, frozen[f"{name}/image"]), (texts, frozen[f"{name}/text"])):
        assert np.abs(np.asarray(ours) - theirs).max() < 1e-4 * max(theirs.std(), 1.0)
