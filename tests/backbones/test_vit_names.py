"""Checkpoints of other layouts against the same weights in OpenAI's, and conversion to another resolution."""

import jax
import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.backbones.vit import ViT
from hoi_jax.backbones.vit_names import clip_rule, find_rule
from hoi_jax.serialization.conversion import convert_state
from hoi_jax.systems.defr import convert
from hoi_jax.systems.registry import build_system
from hoi_jax.vocab import get_vocabulary
from tests.helpers.clip_rule_weights import resnet_shapes, state, text_shapes, vit_shapes

CLIP = state(vit_shapes(32, 8, 16, 2, 12) | text_shapes(9, 20, 16, 1, 12))


def huggingface_clip(source):
    """The same tensors under Hugging Face's names."""
    top = {
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "logit_scale": "logit_scale",
    }
    parts = (
        ("visual.transformer.resblocks.", "vision_model.encoder.layers."),
        ("transformer.resblocks.", "text_model.encoder.layers."), ("visual.ln_pre", "vision_model.pre_layrnorm"),
        ("visual.ln_post", "vision_model.post_layernorm"), ("ln_final", "text_model.final_layer_norm"),
        (".attn.out_proj", ".self_attn.out_proj"), (".ln_1", ".layer_norm1"), (".ln_2", ".layer_norm2"),
        ("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2"),
    )  # fmt: skip
    out = {"text_model.embeddings.position_ids": np.arange(9)[None]}
    for name, tensor in source.items():
        if name in top:
            out[top[name]] = tensor
        elif name in ("visual.proj", "text_projection"):
            out["visual_projection.weight" if name == "visual.proj" else "text_projection.weight"] = tensor.T
        elif "in_proj" in name:
            prefix, _, leaf = name.partition(".attn.in_proj_")
            for old, new in parts[:2]:
                prefix = new + prefix.removeprefix(old) if prefix.startswith(old) else prefix
            for letter, third in zip("qkv", np.split(tensor, 3), strict=True):
                out[f"{prefix}.self_attn.{letter}_proj.{leaf}"] = third
        else:
            new_name = name
            for old, new in parts[:5]:
                new_name = new + new_name.removeprefix(old) if new_name.startswith(old) else new_name
            for old, new in parts[5:]:
                new_name = new_name.replace(old, new)
            out[new_name] = tensor
    return out


def imagenet_vit(layout):
    """A small ViT under timm's or Hugging Face's names, each tensor from a number of its own."""
    rng = np.random.default_rng(3)
    width, out = 16, {}
    bare = {
        "timm": ("cls_token", "pos_embed", "patch_embed.proj", "norm", "blocks.{}."),
        "huggingface": (
            "vit.embeddings.cls_token", "vit.embeddings.position_embeddings",
            "vit.embeddings.patch_embeddings.projection", "vit.layernorm", "vit.encoder.layer.{}.",
        ),
    }[layout]  # fmt: skip
    tensors = {
        "cls": rng.normal(size=(1, 1, width)), "pos": rng.normal(size=(1, 17, width)),
        "patch": (rng.normal(size=(width, 3, 8, 8)), rng.normal(size=width)),
        "norm": (rng.normal(size=width), rng.normal(size=width)),
    }  # fmt: skip
    out[bare[0]], out[bare[1]] = tensors["cls"], tensors["pos"]
    for name, key in ((bare[2], "patch"), (bare[3], "norm")):
        out[f"{name}.weight"], out[f"{name}.bias"] = tensors[key]
    for i in range(2):
        p = bare[4].format(i)
        qkv, bias = rng.normal(size=(3 * width, width)), rng.normal(size=3 * width)
        if layout == "timm":
            out[f"{p}attn.qkv.weight"], out[f"{p}attn.qkv.bias"] = qkv, bias
        else:
            for name, w, b in zip(("query", "key", "value"), np.split(qkv, 3), np.split(bias, 3), strict=True):
                out[f"{p}attention.attention.{name}.weight"], out[f"{p}attention.attention.{name}.bias"] = w, b
        names = {
            "timm": ("attn.proj", "mlp.fc1", "mlp.fc2", "norm1", "norm2"),
            "huggingface": (
                "attention.output.dense", "intermediate.dense", "output.dense", "layernorm_before", "layernorm_after",
            ),
        }[layout]  # fmt: skip
        shapes = ((width, width), (4 * width, width), (width, 4 * width), (width,), (width,))
        for name, shape in zip(names, shapes, strict=True):
            out[f"{p}{name}.weight"], out[f"{p}{name}.bias"] = rng.normal(size=shape), rng.normal(size=shape[:1])
    return out


