"""QPIC and CDN as settings of the body-part parts, against numbers from the authors' code (qpic_cdn.npz)."""

import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.evaluation.metrics.hico_det import PairDetections
from hoi_jax.evaluation.postprocess.pair_nms import pair_nms
from hoi_jax.ops.scoring import product_nms
from hoi_jax.settings import from_config
from hoi_jax.systems.body_part.config import BodyPartConfig, PredictConfig, ProductNmsConfig, ReweightConfig
from hoi_jax.systems.body_part.loss import loss_terms, matched_queries, paired_layers, term_weights, terms_of_matched
from hoi_jax.systems.body_part.model import HoiTransformer
from hoi_jax.systems.body_part.predict import kept_by_product, pair_scores
from hoi_jax.systems.body_part.reweight import class_weights, initial_state, training_counts, weights_from_counts
from hoi_jax.systems.body_part.targets import match_layers
from hoi_jax.vocab import get_vocabulary
from tests.helpers import rule_weights as rule
from tests.helpers.losses import entries
from tests.helpers.set_cases import assert_same_matching, by_official_name, targets_of

OUTPUT = {"rtol": 0, "atol": 1e-4}
TERMS = {
    "obj_ce": "object", "verb_ce": "verb", "sub_bbox": "human_box", "sub_giou": "human_giou",
    "obj_bbox": "object_box", "obj_giou": "object_giou", "matching": "interactiveness",
}  # fmt: skip
HEADS = {
    "pred_sub_boxes": "human_cxcywh", "pred_obj_boxes": "object_cxcywh", "pred_obj_logits": "object_logits",
    "pred_verb_logits": "verb_logits", "pred_matching_logits": "interactiveness_logits",
}  # fmt: skip
QPIC_MATCHING = {"aux": "own", "verb": 1.0}
QPIC_LOSS = {"verb_alpha": None, "consistency": 0.0}
CDN_MATCHING = {**QPIC_MATCHING, "interactiveness_score": "softmax"}
CDN_LOSS = {"verb": 2.0, "consistency": 0.0}
NETS = {"qpic/A": "qpic", "cdn/S": "cdn_S", "cdn/B": "cdn_B", "cdn/U": None}
CASES = [
    "qpic/A",
    "cdn/S",
    pytest.param("cdn/B", marks=pytest.mark.slow),
    pytest.param("cdn/U", marks=pytest.mark.slow),
]
"""Case and its list of parameters; U is like B with other numbers of layers."""
LOGGED = ("obj_class_error", "obj_cardinality_error", "matching_error")


@pytest.fixture(scope="module")
def golden(golden_dir):
    return io.read_npz(golden_dir / "qpic_cdn.npz", max_bytes=2**28)


@pytest.fixture(scope="module")
def meta(golden):
    return json.loads(str(golden["meta_json"]))


@pytest.fixture(scope="module")
def all_params(golden_dir):
    return json.loads((golden_dir / "qpic_cdn_params.json").read_text())


def config_of(name: str, meta, **changes) -> BodyPartConfig:
    family, variant = name.split("/")
    model = meta[family]["model"]
    sizes = {key: model[key] for key in ("hidden", "heads", "feedforward", "encoder_layers")}
    values = {
        "backbone": {"mask_padding": False},
        "queries": model["queries"],
        "transformer": {**sizes, "box_layers": model.get("decoder_layers", 6)},
    }
    if family == "qpic":
        values |= {"verbs": {"source": "box_decoder"}, "interactiveness": "none"}
        values |= {"matching": QPIC_MATCHING, "loss": QPIC_LOSS}
    else:
        layers = model[variant]
        values["transformer"]["box_layers"] = layers["hopd_layers"]
        values |= {"verbs": {"source": "decoder", "layers": layers["interaction_layers"]}}
        values |= {"interactiveness": "box_decoder", "matching": CDN_MATCHING, "loss": CDN_LOSS}
        values["predict"] = {"times_interactiveness": True}
    return from_config(BodyPartConfig, {**values, **changes})


