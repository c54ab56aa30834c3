"""From a JPEG to ranked triplets as the authors' evaluation has it: QPIC, CDN and body-part at full size.

The library's own image path, configs, network and prediction code run; weights follow the file's rule.
"""

import functools
import json
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import PIL
import pytest
from PIL import features

from configs import body_part_hico_det_cdn, body_part_hico_det_qpic, body_part_hico_det_release
from hoi_jax import io
from hoi_jax.backbones.resnet import normalised_pixels
from hoi_jax.backbones.settings import ResNetSettings
from hoi_jax.data.changes import short_side_hw
from hoi_jax.data.pixels import decode_rgb, resize_image
from hoi_jax.ops.scoring import pair_nms
from hoi_jax.settings import from_config
from hoi_jax.systems.body_part import model as inputs_module
from hoi_jax.systems.body_part.config import BodyPartConfig
from hoi_jax.systems.body_part.interactiveness import part_cells
from hoi_jax.systems.body_part.model import HoiTransformer, network_inputs
from hoi_jax.systems.body_part.predict import make_predict
from hoi_jax.vocab import get_vocabulary
from tests.helpers import rule_weights as rule
from tests.helpers.set_cases import detections_with_parts, parts_in_poses

CONFIGS = {
    "qpic": body_part_hico_det_qpic.get_config,
    "cdn": body_part_hico_det_cdn.get_config,
    "bodypart": body_part_hico_det_release.get_config,
}
NETS = {"qpic": "qpic", "cdn": "cdn_S"}
SHORT, LONG, STRIDE = 800, 1333, 32
BOX, BOX_PX, LOGIT, SCORE, NORMAL, OVERLAP = 1e-4, 0.05, 1e-3, 2e-4, 1e-6, 1e-4
"""Tolerances of the golden's notes; the last is how near to a threshold of suppression an overlap may lie."""
INTERACTIVE_NMS = 0.6
VOCABULARY = get_vocabulary("hico_det")


@pytest.fixture(scope="module")
def golden(golden_dir):
    return io.read_npz(golden_dir / "file_to_score.npz", max_bytes=2**28)


@pytest.fixture(scope="module")
def meta(golden):
    return json.loads(str(golden["meta_json"]))


@pytest.fixture(scope="module")
def images(golden, meta, data_dir):
    """{number: (pixels of the file, pixels at DETR's size)} of all images that are there."""
    files = next(meta[name]["files"] for name in CONFIGS if name in meta)
    made = {}
    for number, name in enumerate(files):
        decoded = decode_rgb((data_dir / name).read_bytes(), name)
        size = short_side_hw(np.array([decoded.shape[:2]]), SHORT, LONG)[0]
        made[number] = decoded, resize_image(decoded, (int(size[0]), int(size[1])))
    return made


def test_the_file_holds_a_known_case(golden, meta):
    assert any(name in meta for name in CONFIGS) and "image0/decoded_size_hw" in golden


