"""What google-research/scenic's own code says, written as an npz file: run with its source tree on PYTHONPATH.

    PYTHONPATH=<scenic source> python tests/integrations/scenic_peer.py scenic.npz

`tests/golden/scenic.npz` was made so at commit 4a38d475ee89cb821078c0e2bf2065ee030e1535. Weights follow from names
(`weight`), so that the file holds only names, shapes, inputs and results. Scenic's sinkhorn matcher imports
`ott.tools.transport`, which is gone from today's ott; an empty module stands in for it, and nothing here calls it.
"""

import importlib
import json
import sys
import types
import zlib

import numpy as np

DETR = dict(
    num_classes=81, hidden_dim=16, num_queries=5, transformer_num_heads=2, transformer_num_encoder_layers=2,
    transformer_num_decoder_layers=2, transformer_qkv_dim=16, transformer_mlp_dim=24, backbone_num_filters=4,
    backbone_num_layers=14, aux_loss=True,
)  # fmt: skip
RESNET = dict(num_outputs=None, num_filters=4, num_layers=50)
VIT = dict(num_classes=3, mlp_dim=64, num_layers=2, num_heads=2, hidden_size=16, classifier="token")
PATCH = 8
CASES = ("detr", "resnet", "vit")
COSTS = dict(class_loss_coef=1.5, bbox_loss_coef=2.5, giou_loss_coef=0.75)


def weight(name, shape):
    """A variable's values from its name: statistics and gains near one, the rest small."""
    n = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    leaf = name.rpartition("/")[2]
    if leaf in ("scale", "var"):
        return 1 + np.float32(0.1) * np.abs(n)
    if leaf in ("bias", "mean"):
        return np.float32(0.1) * n
    if leaf in ("query_emb", "pos_embedding", "cls"):
        return n
    # Of attention [inputs, heads, channels] and [heads, channels, outputs], of convolutions all but the last axis.
    fan = shape[0] if len(shape) == 3 and name.split("/")[-2] != "out" else int(np.prod(shape[:-1]))
    return n / np.float32(np.sqrt(fan))


def state_of(shapes):
    """{"params/...": array} of [[name, shape], ...]."""
    return {name: weight(name, tuple(shape)) for name, shape in shapes}


def boxes(name, *shape):
    """Boxes inside the unit square as centre and size."""
    r = np.random.default_rng(zlib.crc32(name.encode())).random((*shape, 4)).astype(np.float32)
    size = 0.05 + 0.4 * r[..., 2:]
    return np.concatenate([size / 2 + (1 - size) * r[..., :2], size], axis=-1)


def images(name, batch, height, width):
    """[batch, height, width, 3] float32."""
    r = np.random.default_rng(zlib.crc32(name.encode()))
    return r.standard_normal((batch, height, width, 3)).astype(np.float32)


def import_detr():
    """Scenic's DETR, with a stand-in for the module that ott dropped."""
    for name in ("ott", "ott.geometry", "ott.geometry.geometry", "ott.tools", "ott.tools.transport"):
        try:
            importlib.import_module(name)
        except ImportError:
            module = sys.modules[name] = types.ModuleType(name)
            parent, _, leaf = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], leaf, module)
    return importlib.import_module("scenic.projects.baselines.detr.model")


def nested(flat):
    tree = {}
    for name, array in flat.items():
        *path, leaf = name.split("/")
        node = tree
        for key in path:
            node = node.setdefault(key, {})
        node[leaf] = array
    return tree


def run(out):
    import jax
    import jax.numpy as jnp
    import ml_collections
    from flax.traverse_util import flatten_dict

    detr = import_detr()
    from scenic.model_lib.base_models import box_utils
    from scenic.projects.baselines import resnet, vit
    from scenic.projects.baselines.detr.detr_base_model import compute_cost

    def variables(name, net, image):
        shapes = jax.eval_shape(lambda: net.init(jax.random.PRNGKey(0), jnp.asarray(image), train=False))
        flat = {key: x.shape for key, x in flatten_dict(dict(shapes), sep="/").items()}
        found[f"{name}_shapes"] = np.array(json.dumps([[key, list(shape)] for key, shape in sorted(flat.items())]))
        return nested(state_of(json.loads(str(found[f"{name}_shapes"]))))

    found = {}
    image = images("detr", 2, 64, 96)
    image[1, :, 64:] = 0
    mask = np.ones((2, 64, 96), np.float32)
    mask[1, :, 64:] = 0
    net = detr.DETR(**DETR)
    result = net.apply(variables("detr", net, image), jnp.asarray(image), train=False, padding_mask=jnp.asarray(mask))
    layers = [*result["aux_outputs"], result]
    found |= {
        "detr_features": result["backbone_features"]["stage_4"],
        "detr_encoded": result["encoder_output"],
        "detr_logits": np.stack([layer["pred_logits"] for layer in layers]),
        "detr_boxes": np.stack([layer["pred_boxes"] for layer in layers]),
    }
    image = images("resnet", 2, 64, 64)
    net = resnet.ResNet(**RESNET)
    stages = net.apply(variables("resnet", net, image), jnp.asarray(image), train=False)
    found |= {f"resnet_{stage}": np.asarray(stages[f"stage_{stage}"]) for stage in (1, 2, 3, 4)}
    image = images("vit", 2, 32, 32)
    net = vit.ViT(**{**VIT, "num_classes": 0}, patches=ml_collections.ConfigDict({"size": (PATCH, PATCH)}))
    found["vit_feature"] = net.apply(variables("vit", net, image), jnp.asarray(image), train=False)

    a, b = (box_utils.box_cxcywh_to_xyxy(jnp.asarray(boxes(name, 2, n))) for name, n in (("a", 6), ("b", 4)))
    found |= {"xyxy_a": a, "cxcywh_a": box_utils.box_xyxy_to_cxcywh(a), "iou": box_utils.box_iou(a, b)[0]}
    found["giou"] = box_utils.generalized_box_iou(a, b)
    labels = np.array([[3, 1, 7, 0], [2, 5, 0, 0]])
    logits = np.random.default_rng(7).standard_normal((2, 6, 8)).astype(np.float32)
    probability = jax.nn.softmax(jnp.asarray(logits))
    cost, columns = compute_cost(
        tgt_labels=jnp.asarray(labels), out_prob=probability, tgt_bbox=jnp.asarray(boxes("b", 2, 4)),
        out_bbox=jnp.asarray(boxes("a", 2, 6)), target_is_onehot=False, **COSTS,
    )  # fmt: skip
    from scenic.model_lib.matchers import hungarian_matcher

    found |= {"labels": labels, "logits": logits, "cost": cost, "columns": columns}
    found["matching"] = hungarian_matcher(cost, n_cols=columns)
    np.savez_compressed(out, allow_pickle=False, **{name: np.asarray(value) for name, value in found.items()})


if __name__ == "__main__":
    run(sys.argv[1])