def params_of(name: str, all_params, config: BodyPartConfig) -> list:
    """Names and shapes; of a case without a list of its own, the deepest list cut to its layers."""
    if NETS[name]:
        return all_params[NETS[name]]
    stacks = {"decoder": config.transformer.box_layers, "interaction_decoder": config.verbs.layers}

    def exists(entry):
        match = re.match(r"transformer\.(\w+)\.layers\.(\d+)\.", entry["name"])
        return not match or match[1] not in stacks or int(match[2]) < stacks[match[1]]

    return [entry for entry in all_params["cdn_B"] if exists(entry)]


def test_the_file_holds_a_known_case(golden):
    names = [case if isinstance(case, str) else case.values[0] for case in CASES]
    assert any(f"{name}/pred_obj_logits" in golden for name in names)


@pytest.fixture(scope="module", params=CASES)
def case(request, golden, meta, all_params):
    """(name, net, params, variables, inputs, outputs) of one model."""
    name = request.param
    if f"{name}/pred_obj_logits" not in golden:
        pytest.skip(f"the file has no case {name}")
    config, family = config_of(name, meta), name.split("/")[0]
    model = meta[family]["model"]
    net = HoiTransformer(config, model["object_classes"], model["verb_classes"])
    params = params_of(name, all_params, config)
    variables = rule.variables_of(params, meta["name_prefix"])
    pixels = rule.padded([rule.image(*image, meta["name_prefix"]) for image in meta[family]["images"]])
    hw = np.array([image[1:] for image in meta[family]["images"]], np.int32)
    nobody = np.zeros((len(pixels), 1, 10, 4), np.float32), np.zeros((len(pixels), 1, 10), bool)
    inputs = pixels, hw, *nobody
    outputs = jax.tree.map(np.asarray, jax.jit(net.apply)(variables, *inputs))
    return name, net, params, variables, inputs, outputs


def test_weights_and_images_follow_their_rule(golden, meta, all_params):
    checks = [key for key in golden if "/weights_check/" in key]
    assert checks
    for key in checks:
        family, _, name = key.split("/", 2)
        shapes = {p["name"]: p["shape"] for p in all_params["qpic" if family == "qpic" else "cdn_B"]}
        if name == "query_embed.weight":
            shapes[name] = (meta[family]["model"]["queries"], *shapes[name][1:])
        values = rule.weight(name, shapes[name], meta["name_prefix"]).ravel()
        np.testing.assert_allclose([*values[:4], *values[-2:]], golden[key], rtol=1e-6)


def test_every_tensor_finds_a_place_and_none_is_left_over(case):
    _, net, params, variables, _, _ = case
    image, hw = jnp.zeros((1, 64, 64, 3)), jnp.full((1, 2), 64)
    people = jnp.zeros((1, 1, 10, 4)), jnp.zeros((1, 1, 10), bool)
    rule.same_structure(variables, jax.eval_shape(net.init, jax.random.key(0), image, hw, *people))
    assert sum(x.size for x in jax.tree.leaves(variables)) == sum(np.prod(p["shape"]) for p in params)


def test_outputs_of_every_stored_layer(golden, case):
    name, *_, out = case
    layered = paired_layers(out)
    layers = len(layered["object_logits"])
    for key, ours in HEADS.items():
        for layer in range(layers):
            stored = f"{name}/{key}" if layer == layers - 1 else f"{name}/aux{layer}_{key}"
            if stored in golden:
                np.testing.assert_allclose(layered[ours][layer], golden[stored], **OUTPUT, err_msg=stored)
            elif f"{stored}_s8" in golden:
                got = layered[ours][layer][..., ::8]
                np.testing.assert_allclose(got, golden[f"{stored}_s8"], **OUTPUT, err_msg=stored)
    if f"{name}/num_aux" in golden:
        assert layers == int(golden[f"{name}/num_aux"]) + 1


