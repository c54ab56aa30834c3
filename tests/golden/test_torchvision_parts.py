"""Detection parts against numbers from torchvision (torchvision_parts.npz, see its notes): backbones, pyramids,
anchors, IoU, losses, box coder, RoIAlign, NMS, box and mask heads, pasting."""

import json
import re
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.backbones.fpn import FPN, resnet_fpn_rule
from hoi_jax.backbones.resnet import ResNet
from hoi_jax.backbones.resnet_names import resnet_rule
from hoi_jax.evaluation.metrics.scene_maps import paste_mask
from hoi_jax.losses.elementwise import binary_focal, smooth_l1
from hoi_jax.nn.roi_heads import BoxHead, MaskHead
from hoi_jax.ops.anchors import cell_anchors, make_anchors
from hoi_jax.ops.boxes import class_nms, decode_boxes, encode_boxes, generalized_iou, pairwise_iou
from hoi_jax.ops.roi_align import pyramid_level, roi_align
from hoi_jax.serialization.conversion import convert_state
from hoi_jax.systems.cascade.convert import detector_rule
from tests.helpers.rule_weights import tree_of

NETWORK = {"rtol": 0, "atol": 1e-4}
CHANNELS = 256
"""Of every pyramid of torchvision's detectors."""
PLACE = {"0": 0, "1": 1, "2": 2, "3": 3, "pool": -1, "p6": -2, "p7": -1}


@pytest.fixture(scope="module")
def golden(golden_dir):
    return io.read_npz(golden_dir / "torchvision_parts.npz", max_bytes=2**28)


def test_the_file_holds_a_known_case(golden):
    assert {"coder/reference", "loss/giou", "meta_json"} & set(golden)


@pytest.fixture(scope="module")
def meta(golden):
    return json.loads(str(golden["meta_json"]))


def take(golden, *names):
    missing = [name for name in names if name not in golden]
    if missing:
        pytest.skip(f"the file lacks {missing}")
    return [golden[name] for name in names]


def normal(meta, name, shape):
    seed = zlib.crc32((meta["name_prefix"] + name).encode())
    return np.random.default_rng(seed).standard_normal(tuple(shape)).astype(np.float32)


def weight(meta, name, shape):
    z, leaf = normal(meta, name, shape), name.rsplit(".", 1)[-1]
    if len(shape) >= 2:
        return z / np.float32(np.sqrt(np.prod(shape[1:])))
    if leaf == "running_var":
        return 1 + np.float32(0.1) * np.abs(z)
    return np.float32(0.05) * z if leaf in ("bias", "running_mean") else 1 + np.float32(0.1) * z


def state_of(meta, model, prefixes=("",)):
    return {n: weight(meta, n, s) for n, s in meta["weights"][model].items() if n.startswith(prefixes)}


def image_of(meta, name):
    """[1, H, W, 3] of an image of the file, zeros right and below up to the size that its name gives."""
    if name == "odd":
        inner = outer = meta["cfg"]["odd"]
    else:
        inner, outer = next((p[:2], p[2:]) for p in meta["cfg"]["padded"] if f"pad{p[2]}x{p[3]}" == name)
    image = normal(meta, f"image/{name}", (3, *inner)).transpose(1, 2, 0)
    return np.pad(image, ((0, outer[0] - inner[0]), (0, outer[1] - inner[1]), (0, 0)))[None]


def channels_first(x):
    return np.asarray(x).transpose(0, 3, 1, 2)


