"""Weights and images from their names, by the rules of the bodypart and qpic_cdn goldens, and variables from them."""

import zlib

import jax
import numpy as np

from hoi_jax.serialization.conversion import convert_state
from hoi_jax.systems.body_part.convert import checkpoint_rule


def normal(name: str, shape) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tuple(shape)).astype(np.float32)


def weight(name: str, shape, prefix: str = "") -> np.ndarray:
    seed_name = name
    for number in "234":
        seed_name = seed_name.replace(f"binary_decoder_{number}.norm", "binary_decoder_1.norm")
    n = normal(prefix + seed_name, shape)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "running_var":
        return 1 + np.float32(0.1) * np.abs(n)
    if leaf == "running_mean":
        return np.float32(0.05) * n
    if name == "query_embed.weight":
        return 2 * n
    if name in ("transformer.binary_weight", "transformer.binary_bias"):
        return np.float32(0.5) * n
    if n.ndim >= 2:
        scale = np.full((shape[0],) + (1,) * (n.ndim - 1), 1 / np.sqrt(np.prod(shape[1:])))
        if leaf == "in_proj_weight":
            scale[:512] *= 4
        if ".encoder." in name and name.endswith("out_proj.weight"):
            scale *= 0.1
        if name.endswith("multihead_attn.out_proj.weight"):
            scale *= 4
        if "decoder" in name and name.endswith("self_attn.out_proj.weight"):
            scale *= 0.3
        if "transformer" in name and name.endswith("linear2.weight"):
            scale *= 0.5
        if name in ("sub_bbox_embed.layers.2.weight", "obj_bbox_embed.layers.2.weight"):
            scale *= 3
        return n * scale.astype(np.float32)
    if leaf == "bias" or leaf.endswith("_bias"):
        return np.float32(0.05) * n
    return 1 + np.float32(0.1) * n


def image(name: str, height: int, width: int, prefix: str = "") -> np.ndarray:
    """Image [h, w, 3] from its name."""
    rng = np.random.default_rng(zlib.crc32((prefix + name).encode()))
    a = rng.standard_normal((3, height, width))
    b = rng.standard_normal((3, -(-height // 32), -(-width // 32)))
    b = np.repeat(np.repeat(b, 32, 1), 32, 2)[:, :height, :width]
    return (0.5 * a + 6 * b).astype(np.float32).transpose(1, 2, 0)


def padded(images: list[np.ndarray]) -> np.ndarray:
    height, width = (max(x.shape[i] for x in images) for i in (0, 1))
    return np.stack([np.pad(x, ((0, height - x.shape[0]), (0, width - x.shape[1]), (0, 0))) for x in images])


def changed(name: str, values: np.ndarray, extra: list) -> np.ndarray:
    """`values` in float32 after every rule of `extra` (`meta_json.extra_rules`) whose suffix matches the name."""
    values = values.copy()
    for rule in extra:
        if name.endswith(rule["name_ends_with"]):
            rows = values[: rule["rows"]]
            values[: rule["rows"]] = rows * np.float32(rule["times"]) + np.float32(rule["plus"])
    return values


def state_dict(params: list, prefix: str = "", extra: list | None = None) -> dict[str, np.ndarray]:
    return {p["name"]: changed(p["name"], weight(p["name"], p["shape"], prefix), extra or []) for p in params}


def tree_of(flat: dict[str, np.ndarray]) -> dict:
    tree: dict = {}
    for name, array in flat.items():
        *path, leaf = name.split("/")
        node = tree
        for key in path:
            node = node.setdefault(key, {})
        node[leaf] = array
    return tree


def variables_of(params: list, prefix: str = "", extra: list | None = None) -> dict:
    """Variables of this library; every tensor of the list must be used."""
    flat, unknown = convert_state(state_dict(params, prefix, extra), checkpoint_rule)
    assert not unknown
    return tree_of(flat)


def same_structure(variables: dict, shapes) -> None:
    """Assert that both trees have the same leaves with the same shapes."""
    ours = {jax.tree_util.keystr(k): v.shape for k, v in jax.tree_util.tree_leaves_with_path(variables)}
    wanted = {jax.tree_util.keystr(k): v.shape for k, v in jax.tree_util.tree_leaves_with_path(shapes)}
    assert ours == wanted
