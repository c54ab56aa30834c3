"""Our training, update by update, beside the authors': QPIC, both phases of CDN and body-part (trajectories.npz).

The configs of the library train: their model, matching, loss, optimiser, rules and clipping. Only sizes, dropout, the
steps of the schedule and the normalisation of pixels (given as the network sees them) are those of the file.

The ordinary suite runs the first update, or the first four, in float32. The slow one runs all of them in float64,
beside the authors' own float64 run: in float32 rounding grows until a ReLU, a match or a mask flips, from where two
correct programs part.
"""

import dataclasses
import json
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import (
    body_part_hico_det_cdn,
    body_part_hico_det_cdn_stage2,
    body_part_hico_det_qpic,
    body_part_hico_det_release,
)
from hoi_jax import io
from hoi_jax.settings import from_config
from hoi_jax.systems.body_part import loss as loss_module
from hoi_jax.systems.body_part import model as inputs_module
from hoi_jax.systems.body_part.config import BodyPartConfig
from hoi_jax.systems.body_part.loss import term_weights
from hoi_jax.systems.registry import build_system
from hoi_jax.training import OptimizerSettings, TrainSettings, in_steps
from hoi_jax.training.optimizer import make_optimizer
from hoi_jax.training.parallel import Parallel
from hoi_jax.training.step import make_state, make_train_step
from hoi_jax.vocab import get_vocabulary
from tests.helpers import rule_weights as rule
from tests.helpers.losses import entries
from tests.helpers.memory import give_memory_back
from tests.helpers.set_cases import by_official_name, cut_to_layers, detections_with_parts, parts_in_poses

FILE = "trajectories.npz"
CONFIGS = {
    "qpic": body_part_hico_det_qpic.get_config,
    "cdn1": body_part_hico_det_cdn.get_config,
    "cdn2": body_part_hico_det_cdn_stage2.get_config,
    "bodypart": body_part_hico_det_release.get_config,
}
"""Cases that are known here, and the config that trains each."""
PARAMS = {"qpic": "qpic", "cdn1": "cdn_B", "cdn2": "cdn_B"}
TERMS = {
    "obj_ce": "object", "verb_ce": "verb", "sub_bbox": "human_box", "sub_giou": "human_giou",
    "obj_bbox": "object_box", "obj_giou": "object_giou", "binary_ce": "interactiveness",
    "binary_consistency": "consistency",
}  # fmt: skip
SHORT = {"qpic": 4}
"""Updates of a method in the ordinary suite (default: 1), in float32. The slow suite runs all of them, in float64."""
NOISE = r"\w+\.(box_|interaction_)?decoder\.layers\.0\.self_attn\.in_proj_(weight|bias)"
"""The first self-attention of a decoder sees zeros: its gradient is rounding, and so is the way it goes."""
CHAOS = 0.01
"""Where the authors' own float32 and float64 runs are so far apart (`suggested_rtol`), float32 is compared no more."""
WIDE = 1e-6
"""Relative, of losses in float64 against the authors' in float64."""


@pytest.fixture(scope="module")
def golden(golden_dir):
    return io.read_npz(golden_dir / FILE, max_bytes=2**28)


@pytest.fixture(scope="module")
def meta(golden):
    return json.loads(str(golden["meta_json"]))


@pytest.fixture(scope="module")
def lists(golden_dir):
    return {
        **json.loads((golden_dir / "qpic_cdn_params.json").read_text()),
        "bodypart": json.loads((golden_dir / "bodypart_params.json").read_text()),
    }


@dataclasses.dataclass
class Run:
    """One method trained by us: reports and records of its updates, and its variables after some of them."""

    name: str
    meta: dict
    params: list
    config: Any
    rates: tuple
    reports: list
    matches: list
    terms: list
    saved: dict
    wide: bool

    def stored(self, golden, key: str) -> np.ndarray:
        """The authors' numbers of this run's precision, as far as they are stored."""
        name = f"{self.name}/{key}"
        return golden[f"{name}/f64"] if self.wide and f"{name}/f64" in golden else golden[name]

    @property
    def chaos(self) -> float:
        return np.inf if self.wide else CHAOS