def test_rule_weights_are_those_of_the_file(golden, meta):
    conv, image = take(golden, "check/conv1_first8", "check/image_odd_first8")
    ours = weight(meta, "conv1.weight", meta["weights"]["resnet50"]["conv1.weight"])
    np.testing.assert_allclose(ours.ravel()[:8], conv, rtol=1e-6)
    np.testing.assert_allclose(image_of(meta, "odd")[0].transpose(2, 0, 1).ravel()[:8], image, rtol=1e-6)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnet_stages_equal_torchvision(golden, meta, name):
    kind, sizes = {"resnet18": ("basic", (2, 2, 2, 2)), "resnet50": ("bottleneck", (3, 4, 6, 3))}[name]
    flat, unknown = convert_state(state_of(meta, name), lambda n, t: resnet_rule(n, t, prefix="net"))
    assert set(unknown) == {"fc.weight", "fc.bias"}
    tree = {collection: values["net"] for collection, values in tree_of(flat).items()}
    net = ResNet(sizes, kind=kind, mask_padding=False)
    image = image_of(meta, "odd")
    maps = jax.jit(lambda v, x: net.apply(v, x, jnp.asarray([x.shape[1:3]]), method="stages"))(tree, image)
    for number, x in enumerate(maps):
        (stored,) = take(golden, f"backbone/{name}/layer{number + 1}")
        ours = channels_first(x)
        np.testing.assert_allclose(ours[:, :: ours.shape[1] // stored.shape[1]], stored, **NETWORK)


def pyramid_cases(golden, model) -> dict[str, list[str]]:
    """{name of the image: levels of its pyramid} of all images on which the file has a model's pyramid."""
    cases: dict[str, list[str]] = {}
    for key in golden:
        if match := re.fullmatch(rf"{model}/(?:fpn_(odd)|(\d+x\d+)/fpn)/(\w+)", key):
            cases.setdefault(match[1] or f"pad{match[2]}", []).append(key)
    return cases


@pytest.mark.parametrize("model", ["retinanet_v1", "retinanet_v2", "fasterrcnn"])
def test_pyramids_equal_torchvision(golden, meta, model):
    cases = pyramid_cases(golden, model)
    if not cases:
        pytest.skip(f"the file has no pyramid of {model}")
    if model == "fasterrcnn":  # The file names its body as a ResNet and the rest as Mask R-CNN.
        shapes = {**meta["weights"]["maskrcnn"]}
        shapes |= {f"backbone.body.{n}": s for n, s in meta["weights"]["resnet50"].items()}
        state = {n: weight(meta, n, s) for n, s in shapes.items() if n.startswith("backbone.") and ".fc." not in n}
    else:
        state = state_of(meta, model, ("backbone.",))
    flat, unknown = convert_state(state, resnet_fpn_rule)
    assert not unknown
    tree = tree_of(flat)
    parts = [{c: v[part] for c, v in tree.items() if part in v} for part in ("backbone", "fpn")]
    first = 0 if model == "fasterrcnn" else 1
    fpn = FPN(
        extra="pool" if first == 0 else "p6p7", p6_source="c5" if model == "retinanet_v2" else "p5", mask_padding=False
    )
    net = ResNet(mask_padding=False)

    @jax.jit
    def pyramid(variables, x):
        hw = jnp.asarray([x.shape[1:3]])
        return fpn.apply(variables[1], net.apply(variables[0], x, hw, method="stages")[first:], hw, 4 * 2**first)

    for name, keys in cases.items():
        levels = pyramid(parts, image_of(meta, name))
        for key in keys:
            stored, ours = golden[key], channels_first(levels[PLACE[key.rsplit("/", 1)[-1]]])
            np.testing.assert_allclose(ours[:, :: ours.shape[1] // stored.shape[1]], stored, **NETWORK, err_msg=key)


def test_anchors_equal_torchvision(golden, meta):
    (cells,) = take(golden, "anchors/cell")
    np.testing.assert_array_equal(cell_anchors([32 * 2**level for level in range(len(cells))]), cells)
    assert meta["grids"]
    for name, grid in meta["grids"].items():
        (stored,) = take(golden, f"anchors/{name}")
        hw = tuple(int(n) for n in name.split("x"))
        np.testing.assert_array_equal(make_anchors(hw, [tuple(g) for g in grid], cells), stored)


def test_iou_and_generalised_iou_equal_torchvision(golden):
    """Where torchvision divides zero by zero, ours is 0; boxes with corners out of order have no area here."""
    a, b, iou, giou = take(golden, "iou/boxes1", "iou/boxes2", "iou/box_iou", "iou/giou")
    upright = (a[:, 2:] >= a[:, :2]).all(1)[:, None] & (b[:, 2:] >= b[:, :2]).all(1)[None]
    ours = np.asarray(pairwise_iou(jnp.asarray(a), jnp.asarray(b)))
    np.testing.assert_allclose(ours[upright], np.nan_to_num(iou)[upright], atol=1e-5)
    ours = np.asarray(generalized_iou(jnp.asarray(a)[:, None], jnp.asarray(b)[None]))
    good = upright & ~np.isnan(giou)
    np.testing.assert_allclose(ours[good], giou[good], atol=1e-5)
    assert upright.mean() > 0.5


@pytest.mark.parametrize("name, alpha, gamma", [("focal_a25_g2", 0.25, 2.0), ("focal_am1_g1p5", None, 1.5)])
def test_focal_loss_and_gradient_equal_torchvision(golden, name, alpha, gamma):
    logits, labels, stored, gradient = take(golden, "loss/logits", "loss/targets", f"loss/{name}", f"loss/{name}_grad")

    def total(x):
        loss = binary_focal(x, jnp.asarray(labels > 0), alpha=alpha, gamma=gamma)
        return jnp.sum(loss), loss

    (_, ours), slope = jax.value_and_grad(total, has_aux=True)(jnp.asarray(logits))
    scale = np.maximum(1, np.abs(stored))
    np.testing.assert_allclose(ours / scale, stored / scale, atol=1e-5)
    np.testing.assert_allclose(slope, gradient, atol=1e-5)


def assert_close(ours, stored):
    """1e-5 relative to the larger of 1 and the stored value."""
    scale = np.maximum(1, np.abs(stored))
    np.testing.assert_allclose(np.asarray(ours) / scale, stored / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name, stds", [("w1", (1.0,) * 4), ("w10", (0.1, 0.1, 0.2, 0.2))])
def test_box_coder_equals_torchvision(golden, name, stds):
    reference, proposals, codes, encoded, decoded = take(
        golden, "coder/reference", "coder/proposals", "coder/codes", f"coder/encode_{name}", f"coder/decode_{name}"
    )
    assert_close(encode_boxes(proposals, reference, stds), encoded)
    for start in range(0, codes.shape[1], 4):
        ours = decode_boxes(proposals, codes[:, start : start + 4], stds, clip_shrinking=False)
        assert_close(ours, decoded[:, start : start + 4])
    (triplet,) = take(golden, f"coder/roundtrip_{name}")
    assert_close(decode_boxes(proposals, encode_boxes(proposals, reference, stds), stds, clip_shrinking=False), triplet)


@pytest.mark.parametrize("beta, name", [(1 / 9, "sl1_b1_9"), (1.0, "sl1_b1")])
def test_smooth_l1_and_gradient_equal_torchvision(golden, beta, name):
    a, b, value, slope = take(golden, "loss/sl1_pred", "loss/sl1_target", f"loss/{name}", f"loss/{name}_grad")
    assert_close(smooth_l1(a, b, beta=beta), value)
    assert_close(jax.grad(lambda x: jnp.sum(smooth_l1(x, b, beta=beta)))(a), slope)


def test_generalised_iou_loss_and_gradient_equal_torchvision(golden):
    a, b, value, slope = take(golden, "loss/giou_pred", "loss/giou_target", "loss/giou", "loss/giou_grad")
    assert_close(1 - generalized_iou(a, b), value)
    assert_close(jax.grad(lambda x: jnp.sum(1 - generalized_iou(x, b)))(a), slope)


def pooled(features, rois, stride, **options):
    """[N, r, r, C] from maps [B, h, w, C] of a single level and boxes (image, corners)."""

    def one(feature, boxes):
        size = jnp.asarray([feature.shape[:2]], jnp.int32)
        return roi_align((feature,), boxes, jnp.zeros(len(boxes), jnp.int32), size, strides=(stride,), **options)

    boxes = jnp.asarray(rois[:, 1:])
    each = jax.vmap(lambda f: one(f, boxes))(features)
    return each[jnp.asarray(rois[:, 0].astype(int)), jnp.arange(len(rois))]


def roi_settings(meta, rois, size):
    """Stride of the map, and the most samples that a bin of a `size` x `size` grid takes along an axis."""
    scale = meta["roi"]["spatial_scale"]
    return 1 / scale, int(np.ceil((rois[:, 3:] - rois[:, 1:3]).max() * scale / size))


@pytest.mark.parametrize("kind", ["aligned", "legacy"])
@pytest.mark.parametrize("samples", [2, None])
def test_roi_align_equals_torchvision(golden, meta, kind, samples):
    """Also for boxes over the border, outside, tiny, without area and larger than the map."""
    feature, rois = take(golden, "roi/feature", "roi/rois")
    maps = jnp.asarray(feature.transpose(0, 2, 3, 1))
    prefix = f"roi/out_{kind}_{'sr2' if samples else 'srm1'}_"
    names = [key for key in golden if key.startswith(prefix)]
    if not names:
        pytest.skip(f"the file lacks {prefix}*")
    for name in names:
        size = golden[name].shape[-1]
        stride, limit = roi_settings(meta, rois, size)
        run = jax.jit(lambda m, n=size, stride=stride, limit=limit: pooled(
            m, rois, stride, size=n, samples=samples, max_samples=limit, aligned=kind == "aligned"
        ))  # fmt: skip
        np.testing.assert_allclose(channels_first(run(maps)), golden[name], rtol=0, atol=5e-5)


@pytest.mark.parametrize("kind, samples", [("aligned", 2), ("legacy", None)])
def test_gradient_of_roi_align_equals_torchvision(golden, meta, kind, samples):
    feature, rois, weights = take(golden, "roi/feature", "roi/rois", "roi/grad_output")
    size = weights.shape[-1]
    (stored,) = take(golden, f"roi/grad_{kind}_{'sr2' if samples else 'srm1'}_{size}")
    stride, limit = roi_settings(meta, rois, size)

    def total(maps):
        options = {"samples": samples, "max_samples": limit, "aligned": kind == "aligned"}
        return jnp.sum(pooled(maps, rois, stride, size=size, **options) * weights.transpose(0, 2, 3, 1))

    slope = jax.jit(jax.grad(total))(jnp.asarray(feature.transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(channels_first(slope), stored, rtol=0, atol=5e-5)


MULTI_SCALE_HW = (512, 640)
"""The image of the pooling over a pyramid: part of the rule that draws its features, and not stored."""


def test_levels_and_pooling_over_a_pyramid_equal_torchvision(golden, meta):
    boxes, levels, wanted = take(golden, "ms/boxes", "ms/levels", "ms/out")
    levels = levels - 2  # The file numbers P2 to P5.
    np.testing.assert_array_equal(pyramid_level(boxes, 4), levels)
    strides, (height, width) = (4, 8, 16, 32), MULTI_SCALE_HW
    shapes = [(1, wanted.shape[1], height // stride, width // stride) for stride in strides]
    maps = [normal(meta, f"ms/feat{i}", shape)[0].transpose(1, 2, 0) for i, shape in enumerate(shapes)]
    sizes = jnp.asarray([m.shape[:2] for m in maps], jnp.int32)
    out = jax.jit(lambda m: roi_align(
        m, jnp.asarray(boxes), jnp.asarray(levels), sizes, strides=strides, size=wanted.shape[-1], aligned=False
    ))(tuple(map(jnp.asarray, maps)))  # fmt: skip
    np.testing.assert_allclose(channels_first(out), wanted, rtol=0, atol=5e-5)
    other, numbers = take(golden, "level/boxes", "level/k2_5")
    np.testing.assert_array_equal(np.asarray(pyramid_level(other, 4)) + 2, numbers)


def test_nms_keeps_what_torchvision_keeps(golden):
    boxes, classes = take(golden, "nms/boxes", "nms/classes")
    run = jax.jit(class_nms, static_argnames="overlap")
    seen = 0
    for key in golden:
        kind, _, threshold = key.removeprefix("nms/").rpartition("_")
        if key.startswith("nms/") and kind.startswith(("keep", "batched")):
            scores = golden["nms/scores_tied" if "tied" in kind else "nms/scores"]
            label = classes if kind.startswith("batched") else np.zeros_like(classes)
            kept = run(boxes, scores, label, np.ones(len(boxes), bool), overlap=float(threshold))
            np.testing.assert_array_equal(np.flatnonzero(kept), np.sort(golden[key]), err_msg=key)
            order = np.argsort(-scores, kind="stable")
            if kind != "batched_tied":
                np.testing.assert_array_equal(order[np.asarray(kept)[order]], golden[key], err_msg=key)
            seen += 1
    assert seen
    odd, keep = take(golden, "nms/degenerate_boxes", "nms/degenerate_keep_0.5")
    rank = -np.arange(len(odd), dtype=np.float32)
    kept = run(odd, rank, np.zeros(len(odd), np.int32), np.ones(len(odd), bool), overlap=0.5)
    assert len(np.flatnonzero(kept)) == len(keep)


@pytest.fixture(scope="module")
def mask_rcnn(meta):
    """Head parameters of torchvision's Mask R-CNN by our converter."""
    state = state_of(meta, "maskrcnn", ("roi_heads.", "rpn."))
    flat, unknown = convert_state(state, detector_rule)
    assert not unknown
    return tree_of(flat)["params"]


def test_box_head_equals_torchvision(golden, meta, mask_rcnn):
    scores, deltas = take(golden, "boxhead/cls_score", "boxhead/bbox_pred")
    hidden, inputs = meta["weights"]["maskrcnn"]["roi_heads.box_head.fc6.weight"]
    side = int(np.sqrt(inputs // CHANNELS))
    head = BoxHead(scores.shape[1] - 1, hidden, deltas.shape[1])
    rois = normal(meta, "boxhead/roi", (len(scores), CHANNELS, side, side)).transpose(0, 2, 3, 1)[None]
    ours = head.apply({"params": mask_rcnn["box_heads_0"]}, rois)
    np.testing.assert_allclose(ours[0][0], scores, **NETWORK)
    np.testing.assert_allclose(ours[1][0], deltas, **NETWORK)


def test_mask_head_equals_torchvision(golden, meta, mask_rcnn):
    features, logits = take(golden, "maskhead/features", "maskhead/logits")
    classes = meta["weights"]["maskrcnn"]["roi_heads.mask_predictor.mask_fcn_logits.weight"][0]
    shape = (len(features), CHANNELS, *features.shape[2:])
    rois = normal(meta, "maskhead/roi", shape).transpose(0, 2, 3, 1)
    ours = jax.jit(MaskHead(classes - 1).apply)({"params": mask_rcnn["mask_heads_0"]}, rois)
    steps = CHANNELS // features.shape[1], -(-classes // logits.shape[1])
    np.testing.assert_allclose(channels_first(ours[0])[:, :: steps[0]], features, **NETWORK)
    np.testing.assert_allclose(channels_first(ours[1])[:, :: steps[1]], logits, **NETWORK)


def test_pasted_masks_equal_torchvision(golden):
    masks, boxes, stored = take(golden, "paste/masks", "paste/boxes", "paste/out")
    for mask, box, wanted in zip(masks, boxes, stored, strict=True):
        ours = paste_mask(mask[0], box, wanted.shape[1:])
        np.testing.assert_allclose(ours, wanted[0], rtol=0, atol=1e-5)