def sampled(row: np.ndarray) -> np.ndarray:
    """The 24 pixels of a row [w, 3] that are stored."""
    return row[:: max(1, len(row) // 24)][:24]


def test_decoded_and_resized_pixels_are_the_authors(golden, meta, images):
    theirs = meta["versions"]
    same = PIL.__version__ == theirs["pillow"] and features.version("libjpeg_turbo") == theirs["libjpeg_turbo"]
    for number, pair in images.items():
        for stage, pixels in zip(("decoded", "resized"), pair, strict=True):
            key = f"image{number}/{stage}_"
            np.testing.assert_array_equal(pixels.shape[:2], golden[f"{key}size_hw"], err_msg=key)
            if same:
                assert zlib.crc32(np.ascontiguousarray(pixels).tobytes()) == int(golden[f"{key}crc32"]), key
            for row, name in ((pixels[0], "first_row"), (pixels[-1], "last_row")):
                far = np.abs(sampled(row).astype(int) - golden[key + name].astype(int)).max()
                assert far <= (0 if same else 2), key + name
            slack = 1e-9 if same else 0.5
            np.testing.assert_allclose(pixels.mean((0, 1)), golden[f"{key}mean"], atol=slack, err_msg=key)
            np.testing.assert_allclose(pixels.std((0, 1)), golden[f"{key}std"], atol=slack, err_msg=key)


def test_normalised_pixels_are_the_authors(golden, meta, images):
    same = PIL.__version__ == meta["versions"]["pillow"]
    slack = NORMAL if same else 2 / (0.22 * 255)
    for number, (_, resized) in images.items():
        got = np.asarray(normalised_pixels(resized[None], np.array([resized.shape[:2]]), ResNetSettings()))[0]
        for row, name in ((got[0], "first_row"), (got[-1], "last_row")):
            np.testing.assert_allclose(
                sampled(row).T, golden[f"image{number}/normalised_{name}"], rtol=1e-6, atol=slack
            )
        wide = got.astype(np.float64)
        np.testing.assert_allclose(wide.mean((0, 1)), golden[f"image{number}/normalised_mean"], atol=slack)
        np.testing.assert_allclose(wide.std((0, 1)), golden[f"image{number}/normalised_std"], atol=slack)


def resized_parts(golden, number: int, original_hw, hw) -> np.ndarray:
    """Part boxes [P, 10, 4] of an image in pixels of its resized image."""
    boxes = golden[f"bodypart/image{number}/part_boxes"].astype(np.float32)
    ratio = np.asarray(hw, np.float32) / np.asarray(original_hw, np.float32)
    return boxes * np.tile(ratio[::-1], 2)


def test_part_masks_are_the_loaders(golden, images):
    seen = 0
    for number, (decoded, resized) in images.items():
        key = f"bodypart/image{number}/mask_part"
        if key not in golden:
            continue
        boxes = resized_parts(golden, number, decoded.shape[:2], resized.shape[:2])
        valid = np.ones((1, len(boxes), 10), bool)
        got = part_cells(boxes[None], valid, grid=golden[key].shape[1:], stride=STRIDE, rule="floor")
        np.testing.assert_array_equal(~np.asarray(got)[0].reshape(golden[key].shape), golden[key], err_msg=key)
        seen += 1
    if not seen:
        pytest.skip("the file has no body parts")


class Method:
    """One network with its weights, run on batches of images."""

    def __init__(self, name: str, golden, meta: dict, lists: dict):
        self.name, self.golden = name, golden
        model = CONFIGS[name]().model
        model.queries = meta[name]["model"]["queries"]
        if name == "cdn":
            of = meta[name]["model"]
            powers = {"threshold": of["thres_nms"], "human_power": of["nms_alpha"], "object_power": of["nms_beta"]}
            assert model.predict.product_nms.threshold == of["thres_nms"]
            model.predict.product_nms.update(powers)
        self.config = from_config(BodyPartConfig, model.to_dict())
        self.net = HoiTransformer(self.config, len(VOCABULARY.objects), len(VOCABULARY.verbs))
        params = [dict(p) for p in lists[NETS.get(name, name)] if not p["name"].startswith("matching_embed")]
        for entry in params:
            if entry["name"] == "query_embed.weight":
                entry["shape"] = [self.config.queries, *entry["shape"][1:]]
        self.variables = rule.variables_of(params, meta[name]["name_prefix"], meta[name]["extra_rules"])

    def batch(self, images: dict, numbers: list[int]) -> dict[str, np.ndarray]:
        """The library's fields of some images, padded to their largest sides."""
        decoded, resized = zip(*(images[n] for n in numbers), strict=True)
        original = np.array([x.shape[:2] for x in decoded], np.int32)
        hw = np.array([x.shape[:2] for x in resized], np.int32)
        fields = {"image": rule.padded(list(resized)), "image_hw_px": hw, "original_hw_px": original}
        if self.config.uses_parts:
            parts = [resized_parts(self.golden, n, original[i], hw[i]) for i, n in enumerate(numbers)]
            most = max(1, *(len(p) for p in parts))
            for i, boxes in enumerate(parts):
                rows = detections_with_parts(
                    np.pad(boxes, ((0, most - len(boxes)), (0, 0), (0, 0))), VOCABULARY.human_class
                )
                rows["detections_valid"] = np.arange(most) < len(boxes)
                for key, column in rows.items():
                    fields.setdefault(key, np.zeros((len(numbers), *column.shape), column.dtype))[i] = column
        return fields

    @functools.cached_property
    def compiled(self):
        """(variables, batch) -> outputs of the network."""
        human = VOCABULARY.human_class
        return jax.jit(lambda variables, batch: self.net.apply(variables, *network_inputs(batch, self.config, human)))

    def run(self, batch: dict) -> tuple[dict, dict]:
        """Outputs of the network, and what the prediction code makes of them, boxes in pixels of the originals."""
        outputs = jax.device_get(self.compiled(self.variables, batch))

        class Ran(HoiTransformer):
            """The network, already run."""

            def apply(self, variables, *inputs):
                return {key: jnp.asarray(value) for key, value in outputs.items()}

        ran = Ran(self.config, self.net.num_classes, self.net.num_verbs)
        found = {k: np.asarray(v) for k, v in make_predict(ran, self.config, VOCABULARY)({}, batch).items()}
        scale = np.tile((batch["original_hw_px"] / batch["image_hw_px"])[:, None, ::-1], 2)
        for key in ("human_xyxy_px", "object_xyxy_px"):
            found[key] = found[key] * scale
        return outputs, found


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((name, which), id=f"{name}-{which}", marks=[pytest.mark.slow] if which == "all" else [])
        for name in CONFIGS
        for which in ("smallest", "all")
    ],
)
def runs(request, golden, meta, images, golden_dir):
    """(method, [(numbers of the batch, outputs, predictions)]): one batch in the ordinary suite, else all."""
    name, which = request.param
    if name not in meta:
        pytest.skip(f"the file has no method {name}")
    lists = json.loads((golden_dir / "qpic_cdn_params.json").read_text())
    lists["bodypart"] = json.loads((golden_dir / "bodypart_params.json").read_text())
    method = Method(name, golden, meta, lists)
    batches = meta[name]["batches"]
    if which == "smallest":
        batches = [min((b for b in batches if len(b) == 1), key=lambda b: images[b[0]][1].size)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs_module, "part_boxes_from_pose", parts_in_poses)
        done = [(numbers, *method.run(method.batch(images, numbers))) for numbers in batches]
    return method, done