def test_intermediate_values(golden, case):
    name, *_, out = case
    stored = {
        "memory": out["memory"], "hs_all_first16": out["box_states"][..., :16], "hs_last": out["box_states"][-1],
        "hs_hopd_all_first16": out["box_states"][..., :16], "interaction_query_pos": out["box_states"][-1],
    }  # fmt: skip
    if "verb_states" in out:
        stored["hs_interaction_all_first16"] = out["verb_states"][..., :16]
        stored["hs_interaction_last"] = out["verb_states"][-1][..., ::2]
    seen = [key for key in stored if f"{name}/{key}" in golden]
    assert seen
    for key in seen:
        np.testing.assert_allclose(stored[key], golden[f"{name}/{key}"], **OUTPUT, err_msg=key)


def test_scores_and_boxes_of_the_postprocessor(golden, case):
    name, net, *_, out = case
    for prefix, multiply in (("post_", True), ("post_no_matching_", False)):
        if f"{name}/{prefix}labels" not in golden:
            continue
        size = golden[f"{name}/post_orig_size"].astype(np.int32)
        config = from_config(
            type(net.config.predict), {"times_interactiveness": multiply and net.config.interactiveness != "none"}
        )
        got = pair_scores(out, size, net.num_verbs, config)
        boxes, labels = golden[f"{name}/{prefix}boxes"], golden[f"{name}/{prefix}labels"]
        queries = net.config.queries
        np.testing.assert_array_equal(got["object_class"], labels[:, queries:])
        np.testing.assert_allclose(got["human_xyxy_px"], boxes[:, :queries], atol=5e-3)
        np.testing.assert_allclose(got["object_xyxy_px"], boxes[:, queries:], atol=5e-3)
        np.testing.assert_allclose(got["verb_scores"], golden[f"{name}/{prefix}verb_scores"], **OUTPUT)


@functools.cache
def solver(config: BodyPartConfig):
    """Compiled (outputs, targets) -> (query of each pair per layer, terms), once for all cases of a setting."""

    def solve(out, targets):
        used = jnp.ones(len(targets.valid), bool)
        return match_layers(paired_layers(out), targets, config.matching), entries(
            loss_terms(out, targets, used, config)
        )

    return jax.jit(solve)


def assert_terms(golden, name, terms, config, rtol):
    seen = set()
    prefix = f"{name}/loss/loss_"
    for key in (k for k in golden if k.startswith(prefix)):
        match = re.fullmatch(r"(\D+?)(?:_(\d+))?", key.removeprefix(prefix))
        assert match
        values = terms[TERMS[match[1]]]
        layer = len(values) - 1 if match[2] is None else int(match[2])
        np.testing.assert_allclose(values[layer], golden[key], rtol=rtol, err_msg=key)
        seen.add((TERMS[match[1]], layer))
    assert seen == {(term, layer) for term, values in terms.items() for layer in range(len(values))}
    weights = term_weights(config.loss)
    total = sum(weights[term] * values.sum() for term, values in terms.items())
    np.testing.assert_allclose(total, golden[f"{name}/loss_total_weighted"], rtol=rtol)


def assert_case(golden, name, out, targets, config, rtol):
    """Matching of every layer, every stored term, and the weighted total."""
    found, terms = solver(config)(out, targets)
    for layer, rows in enumerate(np.asarray(found)):
        assert_same_matching(golden, name, "" if layer == len(found) - 1 else f"aux{layer}_", rows)
    assert_terms(golden, name, terms, config, rtol)


def emptied(targets, images):
    """The same targets without the pairs of these images."""
    valid = targets.valid.copy()
    valid[list(images)] = False
    keep = valid[..., None]
    return targets._replace(
        human_cxcywh=targets.human_cxcywh * keep, object_cxcywh=targets.object_cxcywh * keep,
        has_object=targets.has_object & valid, verbs=targets.verbs & keep, interactive=valid, valid=valid,
    )  # fmt: skip


