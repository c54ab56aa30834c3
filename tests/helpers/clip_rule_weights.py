"""Names, shapes and values of a CLIP state dict, by the rules in the notes of defr.npz."""

import zlib

import numpy as np


def weight(name: str, shape, prefix: str = "") -> np.ndarray:
    """Float64 values of one tensor from its name, by the first rule that fits."""
    z = np.random.default_rng(zlib.crc32((prefix + name).encode())).standard_normal(shape)
    last = name.rsplit(".", 1)[-1]
    if last == "logit_scale":
        return np.full(shape, np.log(1 / 0.07))
    if last == "running_mean":
        return 0.1 * z
    if last == "running_var":
        return 0.5 + np.abs(z)
    if last in ("bias", "in_proj_bias"):
        return 0.05 * z
    if last == "weight" and len(shape) == 1:
        return 1 + 0.1 * z
    if last in ("class_embedding", "positional_embedding") or name.endswith("token_embedding.weight"):
        return 0.5 * z
    if last in ("proj", "text_projection"):
        return z / np.sqrt(shape[0])
    return z / np.sqrt(np.prod(shape[1:]))


def _blocks(prefix: str, layers: int, width: int) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for i in range(layers):
        p = f"{prefix}transformer.resblocks.{i}."
        shapes |= {
            f"{p}attn.in_proj_weight": (3 * width, width), f"{p}attn.in_proj_bias": (3 * width,),
            f"{p}attn.out_proj.weight": (width, width), f"{p}attn.out_proj.bias": (width,),
            f"{p}ln_1.weight": (width,), f"{p}ln_1.bias": (width,),
            f"{p}mlp.c_fc.weight": (4 * width, width), f"{p}mlp.c_fc.bias": (4 * width,),
            f"{p}mlp.c_proj.weight": (width, 4 * width), f"{p}mlp.c_proj.bias": (width,),
            f"{p}ln_2.weight": (width,), f"{p}ln_2.bias": (width,),
        }  # fmt: skip
    return shapes


def vit_shapes(resolution, patch, width, layers, output) -> dict[str, tuple[int, ...]]:
    norms = {f"visual.ln_{n}.{leaf}": (width,) for n in ("pre", "post") for leaf in ("weight", "bias")}
    return {
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (1 + (resolution // patch) ** 2, width),
        "visual.proj": (width, output),
        "visual.conv1.weight": (width, 3, patch, patch),
        **norms,
        **_blocks("visual.", layers, width),
    }


def text_shapes(context, vocabulary, width, layers, output) -> dict[str, tuple[int, ...]]:
    return {
        "positional_embedding": (context, width),
        "text_projection": (width, output),
        "token_embedding.weight": (vocabulary, width),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
        "logit_scale": (),
        **_blocks("", layers, width),
    }


def resnet_shapes(stages, width, resolution, output) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name, norm, *shape):
        shapes[f"visual.{name}.weight"] = shape
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"visual.{norm}.{leaf}"] = (shape[0],)

    conv("conv1", "bn1", width // 2, 3, 3, 3)
    conv("conv2", "bn2", width // 2, width // 2, 3, 3)
    conv("conv3", "bn3", width, width // 2, 3, 3)
    channels = width
    for stage, blocks in enumerate(stages):
        planes = width * 2**stage
        for block in range(blocks):
            p = f"layer{stage + 1}.{block}."
            conv(f"{p}conv1", f"{p}bn1", planes, channels, 1, 1)
            conv(f"{p}conv2", f"{p}bn2", planes, planes, 3, 3)
            conv(f"{p}conv3", f"{p}bn3", 4 * planes, planes, 1, 1)
            if block == 0:
                conv(f"{p}downsample.0", f"{p}downsample.1", 4 * planes, channels, 1, 1)
            channels = 4 * planes
    pool = {"q_proj": channels, "k_proj": channels, "v_proj": channels, "c_proj": output}
    for name, out in pool.items():
        shapes[f"visual.attnpool.{name}.weight"] = (out, channels)
        shapes[f"visual.attnpool.{name}.bias"] = (out,)
    shapes["visual.attnpool.positional_embedding"] = (1 + (resolution // 32) ** 2, channels)
    return shapes


def state(shapes: dict[str, tuple[int, ...]], prefix: str = "") -> dict[str, np.ndarray]:
    return {name: weight(name, shape, prefix) for name, shape in shapes.items()}


def tree(flat: dict[str, np.ndarray], dtype=np.float64) -> dict:
    """{"a/b": x} as {"a": {"b": x}}."""
    out: dict = {}
    for name, value in flat.items():
        *path, leaf = name.split("/")
        node = out
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = value.astype(dtype)
    return out
