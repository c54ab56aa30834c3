"""Cascade's evaluators and small parts equal the official code on made-up inputs (`cascade_eval.json`)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.evaluation.metrics.hoi_w import evaluate_hoi_w
from hoi_jax.evaluation.metrics.pic import OFFICIAL_WH, RELATIONS, Scene, evaluate_pic, group_recall, recalled_triplets
from hoi_jax.formats.labels.hoi_w import read_hoi_w
from hoi_jax.losses.metric_learning import pair_ranking_loss, separated_ranking_loss
from hoi_jax.nn.roi_heads import MaskHead
from hoi_jax.ops.boxes import decode_boxes, encode_boxes
from hoi_jax.ops.roi_align import pyramid_level
from hoi_jax.systems.cascade import relation_features
from hoi_jax.systems.cascade.relation_features import NonLocal, semantic_context
from hoi_jax.systems.cascade.targets import pair_labels
from hoi_jax.vocab import get_vocabulary

PIC_CASES = {"resized_640x480": OFFICIAL_WH, "native_size": None}


@pytest.fixture(scope="module")
def golden(golden_dir):
    return io.read_json(golden_dir / "cascade_eval.json")


def test_the_file_holds_a_known_case(golden):
    assert {"pic_recall", "hoiw_map", "small"} & set(golden)


def small(golden, name):
    if name not in golden.get("small", {}):
        pytest.skip(f"the file has no case small.{name}")
    return golden["small"][name]


def channels_last(value):
    return np.asarray(value, np.float32).transpose(1, 2, 0)


def test_ranking_loss_and_gradients_equal_margin_ranking_over_all_pairs(golden):
    case = small(golden, "ranking_loss")
    better, worse = (np.asarray(case[f"{name}_scores"], np.float32) for name in ("annotated", "unannotated"))

    def total(a, b):
        valid = (jnp.ones(a.shape, bool), jnp.ones(b.shape, bool))
        value, count = pair_ranking_loss(a, b, *valid, margin=case["margin"])
        return value / count, value

    (mean, value), slopes = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(better, worse)
    assert float(value) == pytest.approx(case["all_pairs_sum"], rel=1e-6)
    assert float(mean) == pytest.approx(case["all_pairs_mean"], rel=1e-6)
    np.testing.assert_allclose(slopes[0], case["d_mean_d_annotated"], atol=1e-6)
    np.testing.assert_allclose(slopes[1], case["d_mean_d_unannotated"], atol=1e-6)


def test_the_released_ranking_head_has_the_losses_of_the_authors(golden):
    case = small(golden, "released_rank_head_loss")
    names = ("scores_first", "scores_second", "embedding_first", "embedding_second")
    first, second, *hidden = (np.asarray(case[name], np.float32) for name in names)
    terms = separated_ranking_loss(first[:, 0], second[:, 0], *hidden)
    assert float(terms["rank"]) == pytest.approx(case["rank_term"], rel=1e-5)
    assert float(terms["cosine"]) == pytest.approx(case["cosine_term"], rel=1e-5)
    norms = case["l2_first_over_n"] + case["l2_second_over_n"]
    assert float(terms["norm"]) == pytest.approx(1e-4 * norms, rel=1e-5)
    assert float(sum(terms.values())) == pytest.approx(case["total"], rel=1e-6)


def test_semantic_mining_equals_equations_5_to_7(golden):
    case = small(golden, "ihsm_eq5_7")
    human = channels_last(case["H"])
    context = semantic_context(human)
    np.testing.assert_allclose(context, channels_last(case["context"]), atol=1e-6)
    np.testing.assert_allclose(human + context, channels_last(case["H_bar"]), atol=1e-6)


def test_non_local_block_with_inverted_scale_equals_the_release(golden):
    case = small(golden, "released_nonlocal")
    params = {
        {"conv_out": "out"}.get(name, name): {
            "kernel": np.asarray(w["weight_out_in"], np.float32).T, "bias": np.asarray(w["bias"], np.float32),
        }
        for name, w in case["params"].items()
    }  # fmt: skip
    block = NonLocal(len(case["params"]["g"]["bias"]), inverted_scale=True)
    out = block.apply({"params": params}, channels_last(case["x"]))
    np.testing.assert_allclose(out, channels_last(case["output"]), atol=1e-6)


@pytest.mark.parametrize("name", ["must_overlap", "all_pairs"])
def test_semantic_prior_equals_the_release(golden, name):
    case = small(golden, "semantic_prior")
    expected = case["results"][name]
    relations, images = [], []
    for rows in case["annotations_center_xywh"].values():
        entities = {}
        for row in rows:
            relations.append([row["subject"]["category"] - 1, row["object"]["category"] - 1, row["predicate"] - 1])
            for side in ("subject", "object"):
                x, y, w, h = row[side]["bbox"]
                box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
                entities[(*box, row[side]["category"])] = row[side]["category"] - 1
        images.append((np.array([key[:4] for key in entities]), np.array(list(entities.values()))))
    classes, verbs = case["num_classes_without_background"], case["num_predicates"]
    counts = relation_features.count_relations(np.array(relations), classes, verbs)
    np.testing.assert_array_equal(counts, expected["fg_counts"])
    background = relation_features.count_background(images, classes, must_overlap=name == "must_overlap")
    np.testing.assert_array_equal(background, expected["bg_counts"])
    counts[:, :, 0] = background + 1
    rows = counts.reshape(classes * classes, -1)
    np.testing.assert_allclose(relation_features.log_prior(rows), expected["log_prior"], atol=1e-6)
    np.testing.assert_allclose(relation_features.softmax_prior(rows), expected["softmax_of_log_prior"], atol=1e-6)


def test_shipped_prior_of_hoi_w_is_the_releases(golden):
    if "hoiw_shipped_prior" not in golden:
        pytest.skip("the file has no case hoiw_shipped_prior")
    rows = np.array(golden["hoiw_shipped_prior"]["log_prior_person_rows"])
    expected = np.exp(rows) / np.exp(rows).sum(1, keepdims=True)
    np.testing.assert_allclose(relation_features.released_prior(get_vocabulary("hoi_w")), expected, atol=1e-6)


def test_28_numbers_of_a_pair_equal_the_release(golden):
    case = small(golden, "released_spatial_28d")
    human, obj = (np.asarray(case[side], np.float32)[None] for side in ("subject", "object"))
    out = relation_features.pair_vector(human, obj, np.array([[case["im_height"], case["im_width"]]], np.int32))
    np.testing.assert_allclose(out[0], case["output"], atol=1e-4)


def test_box_coder_with_plus_one_equals_the_release(golden):
    case = small(golden, "box_coder_plus_one")
    boxes, targets = (np.asarray(case[side], np.float32) for side in ("proposals", "targets"))
    for stage in case["stages"].values():
        np.testing.assert_allclose(
            encode_boxes(boxes, targets, stage["stds"], plus_one=True), stage["encode"], rtol=1e-5, atol=1e-4
        )
        out = decode_boxes(boxes, np.asarray(stage["deltas"], np.float32), stage["stds"], plus_one=True)
        (name,) = (key for key in stage if key.startswith("decode_clipped_"))
        height, width = map(int, name.removeprefix("decode_clipped_").split("x"))
        # The release cuts at the last pixel, not at the image's edge.
        clipped = np.clip(out, 0, np.tile([width - 1, height - 1], 2))
        np.testing.assert_allclose(clipped, stage[name], atol=1e-3)


def test_pyramid_level_with_plus_one_equals_the_release(golden):
    case = small(golden, "fpn_level_map")
    boxes = np.asarray(case["boxes"], np.float32)
    np.testing.assert_array_equal(pyramid_level(boxes, 4, plus_one=True), case["level_index"])


def test_pairs_and_their_verbs_equal_the_release(golden):
    """Labels spill over to boxes that overlap the annotated ones by half."""
    case = small(golden, "pair_enumeration")
    boxes, labels = np.asarray(case["boxes"], np.float32), np.asarray(case["labels"], np.int32)
    row_of = {number: row for row, number in enumerate(case["instance_ids"])}
    relations = [(row_of[s], row_of[o], v) for s, o, v in case["relations_subject_object_verb"]]
    verbs = np.zeros((len(relations), 1 + max(v for *_, v in relations)), bool)
    verbs[np.arange(len(relations)), [v for *_, v in relations]] = True
    pairs = np.asarray(case["pairs"])
    matched = pair_labels(
        boxes[pairs[:, 0]], boxes[pairs[:, 1]], labels[pairs[:, 0]], labels[pairs[:, 1]],
        boxes[[r[0] for r in relations]], boxes[[r[1] for r in relations]], labels[[r[0] for r in relations]],
        labels[[r[1] for r in relations]], np.ones(len(relations), bool), jnp.asarray(verbs),
        jnp.ones(verbs.shape, bool), overlap=0.5,
    )  # fmt: skip
    for row, expected in enumerate(case["targets"]):
        assert np.flatnonzero(matched.verbs[row]).tolist() == [v for v in expected if v > 0]
        assert bool(matched.annotated[row]) == (expected != [0])


def test_rectangle_maps_equal_those_of_tin(golden):
    case = small(golden, "geometric_pattern_64")
    # The file's boxes are inclusive, ours are continuous.
    human, obj = (np.asarray(case[side], np.float32) + np.float32([0, 0, 1, 1]) for side in ("human", "object"))
    maps = np.asarray(relation_features.rectangles(human[None], obj[None]).maps()[0])
    for pair, channels in enumerate(case["channels_inclusive_rect"]):
        for channel, r in enumerate(channels):
            expected = np.zeros((64, 64))
            expected[r["y0"] : r["y1"] + 1, r["x0"] : r["x1"] + 1] = 1
            assert expected.sum() == r["ones"]
            np.testing.assert_array_equal(maps[pair, :, :, channel], expected)


def test_mask_heads_with_information_flow_equal_the_official_ones(golden):
    case = small(golden, "htc_mask_flow")
    x = np.asarray(case["input_NCHW"], np.float32).transpose(0, 2, 3, 1)
    names = {"convs.0.conv": "conv0", "convs.1.conv": "conv1", "conv_logits": "score", "conv_res.conv": "before"}
    features, maps = None, []
    for number, expected in enumerate(case["stage_logits"]):
        params: dict = {}
        for place, (name, shape) in enumerate(case["parameter_order"]):
            k = np.arange(np.prod(shape))
            value = 0.3 * np.sin(0.37 * k + 1.7 * place + 0.9 * number + case["c"]).reshape(shape).astype(np.float32)
            layer, leaf = name.rsplit(".", 1)
            if layer == "upsample":
                params[f"enlarge_{'kernel' if leaf == 'weight' else 'bias'}"] = (
                    value.transpose(2, 3, 0, 1) if leaf == "weight" else value
                )
            elif leaf == "weight":
                params.setdefault(names[layer], {})["kernel"] = value.transpose(2, 3, 1, 0)
            else:
                params.setdefault(names[layer], {})["bias"] = value
        head = MaskHead(len(expected[0]) - 1, convs=2, width=x.shape[-1], flow=True)
        features, logits = head.apply({"params": params}, x, features)
        np.testing.assert_allclose(np.asarray(logits).transpose(0, 3, 1, 2), expected, atol=1e-5)
        maps.append(jax.nn.sigmoid(logits))
    mean = np.asarray(sum(maps) / len(maps)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(mean, case["mean_of_sigmoids"], atol=1e-6)


def hoiw_case(golden, name):
    if name not in golden.get("hoiw_map", {}):
        pytest.skip(f"the file has no case hoiw_map.{name}")
    return golden["hoiw_map"][name]


@pytest.mark.parametrize("name", ["plain", "quirks"])
def test_hoi_w_scores_and_counts_equal_the_official_script(golden, name):
    case = hoiw_case(golden, name)
    truth, found, _ = read_hoi_w(case["inputs"]["annotations"], case["inputs"]["predictions"])
    result, expected = evaluate_hoi_w(truth, found), case["results"]
    assert result.metrics["hoi_w/map_rel"] == pytest.approx(expected["mAP"], abs=1e-9)
    assert result.metrics["hoi_w/mean_max_recall"] == pytest.approx(expected["max_recall_mean"], abs=1e-9)
    for verb in expected["ap"]:
        index = int(verb) - 1
        assert result.per_class["hoi_w/ap"][index] == pytest.approx(expected["ap"][verb], abs=1e-9)
        assert result.per_class["hoi_w/max_recall"][index] == pytest.approx(expected["max_recall"][verb], abs=1e-9)
        counts = {
            "num_gt": result.per_class["hoi_w/num_positives"][index],
            "num_pred": result.per_class["hoi_w/num_predictions"][index],
            "num_tp": result.per_class["hoi_w/true_positives"][index],
        }
        assert counts == expected["counts"][verb]


def scene(image, side):
    """Rectangles painted in list order on zero maps; later ones overwrite."""
    semantic = np.zeros((image["height"], image["width"]), np.int64)
    instance = np.zeros_like(semantic)
    if not image.get(side):
        return None
    for row in image[side]["instances"]:
        x0, y0, x1, y1 = row["rect"]
        semantic[y0:y1, x0:x1], instance[y0:y1, x0:x1] = row["category"], row["id"]
    relations = image[side]["relations"]
    table = np.array([[r["subject"], r["object"], r["relation"]] for r in relations], np.int64).reshape(-1, 3)
    return Scene(semantic, instance, table, np.array([r.get("score", 0.0) for r in relations], np.float64))


@pytest.fixture(scope="module")
def scenes(golden):
    if "pic_recall" not in golden:
        pytest.skip("the file has no case pic_recall")
    return [(scene(image, "gt"), scene(image, "pred")) for image in golden["pic_recall"]["images"]]


def pic_case(golden, name):
    """{K: {threshold: numbers}} and the mean over thresholds of every K."""
    found = {
        int(key.split("R@")[1]): value
        for key, value in golden["pic_recall"]["results"].items()
        if key.startswith(f"{name}_R@")
    }
    if not found:
        pytest.skip(f"the file has no case pic_recall.{name}")
    return found


@pytest.mark.parametrize("name", PIC_CASES)
def test_pic_recall_equals_the_official_code(golden, scenes, name):
    expected = pic_case(golden, name)
    thresholds = [float(key) for key in next(iter(expected.values())) if key != "average"]
    result = evaluate_pic(scenes, kept=list(expected), thresholds=thresholds, resize_wh=PIC_CASES[name])
    for count, table in expected.items():
        assert result.metrics[f"pic/recall@{count}"] == pytest.approx(table["average"], abs=1e-9)
        for threshold in thresholds:
            key, row = f"pic/recall@{count}/{threshold}", table[str(threshold)]
            assert result.metrics[key] == pytest.approx(row["final"], abs=1e-9)
            by_name = dict(zip(RELATIONS, result.per_class[key], strict=True))
            by_name["geometric_rel"] = result.metrics[f"{key}/geometric"]
            by_name["non_geometric_rel"] = result.metrics[f"{key}/non_geometric"]
            for category, value in row["mean_recall_by_category_rounded4"].items():
                assert by_name[category] == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("name", PIC_CASES)
def test_pic_recall_of_every_image_equals_the_official_code(golden, scenes, name):
    expected = pic_case(golden, name)
    thresholds = [float(key) for key in next(iter(expected.values())) if key != "average"]
    for position, (truth, found) in enumerate(scenes):
        hits = np.zeros((len(expected), len(thresholds), len(truth.relations)), bool)
        if found is not None:
            options = {"kept": list(expected), "thresholds": thresholds, "resize_wh": PIC_CASES[name]}
            hits = recalled_triplets(truth, found, **options)
        rates = group_recall(hits, truth.relations[:, 2])
        for k, table in enumerate(expected.values()):
            for t, threshold in enumerate(thresholds):
                row = table[str(threshold)]
                reference = [row["per_image_geometric"][position], row["per_image_non_geometric"][position]]
                np.testing.assert_allclose(rates[k, t, -2:], np.array(reference, np.float64), rtol=0, atol=1e-12)