def prefix_of(method: Method, numbers: list[int]) -> str:
    return f"{method.name}/batch_{'_'.join(map(str, numbers))}/"


def test_features_and_memory(golden, runs):
    method, done = runs
    for numbers, outputs, _ in done:
        key = prefix_of(method, numbers)
        maps = outputs["features"]
        batch, height, width, channels = maps.shape
        assert [batch, channels, height, width] == golden[f"{key}feat_size"].tolist()
        mean = maps.mean((1, 2), dtype=np.float64)[:, ::64]
        np.testing.assert_allclose(mean, golden[f"{key}feat_mean"], atol=LOGIT, err_msg=key)
        padding = (~outputs["token_valid"]).sum(axis=1)
        np.testing.assert_array_equal(padding, golden[f"{key}feat_padding_cells"])
        cells = height * width
        got = outputs["memory"][:, [0, cells // 3, cells // 2], ::4]
        np.testing.assert_allclose(got, golden[f"{key}memory_cells"], atol=LOGIT, err_msg=key)


def test_outputs_of_the_last_layer(golden, runs):
    method, done = runs
    for numbers, outputs, _ in done:
        key = prefix_of(method, numbers)
        stored = {
            "pred_sub_boxes": (outputs["human_cxcywh"][-1], BOX),
            "pred_obj_boxes": (outputs["object_cxcywh"][-1], BOX),
            "pred_obj_logits_s2": (outputs["object_logits"][-1][..., ::2], LOGIT),
        }
        if "verb_logits" in outputs:
            stored["pred_verb_logits_s4"] = outputs["verb_logits"][-1][..., ::4], LOGIT
        if "part_logits" in outputs:
            stored["pred_binary_logits"] = outputs["interactiveness_logits"][-1], LOGIT
            stored["pred_part_binary_logits"] = np.moveaxis(outputs["part_logits"], 2, 0), LOGIT
        for name, (got, slack) in stored.items():
            np.testing.assert_allclose(got, golden[key + name], rtol=0, atol=slack, err_msg=key + name)


def test_boxes_and_classes_in_pixels_of_the_file(golden, runs):
    method, done = runs
    for numbers, outputs, found in done:
        for row, number in enumerate(numbers):
            key = f"{prefix_of(method, numbers)}img{number}_"
            for name in ("human", "object"):
                got = found[f"{name}_xyxy_px"][row]
                np.testing.assert_allclose(got, golden[f"{key}{name}_xyxy"], rtol=0, atol=BOX_PX, err_msg=key + name)
            logits = np.sort(outputs["object_logits"][-1][row][:, :-1], axis=-1)
            clear = logits[:, -1] - logits[:, -2] > 2 * LOGIT
            np.testing.assert_array_equal(found["object_class"][row][clear], golden[f"{key}object_class"][clear])


def assert_same_ranks(got: list, wanted: list, scores: np.ndarray, message: str) -> None:
    """Equal order wherever neighbouring scores are farther apart than twice the tolerance, otherwise equal sets.

    The last group may be cut off by the length of the list, so that others of the same score stand for its members.
    """
    assert len(got) == len(wanted), message
    cuts = np.flatnonzero(scores[:-1] - scores[1:] > 2 * SCORE) + 1
    for group in np.split(np.arange(len(wanted)), cuts)[:-1]:
        assert {got[i] for i in group} == {wanted[i] for i in group}, f"{message}: ranks {group[0]} to {group[-1]}"


def ranked(scores: np.ndarray, most: int) -> list[tuple[int, int]]:
    """(query, verb) of the best scores, stable."""
    order = np.argsort(-scores.ravel(), kind="stable")[:most]
    return [(int(i) // scores.shape[1], int(i) % scores.shape[1]) for i in order]


def all_scores(method: Method, outputs: dict, batch_size: int, found: dict) -> np.ndarray:
    """Scores of allowed triplets before suppression [B, Q, V], by the prediction code without it."""
    if method.config.predict.product_nms.threshold is None:
        return found["verb_scores"]
    values = CONFIGS[method.name]().model.to_dict()
    values["predict"] = {"pair_nms": None}
    values["queries"] = method.config.queries
    config = from_config(BodyPartConfig, values)
    ran = type("Ran", (), {"apply": staticmethod(lambda *_: {k: jnp.asarray(v) for k, v in outputs.items()})})
    blank = {"image": np.zeros((batch_size, 8, 8, 3), np.uint8), "image_hw_px": np.full((batch_size, 2), 8, np.int32)}
    return np.asarray(make_predict(ran, config, VOCABULARY)({}, blank)["verb_scores"])  # type: ignore[arg-type]


def test_ranked_triplets(golden, runs):
    method, done = runs
    if method.name == "bodypart":
        pytest.skip("the released settings predict no verbs: its ranks are those of interactiveness")
    for numbers, outputs, found in done:
        scores = all_scores(method, outputs, len(numbers), found)
        for row, number in enumerate(numbers):
            key = f"{prefix_of(method, numbers)}img{number}_"
            query, label, verb = golden[f"{key}top_query_object_verb"].T.astype(int)
            wanted = golden[f"{key}top_scores"]
            np.testing.assert_allclose(scores[row][query, verb], wanted, rtol=0, atol=SCORE, err_msg=key)
            np.testing.assert_array_equal(label, golden[f"{key}object_class"][query])
            boxes = np.concatenate([found[f"{n}_xyxy_px"][row][query] for n in ("human", "object")], axis=1)
            np.testing.assert_allclose(boxes, golden[f"{key}top_boxes"], rtol=0, atol=BOX_PX, err_msg=key)
            got = ranked(scores[row], len(wanted))
            assert_same_ranks(got, list(zip(query.tolist(), verb.tolist(), strict=True)), wanted, key)


def overlaps(found: dict, row: int, human_power: float, object_power: float) -> np.ndarray:
    """[Q, Q] products of the inclusive overlaps of humans and objects."""

    def iou(boxes):
        low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
        high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        inter = np.clip(high - low + 1, 0, None).prod(-1)
        area = (boxes[:, 2:] - boxes[:, :2] + 1).prod(-1)
        return inter / (area[:, None] + area[None] - inter)

    human, obj = (found[f"{n}_xyxy_px"][row].astype(np.float64) for n in ("human", "object"))
    return iou(human) ** human_power * iou(obj) ** object_power


def test_triplets_after_suppression(golden, runs):
    """CDN's list; a triplet may differ only where a score or an overlap lies within the tolerance of a decision."""
    method, done = runs
    nms = method.config.predict.product_nms
    if nms.threshold is None:
        pytest.skip(f"{method.name} suppresses no triplets")
    for numbers, outputs, found in done:
        scores = all_scores(method, outputs, len(numbers), found)
        for row, number in enumerate(numbers):
            key = f"{prefix_of(method, numbers)}img{number}_"
            query, _, verb = golden[f"{key}nms_query_object_verb"].T.astype(int)
            wanted = set(zip(query.tolist(), verb.tolist(), strict=True))
            got = set(zip(*(axis.tolist() for axis in np.nonzero(found["verb_scores"][row])), strict=True))
            np.testing.assert_allclose(scores[row][query, verb], golden[f"{key}nms_scores"], rtol=0, atol=SCORE)
            last = golden[f"{key}top_scores"][-1]
            product = overlaps(found, row, nms.human_power, nms.object_power)
            for q, v in got ^ wanted:
                close = np.abs(product[q] - nms.threshold) < OVERLAP
                tied = (np.abs(scores[row][:, v] - scores[row][q, v]) < 2 * SCORE) & (product[q] > nms.threshold)
                tied[q] = False
                assert close.any() or tied.any() or abs(scores[row][q, v] - last) < 2 * SCORE, f"{key}{q}, {v}"
            assert len(got ^ wanted) <= len(wanted) // 10, key


def test_interactiveness_its_order_and_its_suppression(golden, runs):
    method, done = runs
    if method.name != "bodypart":
        pytest.skip(f"{method.name} has no interactiveness here")
    for numbers, _, found in done:
        for row, number in enumerate(numbers):
            key = f"{prefix_of(method, numbers)}img{number}_"
            score = found["interactiveness"][row]
            np.testing.assert_allclose(score, golden[f"{key}interactiveness"], rtol=0, atol=SCORE, err_msg=key)
            np.testing.assert_allclose(found["part_scores"][row].T, golden[f"{key}part_scores"], rtol=0, atol=SCORE)
            np.testing.assert_allclose(found["object_score"][row], golden[f"{key}object_score"], rtol=0, atol=SCORE)
            order, wanted = np.argsort(-score, kind="stable"), golden[f"{key}order"]
            assert_same_ranks(order.tolist(), wanted.tolist(), golden[f"{key}interactiveness"][wanted], key)
            human, obj = (found[f"{n}_xyxy_px"][row].astype(np.float32) for n in ("human", "object"))
            stays = pair_nms(human, obj, np.zeros(len(score), np.int32), jnp.asarray(score), threshold=INTERACTIVE_NMS)
            got, kept = set(np.flatnonzero(stays).tolist()), set(golden[f"{key}nms_kept"].tolist())
            both = np.minimum(plain_iou(human), plain_iou(obj))
            for q in got ^ kept:
                close = np.abs(both[q] - INTERACTIVE_NMS) < OVERLAP
                tied = (np.abs(score - score[q]) < 2 * SCORE) & (both[q] > INTERACTIVE_NMS)
                tied[q] = False
                assert close.any() or tied.any(), f"{key}{q}"
            assert len(got ^ kept) <= max(1, len(kept) // 10), key


def plain_iou(boxes: np.ndarray) -> np.ndarray:
    """[Q, Q] overlaps of continuous boxes."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return inter / np.maximum(area[:, None] + area[None] - inter, 1e-9)