def test_losses_and_matching_of_whole_batches(golden, case, meta):
    name, net, _, _, inputs, out = case
    images = len(inputs[0])
    targets = targets_of(golden, name, net.num_verbs, images)
    assert_case(golden, name, out, targets, net.config, 1e-4)
    for empty, which in (("one_empty", [images - 1]), ("all_empty", range(images))):
        if f"{name}/{empty}/loss_total_weighted" in golden:
            assert_case(golden, f"{name}/{empty}", out, emptied(targets, which), net.config, 1e-4)
    if f"{name}/no_matching/loss_total_weighted" in golden:
        rest = {key: value for key, value in out.items() if key != "interactiveness_logits"}
        assert_case(golden, f"{name}/no_matching", rest, targets, net.config, 1e-4)
    if f"{name}/default_args/loss_total_weighted" in golden:
        heavier = {"box": 5.0, "giou": 2.0}
        config = config_of(name, meta, matching={**QPIC_MATCHING, **heavier}, loss={**QPIC_LOSS, **heavier})
        assert_case(golden, f"{name}/default_args", out, targets, config, 1e-4)


def stored_outputs(golden, prefix: str) -> dict[str, np.ndarray]:
    """Outputs of all stored layers, the final one last."""

    def layers(key):
        aux = [golden[f"{prefix}/aux{i}_{key}"] for i in range(99) if f"{prefix}/aux{i}_{key}" in golden]
        return np.stack([*aux, golden[f"{prefix}/{key}"]])

    return {ours: layers(key) for key, ours in HEADS.items() if f"{prefix}/{key}" in golden}


@pytest.mark.parametrize(
    ("stored", "name", "loss"),
    [
        ("qpic/V", "qpic/V", QPIC_LOSS), ("qpic/H", "qpic/H", QPIC_LOSS),
        ("qpic/H", "qpic/H/bce", {**QPIC_LOSS, "verb_loss": "bce"}), ("cdn/V", "cdn/V", CDN_LOSS),
    ],
)  # fmt: skip
def test_losses_and_matching_of_given_outputs(golden, stored, name, loss):
    if f"{name}/loss_total_weighted" not in golden:
        pytest.skip(f"the file has no case {name}")

    out = stored_outputs(golden, stored)
    images, verbs = out["verb_logits"].shape[1], out["verb_logits"].shape[-1]
    head = "box_decoder" if "interactiveness_logits" in out else "none"
    matching = CDN_MATCHING if head != "none" else QPIC_MATCHING
    config = from_config(BodyPartConfig, {"interactiveness": head, "matching": matching, "loss": loss})
    assert_case(golden, name, out, targets_of(golden, stored, verbs, images), config, 1e-5)


@pytest.mark.slow
def test_gradients(golden, case):
    name, net, params, variables, inputs, _ = case
    targets = targets_of(golden, name, net.num_verbs, len(inputs[0]))
    weights = term_weights(net.config.loss)

    def total(weights_of_net):
        out = net.apply({**variables, "params": weights_of_net}, *inputs)
        terms = loss_terms(out, targets, jnp.ones(len(inputs[0]), bool), net.config)
        return sum(weights[name] * term.value for name, term in terms.items())

    gradients = jax.jit(jax.grad(total))(variables["params"])
    flat = {
        "params/" + "/".join(k.key for k in path): np.asarray(x)
        for path, x in jax.tree_util.tree_leaves_with_path(gradients)
    }
    shapes = {p["name"]: p["shape"] for p in params}
    for key in (k for k in golden if k.startswith(f"{name}/gradnorm/")):
        official = key.removeprefix(f"{name}/gradnorm/")
        got = np.linalg.norm(by_official_name(flat, official, shapes[official]))
        np.testing.assert_allclose(got, golden[key], rtol=5e-3, err_msg=key)
    for key in (k for k in golden if k.startswith(f"{name}/grad/")):
        official = key.removeprefix(f"{name}/grad/")
        got, wanted = by_official_name(flat, official, shapes[official]), golden[key]
        got = got[:, : wanted.shape[1]] if wanted.ndim == 2 else got
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-2 * np.abs(wanted).max(), err_msg=key)