def config_of(name: str, meta: dict):
    """The library's config with the sizes of the file."""
    config, model = CONFIGS[name](), meta[name]["model"]
    sizes = {key: model[key] for key in ("hidden", "heads", "feedforward", "encoder_layers")}
    boxes = next(model[key] for key in ("box_layers", "hopd_layers", "decoder_layers") if key in model)
    transformer = {**config.model.to_dict().get("transformer", {}), **sizes, "box_layers": boxes, "dropout": 0.0}
    config.model.transformer = transformer
    config.model.queries = model["queries"]
    if "interaction_layers" in model:
        config.model.verbs.layers = model["interaction_layers"]
    config.model.backbone.update(image_mean=(0.0, 0.0, 0.0), image_std=(1.0, 1.0, 1.0))
    schedule = {"kind": "step", "step_at": (meta["lr_dropped_after_update"],), "step_factor": meta["lr_factor"]}
    config.optimizer.schedule = schedule
    return config


def settings_of(config) -> OptimizerSettings:
    """The optimiser's settings as a run with the config's batch has them."""
    train = from_config(TrainSettings, config.train.to_dict())
    return in_steps(train, from_config(OptimizerSettings, config.optimizer.to_dict()), 1.0, config.batch_size)[1]


def params_of(name: str, lists: dict, meta: dict) -> list:
    """Names and shapes of the file's model: the longest list cut to its layers, with its number of queries."""
    model = meta[name]["model"]
    layers = {"decoder": model.get("hopd_layers", model.get("decoder_layers")), "box_decoder": model.get("box_layers")}
    layers |= {"interaction_decoder": model.get("interaction_layers"), "encoder": model["encoder_layers"]}
    entries = cut_to_layers(lists[PARAMS.get(name, name)], {k: v for k, v in layers.items() if v})
    if not meta[name]["flags"].get("use_matching", True):
        entries = [entry for entry in entries if not entry["name"].startswith("matching_embed")]
    shapes = {"query_embed.weight": [model["queries"], model["hidden"]]}
    return [{**entry, "shape": shapes.get(entry["name"], entry["shape"])} for entry in entries]


def batch_of(golden, name: str, meta: dict, number: int) -> dict[str, np.ndarray]:
    """Batch `number` in this library's fields; pixels as the network sees them."""
    made = meta["images"][number]
    pixels = rule.padded([rule.image(*image, meta["name_prefix"]) for image in made])
    hw = np.array([image[1:] for image in made], np.int32)
    rows = [_image_rows(golden, f"{name}/batch{number}/img{i}_", hw[i], meta[name]["model"]) for i in range(len(made))]

    def table(key):
        arrays = [row[key] for row in rows]
        most = max(1, *(len(a) for a in arrays))
        return np.stack([np.pad(a, [(0, most - len(a)), *[(0, 0)] * (a.ndim - 1)]) for a in arrays])

    batch = {key: table(key) for key in rows[0]}
    numbers = np.arange(len(made), dtype=np.int32)
    return {
        **batch, "image": pixels, "image_hw_px": hw, "batch_valid": np.ones(len(made), bool), "example_id": numbers,
    }  # fmt: skip


def _image_rows(golden, prefix: str, hw, model: dict) -> dict[str, np.ndarray]:
    scale = np.tile(hw[::-1], 2).astype(np.float64)

    def corners(boxes):
        boxes = boxes.astype(np.float64)
        return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1) * scale

    people, objects = golden[f"{prefix}sub_boxes"], golden[f"{prefix}obj_boxes"]
    pairs = len(golden[f"{prefix}pair2sub"])
    verbs = np.zeros((pairs, model["verb_classes"]), bool)
    verbs[tuple(golden[f"{prefix}verb_nonzero"].T)] = True
    human = get_vocabulary("hico_det").human_class
    rows = {
        "instances_xyxy_px": np.concatenate([corners(people), corners(objects)]),
        "instances_class": np.array([human] * len(people) + list(golden[f"{prefix}obj_labels"]), np.int32),
        "pairs_human": golden[f"{prefix}pair2sub"].astype(np.int32),
        "pairs_object": golden[f"{prefix}pair2obj"].astype(np.int32) + len(people),
        "pairs_verbs": verbs,
        "pairs_verbs_known": np.ones_like(verbs),
        "pairs_valid": np.ones(pairs, bool),
    }  # fmt: skip
    parts = golden.get(f"{prefix}part_boxes", np.zeros((0, 10, 4), np.float32))
    return {**rows, **detections_with_parts(parts, human)}


def train(golden, name: str, meta: dict, lists: dict, updates: int, patch, wide: bool = False) -> Run:
    """`updates` updates of `name` by the library's own step, on one device; in float64 where `wide`."""
    if wide:
        # The library says float32 where it must not be less; here that name is more.
        patch.setattr(jnp, "float32", jnp.float64)
    with jax.enable_x64(wide):
        return _train(golden, name, meta, lists, updates, patch, wide)