def converted(state_dict, rule):
    flat, unknown = convert_state(state_dict, rule)
    assert not unknown
    return flat


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_hugging_faces_clip_is_openais_under_other_names():
    other = huggingface_clip(CLIP)
    assert find_rule(other)[0] == "Hugging Face CLIP" and find_rule(CLIP)[0] == "OpenAI or open_clip CLIP"
    assert_same(converted(other, find_rule(other)[1]), converted(CLIP, clip_rule))


def test_imagenet_vits_of_two_layouts_agree_and_fill_the_network():
    timm, face = imagenet_vit("timm"), imagenet_vit("huggingface")
    timm_flat, face_flat = (converted(s, find_rule(s)[1]) for s in (timm, face))
    assert_same(timm_flat, face_flat)
    net = ViT(8, 16, 2, 2, (4, 4), "imagenet")
    shapes = jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32))
    ours = {
        "params/backbone/" + "/".join(p.key for p in path[1:]): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)
    }
    assert ours == {name: array.shape for name, array in timm_flat.items()}


def test_unknown_layouts_and_tensors_are_refused():
    with pytest.raises(ValueError, match="none of the layouts.*'a', 'b'"):
        find_rule({"a": np.zeros(1), "b": np.zeros(1)})
    with pytest.raises(ValueError, match="surprise"):
        convert.backbone_arrays({**CLIP, "visual.surprise": np.zeros(1)}, 64)
    with pytest.raises(ValueError, match="multiple of 8"):
        convert.backbone_arrays(CLIP, 65)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_the_command_writes_the_image_tower_for_another_size(tmp_path, capsys, kind):
    source = CLIP if kind == "vit" else state(resnet_shapes((1, 1, 1, 1), 4, 64, 8))
    np.savez(tmp_path / "in.npz", **source)
    arguments = ["--weights", str(tmp_path / "in.npz"), "--size", "96", "--out", str(tmp_path / "out.npz")]
    assert convert.main(arguments) == 0
    out = io.read_npz(tmp_path / "out.npz")
    assert all("/backbone/" in name and array.dtype == np.float32 for name, array in out.items())
    name = convert.VIT_POSITIONS if kind == "vit" else convert.POOL_POSITIONS
    assert len(out[name]) == 1 + (12 * 12 if kind == "vit" else 3 * 3)
    assert ("batch_stats/backbone/stem0/norm/mean" in out) == (kind == "resnet")
    assert ("not used: image_projection\nnot used: text\n" in capsys.readouterr().out) == (kind == "vit")
    assert convert.main(["--weights", str(tmp_path / "no.npz"), "--out", str(tmp_path / "x.npz")]) == 2


def test_the_checkpoint_of_defrs_authors_becomes_the_whole_network(tmp_path, capsys):
    """Names and shapes of hts (clip/clip_hico.py) under DistributedDataParallel: no projection, rows per class."""
    tower = {f"module.visual_encoder.{name}": array for name, array in CLIP.items() if name.startswith("visual.")}
    del tower["module.visual_encoder.visual.proj"]
    width = CLIP["visual.conv1.weight"].shape[0]
    rows = np.random.default_rng(0).normal(size=(600, width)).astype(np.float32)
    theirs = {**tower, "module.classifier": rows, "module.logit_scale": np.float32(4.61)}
    assert find_rule(theirs)[0] == "DEFR of its authors"
    np.savez(tmp_path / "theirs.npz", **theirs)
    side = 8 * round((len(CLIP["visual.positional_embedding"]) - 1) ** 0.5)
    arguments = ["--weights", str(tmp_path / "theirs.npz"), "--size", str(side), "--out", str(tmp_path / "ours.npz")]
    assert convert.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "0 tensors not used" in printed and "gamma = 100.48" in printed
    ours = io.read_npz(tmp_path / "ours.npz")
    layers = sum(name.endswith("in_proj_weight") for name in tower)
    config = {
        "backbone": {"patch": 8, "width": width, "layers": layers, "heads": width // 64 or 1},
        "inputs": {"size": side}, "classifier": {"gamma": 100.48},
    }  # fmt: skip
    system = build_system("defr", config, get_vocabulary("hico_det"))
    shapes = jax.eval_shape(system.init, jax.random.key(0), {})
    expected = {"/".join(p.key for p in path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)}
    assert {name: array.shape for name, array in ours.items()} == expected
    np.testing.assert_array_equal(ours["params/classifier/kernel"], rows)