REWEIGHTED = {
    "cdn/RW/static": {"object": "static", "verb": "static"},
    "cdn/RW/static_p05": {"object": "static", "verb": "static", "object_power": 0.5, "verb_power": 0.5},
    "cdn/RW/dynamic": {"object": "dynamic", "verb": "dynamic"},
    "cdn/RW/dynamic_queue4": {"object": "dynamic", "verb": "dynamic", "queue": 4},
}


@functools.cache
def reweighted_solver(config: BodyPartConfig, counts: tuple):
    """Compiled (collection, outputs, targets) -> (queries, weights, collection, terms)."""
    tables = arrays_of(counts)

    def solve(state, out, targets):
        used = jnp.ones(len(targets.valid), bool)
        query, of_query = matched_queries(paired_layers(out), targets, config)
        weights, state = class_weights(state, of_query, targets, used, config.loss.reweight, tables)
        terms = terms_of_matched(out, targets, query, of_query, used, config, weights=weights)
        return query, weights, state, entries(terms)

    return jax.jit(solve)


def arrays_of(counts: tuple) -> dict:
    return {kind: np.asarray(values) for kind, values in counts}


def counts_of(golden, dataset: str, kinds=("object", "verb")) -> tuple:
    names = {"object": f"cdn/RW/obj_counts_{dataset}", "verb": f"cdn/RW/verb_counts_{dataset}"}
    return tuple((kind, tuple(golden[names[kind]].tolist())) for kind in kinds)


@pytest.mark.parametrize("name", list(REWEIGHTED))
def test_class_weights_and_losses_of_successive_batches(golden, name):
    steps = [step for step in range(99) if f"{name}/step{step}/loss_total_weighted" in golden]
    if not steps:
        pytest.skip(f"the file has no case {name}")
    loss = {**CDN_LOSS, "reweight": REWEIGHTED[name]}
    config = from_config(BodyPartConfig, {"interactiveness": "none", "matching": QPIC_MATCHING, "loss": loss})
    counts = counts_of(golden, "hico")
    state = initial_state(config.loss.reweight, arrays_of(counts))
    for step in steps:
        case, outputs = f"{name}/step{step}", stored_outputs(golden, f"cdn/RW/step{step}")
        images, verbs = outputs["verb_logits"].shape[1], outputs["verb_logits"].shape[-1]
        targets = targets_of(golden, f"cdn/RW/step{step}", verbs, images)
        query, weights, state, terms = reweighted_solver(config, counts)(state, outputs, targets)
        for layer, rows in enumerate(np.asarray(query)):
            assert_same_matching(golden, case, "" if layer == len(query) - 1 else f"aux{layer}_", rows)
        order = [len(query) - 1, *range(len(query) - 1)]  # as called: final, then the others
        np.testing.assert_allclose(np.asarray(weights.object)[order], golden[f"{case}/obj_weights_per_call"], rtol=2e-5)
        wanted = golden[f"{case}/verb_weights_per_call"][:, :-1]
        np.testing.assert_allclose(np.asarray(weights.verb)[order], wanted, rtol=2e-5)
        assert_terms(golden, case, terms, config, 2e-5)
        if f"{case}/queue_length" in golden:
            queue = config.loss.reweight.queue
            assert min(int(state["reweight"]["verb"]["appended"]), queue) == golden[f"{case}/queue_length"]