def _train(golden, name: str, meta: dict, lists: dict, updates: int, patch, wide: bool) -> Run:
    real = np.float64 if wide else np.float32
    config, params = config_of(name, meta), params_of(name, lists, meta)
    vocabulary = get_vocabulary("hico_det")
    run = Run(name, meta[name], params, config, (), [], [], [], {}, wide)
    original = loss_module.terms_of_matched

    def recorded(outputs, targets, query, *rest, **named):
        terms = original(outputs, targets, query, *rest, **named)
        jax.debug.callback(lambda q, t: (run.matches.append(np.asarray(q)), run.terms.append(t)), query, entries(terms))
        return terms

    patch.setattr(loss_module, "terms_of_matched", recorded)
    patch.setattr(inputs_module, "part_boxes_from_pose", parts_in_poses)
    system = build_system("body_part", config.model.to_dict(), vocabulary)
    batches = [batch_of(golden, name, meta, number) for number in range(len(meta["images"]))]
    fields = (*system.needs_train, "batch_valid", "example_id")
    batches = [jax.tree.map(lambda x: in_precision(x, real), {key: b[key] for key in fields}) for b in batches]
    made = rule.variables_of(params, meta["name_prefix"], meta["extra_rules"])
    made = jax.tree.map(lambda x: in_precision(x, real), made)
    fresh = jax.eval_shape(system.init, jax.random.key(0), batches[0])
    rule.same_structure(made, {key: fresh[key] for key in made})
    # Queues of class weights start empty; they are the only collection that the authors' list lacks.
    variables = {**jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), dict(fresh)), **made}
    settings = settings_of(config)
    optimizer = make_optimizer(settings, variables["params"], meta["updates"])
    run.rates = tuple(rate for rate in (settings.learning_rate, _backbone_rate(settings)) if rate is not None)
    parallel = Parallel(num_devices=1)
    state = parallel.replicate(make_state(variables, optimizer.tx, 0, False))
    step = parallel.compile_step(make_train_step(system, optimizer))
    run.saved[0] = rule_flat(variables)
    for update in range(1, updates + 1):
        state, report = step(state, parallel.shard_batch(batches[(update - 1) % len(batches)]))
        report = parallel.unreplicate(report)
        jax.effects_barrier()
        assert report["healthy"]
        run.reports.append(report["metrics"])
        if update in meta["updates_of_params"]:
            now = parallel.unreplicate(state)
            run.saved[update] = rule_flat({"params": now.params, **now.model_state})
    if updates == meta["updates"]:
        outputs = _final_outputs(config, vocabulary, parallel.unreplicate(state), batches[0])
        run.saved["final"] = outputs
    return run


def in_precision(x: np.ndarray, real: type) -> np.ndarray:
    """Real numbers in this precision, others as they are."""
    return x.astype(real) if np.issubdtype(x.dtype, np.floating) else x


def _final_outputs(config, vocabulary, state, batch) -> dict[str, np.ndarray]:
    model = from_config(BodyPartConfig, config.model.to_dict())
    net = loss_module.HoiTransformer(model, len(vocabulary.objects), len(vocabulary.verbs))

    def forward(variables, batch):
        return net.apply(variables, *loss_module.network_inputs(batch, model, vocabulary.human_class))

    return jax.device_get(jax.jit(forward)({"params": state.params, **state.model_state}, batch))


def _backbone_rate(settings: OptimizerSettings) -> float | None:
    """The learning rate of the first rule that takes a late layer of the backbone; None where it is frozen."""
    first = next(r for r in settings.rules if re.fullmatch(r.pattern, "backbone/stage3/block0/conv1/kernel"))
    return None if first.frozen else first.learning_rate


def rule_flat(variables) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(dict(variables))
    return {"/".join(key.key for key in path): np.asarray(x) for path, x in leaves}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((name, length), id=f"{name}-{length}", marks=[pytest.mark.slow] if length == "all" else [])
        for name in CONFIGS
        for length in ("first", "all")
    ],
)
def run(request, golden, meta, lists):
    name, length = request.param
    if f"{name}/loss_total" not in golden:
        pytest.skip(f"the file has no case {name}")
    updates = meta["updates"] if length == "all" else min(SHORT.get(name, 1), meta["updates"])
    with pytest.MonkeyPatch.context() as patch:
        yield train(golden, name, meta, lists, updates, patch, wide=length == "all")
    give_memory_back()


def test_the_file_holds_a_known_case(golden):
    assert any(f"{name}/loss_total" in golden for name in CONFIGS)


def tolerance(golden, name: str) -> np.ndarray:
    """Relative, of the total loss of each update."""
    return np.asarray(golden[f"{name}/loss_total/suggested_rtol"], np.float64)


def calm(golden, run: Run) -> range:
    """Updates (from 0) whose numbers are compared."""
    return range(int(np.sum(tolerance(golden, run.name)[: len(run.reports)] <= run.chaos)))


def test_loss_and_gradient_norm_of_every_update(golden, run, meta):
    total, norm, rtol = run.stored(golden, "loss_total"), run.stored(golden, "grad_norm"), tolerance(golden, run.name)
    if run.wide:
        rtol = np.full(len(rtol), WIDE)
    for update in calm(golden, run):
        got = run.reports[update]
        message = f"update {update + 1}"
        np.testing.assert_allclose(got["loss"], total[update], rtol=rtol[update], err_msg=message)
        np.testing.assert_allclose(got["gradient_norm"], norm[update], rtol=10 * rtol[update], err_msg=message)
    # Also where single numbers are no longer comparable: relative to the first loss of each batch, within a tenth.
    ours = np.array([report["loss"] for report in run.reports])
    for batch in range(batches := len(meta["images"])):
        theirs, mine = total[batch : len(ours) : batches], ours[batch::batches]
        np.testing.assert_allclose(mine / mine[:1], theirs / theirs[:1], atol=0.1)


def test_every_term_of_every_layer(golden, run):
    rtol, seen = tolerance(golden, run.name), set()
    for key in (k for k in golden if re.match(rf"{run.name}/loss/loss_", k)):
        match = re.fullmatch(r"(\D+?)(?:_(\d+))?", key.split("/loss_")[-1])
        assert match
        for update in calm(golden, run):
            values = run.terms[update][TERMS[match[1]]]
            layer = len(values) - 1 if match[2] is None else int(match[2])
            limit = 20 * rtol[update]
            np.testing.assert_allclose(values[layer], golden[key][update], rtol=limit, err_msg=f"{key} {update + 1}")
            seen.add((TERMS[match[1]], layer))
    terms = run.terms[0]
    assert seen == {(term, layer) for term, values in terms.items() for layer in range(len(values))}


def test_weights_of_the_terms_are_the_authors(run):
    model = from_config(BodyPartConfig, run.config.model.to_dict())
    ours = term_weights(model.loss)
    for key, weight in run.meta["loss_weights"].items():
        match = re.fullmatch(r"loss_(\D+?)(?:_\d+)?", key)
        assert match and ours[TERMS[match[1]]] == weight, key
    costs = {"bbox": "box", "giou": "giou", "obj_class": "object", "verb_class": "verb", "binary": "interactiveness"}
    for key, weight in run.meta["matcher"].items():
        if key.removeprefix("set_cost_") in costs:
            assert getattr(model.matching, costs[key.removeprefix("set_cost_")]) == weight, key


def test_learning_rates_and_decay_are_the_authors(golden, run):
    wanted = np.asarray(golden[f"{run.name}/lr"], np.float64)
    settings = settings_of(run.config)
    assert (settings.weight_decay, settings.clip, settings.clip_norm) == (
        run.meta["flags"]["weight_decay"], "global", run.meta["flags"]["clip_max_norm"],
    )  # fmt: skip
    got = np.array([report["learning_rate"] for report in run.reports])
    np.testing.assert_allclose(got, wanted[: len(got), 0], rtol=2e-7)  # one rounding of float32
    for column, rate in enumerate(run.rates):
        assert rate == wanted[0, column]


def test_the_first_assignments_are_the_authors(golden, run, meta):
    rtol, compared = tolerance(golden, run.name), 0
    for key in (k for k in golden if k.startswith(f"{run.name}/match/")):
        match = re.fullmatch(r"update(\d+)_(?:aux(\d+)_)?img(\d+)", key.split("/")[-1])
        assert match
        update, layer, image = int(match[1]), match[2], int(match[3])
        if update > len(run.matches) or (not run.wide and rtol[update - 1] > 1.001e-4):
            continue
        rows = run.matches[update - 1][-1 if layer is None else int(layer)][image]
        query, pair = golden[key]
        order = np.argsort(pair)
        np.testing.assert_array_equal(rows[: len(order)], query[order], err_msg=key)
        assert (rows[len(order) :] == -1).all()
        compared += 1
    assert compared


def official(run: Run, update: int) -> dict[str, np.ndarray]:
    return {p["name"]: by_official_name(run.saved[update], p["name"], p["shape"]) for p in run.params}