def test_a_first_batch_without_pairs_has_the_losses_of_the_authors(golden, meta):
    wanted = meta["cdn"].get("dynamic_all_empty")
    if not wanted:
        pytest.skip("the file has no such case")
    loss = {**CDN_LOSS, "reweight": REWEIGHTED["cdn/RW/dynamic"]}
    config = from_config(BodyPartConfig, {"interactiveness": "none", "matching": QPIC_MATCHING, "loss": loss})
    counts, outputs = counts_of(golden, "hico"), stored_outputs(golden, "cdn/RW/step0")
    images, verbs = outputs["verb_logits"].shape[1], outputs["verb_logits"].shape[-1]
    targets = emptied(targets_of(golden, "cdn/RW/step0", verbs, images), range(images))
    state = initial_state(config.loss.reweight, arrays_of(counts))
    terms = reweighted_solver(config, counts)(state, outputs, targets)[-1]
    got = {"loss_obj_ce": terms["object"][-1], "loss_verb_ce": terms["verb"][-1], "loss_obj_ce_0": terms["object"][0]}
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, rtol=2e-5, err_msg=name)


def test_static_weights_come_from_the_counts_and_the_vocabularys_are_the_authors(golden):
    if "cdn/RW/static_obj_weights" not in golden:
        pytest.skip("the file has no static weights")
    for key, counts in (
        ("static_obj_weights", "obj_counts_hico"), ("static_verb_weights", "verb_counts_hico"),
        ("static_obj_weights_vcoco", "obj_counts_vcoco"), ("static_verb_weights_vcoco", "verb_counts_vcoco"),
    ):  # fmt: skip
        got = weights_from_counts(jnp.asarray(golden[f"cdn/RW/{counts}"], jnp.float32), 0.7)
        np.testing.assert_allclose(got, golden[f"cdn/RW/{key}"], rtol=2e-5, err_msg=key)
    ours = training_counts(ReweightConfig(object="static", verb="static"), get_vocabulary("hico_det"))
    for kind, values in counts_of(golden, "hico"):
        np.testing.assert_array_equal(ours[kind], values, err_msg=kind)


def test_verb_weights_of_vcoco_change_only_the_verb_loss(golden):
    if "cdn/RWV/loss_total_weighted" not in golden:
        pytest.skip("the file has no case cdn/RWV")
    loss = {**CDN_LOSS, "reweight": {"verb": "dynamic"}}
    config = from_config(BodyPartConfig, {"interactiveness": "none", "matching": QPIC_MATCHING, "loss": loss})
    outputs = stored_outputs(golden, "cdn/V")
    del outputs["interactiveness_logits"]
    images, verbs = outputs["verb_logits"].shape[1], outputs["verb_logits"].shape[-1]
    targets, counts = targets_of(golden, "cdn/V", verbs, images), counts_of(golden, "vcoco", ("verb",))
    state = initial_state(config.loss.reweight, arrays_of(counts))
    query, _, _, terms = reweighted_solver(config, counts)(state, outputs, targets)
    for layer, rows in enumerate(np.asarray(query)):
        assert_same_matching(golden, "cdn/RWV", "" if layer == len(query) - 1 else f"aux{layer}_", rows)
    assert_terms(golden, "cdn/RWV", terms, config, 2e-5)


@pytest.mark.parametrize("variant", ["none", "nms", "nms_matching"])
def test_vcoco_postprocessing_of_cdn_keeps_the_authors_pairs_and_scores(golden, variant):
    if "cdn/GEN/pred_obj_logits" not in golden:
        pytest.skip("the file has no case cdn/GEN")
    out = {
        ours: golden[f"cdn/GEN/{key}"][None] for key, ours in HEADS.items() if variant.endswith("matching") or
        "matching" not in key
    }  # fmt: skip
    verbs = out["verb_logits"].shape[-1]
    settings = PredictConfig(times_interactiveness="interactiveness_logits" in out)
    found = pair_scores(out, golden["cdn/GEN/orig_size"].astype(np.int32), verbs, settings)
    found = {name: np.asarray(value) for name, value in found.items()}
    table = np.concatenate([golden["cdn/GEN/correct_mat"], np.ones((verbs, 1), np.uint8)], axis=1)
    for image in range(len(found["object_class"])):
        queries, label = len(found["object_class"][image]), found["object_class"][image]
        scores = found["verb_scores"][image] * table.T[label]
        pairs = PairDetections(
            np.zeros(queries, np.int64), found["human_xyxy_px"][image].astype(np.float64),
            found["object_xyxy_px"][image].astype(np.float64), np.arange(queries), label, scores.max(axis=1),
        )  # fmt: skip
        kept = np.arange(queries)
        if variant != "none":
            kept = pair_nms(pairs, max_per_image=None).triplet_pair
            rule = ProductNmsConfig(0.7, of="pair", best=None)
            one = {key: jnp.asarray(value[[image]]) for key, value in found.items()}
            on_device = np.asarray(kept_by_product(one, jnp.asarray(scores[None]), rule))[0, :, 0]
            np.testing.assert_array_equal(np.flatnonzero(on_device), np.sort(kept))
        wanted = golden[f"cdn/GEN/{variant}_img{image}_sub"]
        np.testing.assert_array_equal(np.sort(kept), np.sort(wanted))
        np.testing.assert_array_equal(golden[f"cdn/GEN/{variant}_img{image}_obj"], wanted + queries)
        np.testing.assert_allclose(scores[wanted], golden[f"cdn/GEN/{variant}_img{image}_scores"], rtol=1e-4, atol=1e-6)


NMS = {
    "none": None,
    "nms": {},
    "nms_alpha06_beta1_thres04": {"threshold": 0.4, "human_power": 0.6, "object_power": 1.0},
}


RULES = {"none": {}, "nms": {"threshold": 0.7}, "nms_alpha06_beta1_thres04": NMS["nms_alpha06_beta1_thres04"]}
"""The same for the version on device."""


@pytest.mark.parametrize("variant", list(NMS))
def test_pairwise_nms_of_cdn_after_the_hundred_best_triplets(golden, variant):
    images = [i for i in range(99) if f"cdn/NMS/{variant}_img{i}" in golden]
    if not images:
        pytest.skip("the file has no case cdn/NMS")
    table = golden["cdn/NMS/correct_mat"]
    for image in images:
        boxes, label = golden[f"cdn/NMS/img{image}_boxes"].astype(np.float64), golden[f"cdn/NMS/img{image}_labels"]
        scores = golden[f"cdn/NMS/img{image}_verb_scores"]
        queries, verbs = scores.shape
        scores = scores * table.T[label[queries:]]
        pair, verb = (axis.ravel() for axis in np.indices(scores.shape))
        found = PairDetections(
            np.zeros(queries, np.int64), boxes[:queries], boxes[queries:],
            pair, label[queries:][pair] * verbs + verb, scores.ravel(),
        )  # fmt: skip
        # A threshold that no overlap exceeds leaves the hundred best alone.
        kept = pair_nms(found, **({"threshold": 2.0} if NMS[variant] is None else NMS[variant]))
        got = {
            (p, k % verbs): s for p, k, s in zip(kept.triplet_pair, kept.triplet_label, kept.triplet_score, strict=True)
        }
        rows, wanted = golden[f"cdn/NMS/{variant}_img{image}"], golden[f"cdn/NMS/{variant}_img{image}_scores"]
        np.testing.assert_array_equal(rows[:, 1], rows[:, 0] + queries)
        assert set(got) == {(subject, verb) for subject, _, verb in rows.tolist()}
        np.testing.assert_allclose([got[row[0], row[2]] for row in rows.tolist()], wanted, rtol=1e-6)
        on_device = product_nms(
            jnp.asarray(boxes[:queries], jnp.float32), jnp.asarray(boxes[queries:], jnp.float32),
            jnp.asarray(label[queries:]), jnp.asarray(scores, jnp.float32), best=100,
            **{"threshold": 2.0, "human_power": 1.0, "object_power": 0.5, **RULES[variant]},
        )  # fmt: skip
        assert set(zip(*(axis.tolist() for axis in np.nonzero(np.asarray(on_device))), strict=True)) == set(got)