def test_stored_tensors_after_some_updates(golden, run, meta):
    names, columns, rtol = run.meta["param_names"], meta["param_columns"], tolerance(golden, run.name)
    shapes = {p["name"]: p["shape"] for p in run.params}
    for row, update in enumerate(meta["updates_of_params"]):
        if update not in run.saved or rtol[max(update - 1, 0)] > run.chaos:
            continue
        for name, stored in zip(names, run.stored(golden, "params")[row], strict=True):
            wanted = dict(zip(columns, stored, strict=True))
            values = by_official_name(run.saved[update], name, shapes[name]).astype(np.float64)
            moved = np.linalg.norm(values - by_official_name(run.saved[0], name, shapes[name]))
            if update <= 1:
                flat = values.ravel()
                entries = [*flat[:4], *flat[-2:]]
                stored_entries = [wanted[f"first{i}"] for i in range(4)] + [wanted["last_but_one"], wanted["last"]]
                np.testing.assert_allclose(entries, stored_entries, rtol=0, atol=5e-7, err_msg=f"{name} {update}")
                np.testing.assert_allclose(np.abs(flat).sum(), wanted["abs_sum"], rtol=1e-6, err_msg=f"{name} {update}")
            if not re.fullmatch(NOISE, name):
                limit = 1e-2 if update <= 5 or run.wide else max(1e-2, rtol[update - 1])
                message = f"displacement of {name} after update {update}"
                np.testing.assert_allclose(moved, wanted["displacement_norm"], rtol=limit, err_msg=message)


def test_displacement_of_groups_and_parts(golden, run, meta):
    rtol, first = tolerance(golden, run.name), official(run, 0)
    backbone = [n for n in first if n.startswith("backbone.")]
    for row, update in enumerate(meta["updates_of_params"]):
        if update not in run.saved or not update:
            continue
        now = official(run, update)
        square = {n: float(np.square(now[n].astype(np.float64) - first[n]).sum()) for n in first}
        groups, frozen = run.stored(golden, "displacement_group")[row], frozen_names(run)
        assert sum(square[n] for n in frozen) == groups[2] == 0.0
        assert len(frozen) == run.meta["tensors_and_entries"]["frozen"][0]
        if rtol[update - 1] > run.chaos:
            continue
        limit = 1e-2 if update <= 5 or run.wide else max(1e-2, rtol[update - 1])
        moving = set(first) - set(frozen)
        got = [sum(square[n] for n in moving if (n in backbone) == late) ** 0.5 for late in (False, True)]
        np.testing.assert_allclose(got, groups[:2], rtol=limit, err_msg=f"groups after update {update}")
        for part, wanted in zip(run.meta["parts"], run.stored(golden, "displacement_part")[row], strict=True):
            own = [n for n in distinct(first) if n.startswith(tuple(part.split("|")))]
            moved = sum(square[n] for n in own) ** 0.5
            np.testing.assert_allclose(moved, wanted, rtol=limit, err_msg=f"{part} after update {update}")


def distinct(names) -> list[str]:
    """Without the three further names of the norm that the interactiveness decoders share."""
    return [n for n in names if not re.search(r"binary_decoder_[234]\.norm", n)]


def frozen_names(run: Run) -> list[str]:
    """Official names of the tensors that our rules never move: frozen parameters, and all statistics."""
    settings = settings_of(run.config)
    frozen = []
    for entry in run.params:
        places = by_official_places(entry)
        rules = [next(r for r in settings.rules if re.fullmatch(r.pattern, p)) for p in places]
        if all(r.frozen for r in rules):
            frozen.append(entry["name"])
    return distinct(frozen)


def by_official_places(entry) -> list[str]:
    """Paths of parameters that an official tensor goes to; [] for statistics."""
    numbers = np.zeros(entry["shape"], np.float32)
    found = rule.checkpoint_rule(entry["name"], numbers) or []
    return [path.removeprefix("params/") for path, _ in found if path.startswith("params/")]


@pytest.mark.slow
def test_outputs_after_the_last_update(golden, run):
    if "final" not in run.saved:
        pytest.skip("the last update is not run here")
    heads = {
        "pred_sub_boxes": "human_cxcywh", "pred_obj_boxes": "object_cxcywh", "pred_obj_logits": "object_logits",
        "pred_verb_logits": "verb_logits", "pred_binary_logits": "interactiveness_logits",
    }  # fmt: skip
    for key, ours in heads.items():
        stored = f"{run.name}/final/{key}"
        if stored in golden:
            # The file has them in float32 alone, and how far its float64 run is from them.
            wanted, drift = golden[stored], float(golden[f"{stored}/drift"])
            limit = 1.1 * drift + 1e-4
            np.testing.assert_allclose(run.saved["final"][ours][-1], wanted, rtol=0, atol=limit, err_msg=key)
