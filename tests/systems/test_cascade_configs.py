"""Every config of the cascade loads, has the paper's sizes, and takes a converted detector."""

import math
import re

import jax
import numpy as np
import pytest

from configs import (
    cascade_hoi_scenes,
    cascade_hoi_w,
    cascade_hoi_w_release,
    cascade_pic,
    cascade_pic_release,
    cascade_vcoco,
)
from hoi_jax.experiment import load_experiment
from hoi_jax.serialization.conversion import ConversionError
from hoi_jax.settings import from_config
from hoi_jax.systems.cascade.config import CascadeConfig
from hoi_jax.systems.cascade.convert import detector_arrays, with_classes
from hoi_jax.systems.cascade.detect import anchors_of
from hoi_jax.training.init_from import InitFromError, flatten, merge
from hoi_jax.vocab import get_vocabulary
from hoi_jax.vocab.datasets import COCO_CATEGORY_IDS


@pytest.mark.parametrize(
    "options",
    ["", "stages=1", "stages=5,without=rrm", "without=ihsm", "without=efra", "region=mask", "region=sum",
     "detector=external", "detector=ground_truth,region=mask", "phase=detector", "phase=relations"],
)  # fmt: skip
def test_configs_of_the_scenes_load(options):
    experiment = load_experiment(cascade_hoi_scenes.get_config(options).to_dict())
    assert experiment.build_system().name == "cascade"
    size = experiment.sizes.image_hw
    assert anchors_of(from_config(CascadeConfig, experiment.model), size).shape == (
        3 * (32**2 + 16**2 + 8**2 + 4**2),
        4,
    )


def test_a_frozen_detector_is_frozen_for_the_optimiser_too():
    """Weight decay would move what no loss moves."""
    for config in (cascade_hoi_scenes.get_config("phase=relations"), cascade_hoi_w.get_config("phase=relations")):
        rules = load_experiment(config.to_dict()).optimizer.rules
        assert [(rule.pattern, rule.frozen) for rule in rules][-2:] == [("relations_.*", False), (".*", True)]
        assert all(rule.pattern.startswith("relations_") for rule in rules[:-1])


def test_the_simulated_detector_has_no_masks_to_offer():
    with pytest.raises(ValueError, match="ground_truth"):
        cascade_hoi_scenes.get_config("detector=external,region=mask")


@pytest.mark.parametrize("module, verbs", [(cascade_vcoco, 29), (cascade_hoi_w, 10), (cascade_pic, 30)])
@pytest.mark.parametrize("options", ["", "preset=release", "backbone=x101,phase=detector", "region=box,streams=g"])
def test_configs_of_real_datasets_load(module, verbs, options):
    experiment = load_experiment(module.get_config(options).to_dict())
    assert len(experiment.vocabulary.verbs) == verbs
    assert experiment.build_system().needs_train


@pytest.mark.parametrize("module", [cascade_hoi_w_release, cascade_pic_release])
def test_release_configs_hold_the_releases_values(module):
    model = load_experiment(module.get_config("phase=relations").to_dict()).model
    relation = model["relation"]
    assert relation["geometry"] == "vector" and relation["semantic"] == "table" and relation["background"]
    assert not relation["ranking"] and not relation["face"] and model["boxes"]["merge"] == "mean_logits"
    assert relation["heads"] == "last" and model["loss"]["boxes"] == "annotated" and model["loss"]["pair_share"] == 1
    assert model["predict"]["top_pairs"] == model["max_humans"] * 100  # all of them
    score = {cascade_hoi_w_release: 0.4, cascade_pic_release: 0.3}[module]
    assert model["predict"]["human_score"] == model["predict"]["object_score"] == score
    assert relation.get("box_size", 7) == {cascade_hoi_w_release: 7, cascade_pic_release: 14}[module]


@pytest.mark.parametrize("module, images", [(cascade_vcoco, 5400), (cascade_hoi_w, 19_843), (cascade_pic, 12_654)])
def test_both_phases_have_the_papers_schedule(module, images):
    """Section 4: 12 epochs of 16 images, a tenth after 8 and 11; 7 epochs of 8; 0.02 in both.

    Falls of phase 2 and the warm-up are those of the authors' `cascade_rcnn_r50_fpn_1x_rel.py`.
    """
    for phase, size, epochs, falls in (
        ("detector", 16, 12, (8, 11)),
        ("joint", 8, 7, (3, 5)),
        ("relations", 8, 7, (3, 5)),
    ):
        experiment = load_experiment(module.get_config(f"phase={phase}").to_dict())
        optimizer, steps = experiment.optimizer, images // size
        assert (experiment.batch_size, optimizer.base_batch_size, optimizer.learning_rate) == (size, size, 0.02)
        assert experiment.train.num_steps == epochs * steps
        assert optimizer.schedule.step_at == tuple(fall * steps for fall in falls)
        assert (optimizer.schedule.warmup_steps, optimizer.schedule.warmup_start) == (500, 1 / 3)
        assert (optimizer.momentum, optimizer.weight_decay, optimizer.clip_norm) == (0.9, 1e-4, 35.0)


@pytest.mark.parametrize("module", [cascade_vcoco, cascade_hoi_w, cascade_pic, cascade_hoi_scenes])
@pytest.mark.parametrize("phase", ["joint", "relations"])
def test_phase_2_starts_from_all_of_phase_1(module, phase):
    """Every variable of the detector is asked for, none of a relation network, and what is missing is an error."""
    (start,) = load_experiment(module.get_config(f"phase={phase},phase1=runs/one").to_dict()).train.init_from
    assert (start.path, start.which, start.strict) == ("runs/one", "last", True)
    detector = flatten(shapes_of(module.get_config("phase=detector")))
    both = flatten(shapes_of(module.get_config(f"phase={phase}")))
    asked = {name for name in both if any(re.fullmatch(pattern, name) for pattern in start.include)}
    assert asked == set(detector) and any("box_heads_2/fc7" in name for name in asked)
    assert all("/relations_" in name for name in set(both) - asked)
    with pytest.raises(ValueError, match="phase 1 itself"):
        module.get_config("phase=detector,phase1=runs/one")


def test_a_coco_detector_starts_all_but_the_class_layers_that_do_not_fit():
    """With the shapes of a COCO detector (81 classes): fc6, fc7 and offsets of all stages are taken over."""
    variables = jax.tree.map(lambda x: np.broadcast_to(np.float32(0), x.shape), shapes_of(cascade_hoi_w.get_config()))
    source = {
        n: np.broadcast_to(np.float32(1), x.shape) for n, x in flatten(variables).items() if "relations_" not in n
    }
    for stage in range(3):
        source[f"params/box_heads_{stage}/score/kernel"] = np.broadcast_to(np.float32(1), (1024, 81))
        source[f"params/box_heads_{stage}/score/bias"] = np.broadcast_to(np.float32(1), (81,))
    (start,) = load_experiment(cascade_hoi_w.get_config("phase=detector").to_dict()).train.init_from
    _, report = merge(variables, source, start)
    assert {f"params/box_heads_{s}/{layer}/kernel" for s in range(3) for layer in ("fc6", "fc7", "deltas")} <= set(
        report.loaded
    )
    assert len(report.unfit) == 6 and all("/score/" in line for line in report.unfit) and not report.missing
    (frozen,) = load_experiment(cascade_hoi_w.get_config("phase=relations").to_dict()).train.init_from
    with pytest.raises(InitFromError, match="strict"):
        merge(variables, source, frozen)


def test_a_frozen_detector_names_what_it_needs():
    system = load_experiment(cascade_hoi_scenes.get_config("phase=relations").to_dict()).build_system()
    assert all(re.fullmatch(system.frozen[0], name) for name in ("backbone/x", "box_heads_0/fc6/kernel"))
    assert not re.fullmatch(system.frozen[0], "relations_0/second/kernel") and "phase1=" in system.start_from
    assert load_experiment(cascade_hoi_scenes.get_config().to_dict()).build_system().frozen == ()


@pytest.mark.parametrize(
    "module, options, columns",
    [
        (cascade_vcoco, "", {("faces_xyxy_px", "both")}),
        (cascade_vcoco, "without=efra", set()),
        (cascade_vcoco, "phase=detector", set()),
        (cascade_vcoco, "region=mask", {("faces_xyxy_px", "both"), ("instances_mask_png", "train")}),
        (cascade_pic, "phase=detector", {("instances_mask_png", "train")}),
        (cascade_hoi_w_release, "", set()),
        (
            cascade_hoi_scenes, "detector=external",
            {("detections", "both"), ("detections_face_xyxy_px", "both"), ("instances_face_xyxy_px", "train")},
        ),
    ],
)  # fmt: skip
def test_a_configuration_says_what_it_cannot_do_without(module, options, columns):
    system = load_experiment(module.get_config(options).to_dict()).build_system()
    assert {(need.column, need.when) for need in system.requires} == columns


def test_hoi_w_is_split_as_in_the_papers_ablations_or_whole():
    assert cascade_hoi_w.get_config().dataset.train_split == "train:ablation_train"
    assert cascade_hoi_w.get_config().dataset.eval_split == "train:ablation_val"
    challenge = cascade_hoi_w.get_config("split=challenge")
    assert (challenge.dataset.train_split, challenge.dataset.eval_split) == ("train", "test")
    assert challenge.train.num_steps == 7 * (29_842 // 8)


_SHAPES = {}


def shapes_of(config):
    """Shapes of a config's variables; those of one network are traced once, whoever asks for them."""
    experiment = load_experiment(config.to_dict())
    key = repr((experiment.model, experiment.sizes, experiment.vocabulary))
    if key not in _SHAPES:
        _SHAPES[key] = jax.eval_shape(experiment.build_system().init, jax.random.key(0), {})
    return _SHAPES[key]


def test_the_network_has_the_papers_size():
    """FC1 reads [H, O, U] of 256 x 7 x 7 each; ResNet-50, pyramid and box heads are those of COCO detectors."""
    shapes = shapes_of(cascade_hoi_w.get_config())["params"]
    assert shapes["relations_0"]["first_kernel"].shape == (3 * 256 * 49, 1024)
    assert shapes["relations_2"]["rank_score"]["kernel"].shape == (1024 + 256, 1)
    assert shapes["box_heads_1"]["fc6"]["kernel"].shape == (256 * 49, 1024)
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["backbone"]))
    assert count == 23_508_032 - 53_120  # torchvision's ResNet-50 without its classifier and its norms


def test_anchors_of_the_papers_images():
    """One scale of eight cells and three ratios on five levels."""
    anchors = anchors_of(from_config(CascadeConfig, {}), (832, 1344))
    assert len(anchors) == 3 * sum((832 // s) * (1344 // s) for s in (4, 8, 16, 32, 64))
    sides = np.sqrt(np.prod(anchors[:, 2:] - anchors[:, :2], axis=1))
    assert sides.min() == pytest.approx(32) and sides.max() == pytest.approx(512)


def test_layers_of_mmdetection_find_their_place_and_background_comes_first():
    """Newer files have background last in boxes and none in masks; the mask flow of HTC has a layer of its own."""
    rng = np.random.default_rng(0)
    shapes = {
        "backbone.conv1.weight": (8, 3, 7, 7), "neck.lateral_convs.0.conv.weight": (256, 8, 1, 1),
        "neck.fpn_convs.0.conv.bias": (256,), "rpn_head.rpn_conv.weight": (256, 256, 3, 3),
        "roi_head.bbox_head.2.shared_fcs.0.weight": (4, 256 * 9), "roi_head.bbox_head.2.fc_cls.weight": (5, 4),
        "roi_head.mask_head.1.conv_logits.bias": (4,), "roi_head.mask_head.1.conv_res.conv.weight": (6, 6, 1, 1),
        "bbox_head.0.fc_cls.bias": (5,), "roi_head.semantic_head.x.weight": (2, 2),
    }  # fmt: skip
    state = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    flat, unknown = detector_arrays(state)
    assert unknown == ("roi_head.semantic_head.x.weight",)
    score = state["roi_head.bbox_head.2.fc_cls.weight"]
    np.testing.assert_array_equal(flat["params/box_heads_2/score/kernel"], score[[4, 0, 1, 2, 3]].T)
    np.testing.assert_array_equal(
        flat["params/mask_heads_1/score/bias"][1:], state["roi_head.mask_head.1.conv_logits.bias"]
    )
    assert flat["params/mask_heads_1/score/bias"].shape == (5,) and flat["params/mask_heads_1/score/bias"][0] == 0
    np.testing.assert_array_equal(flat["params/box_heads_0/score/bias"], state["bbox_head.0.fc_cls.bias"])
    fc6 = state["roi_head.bbox_head.2.shared_fcs.0.weight"].reshape(4, 256, 3, 3)
    ours = flat["params/box_heads_2/fc6/kernel"].reshape(3, 3, 256, 4)
    np.testing.assert_array_equal(ours[1, 2, 7], fc6[:, 7, 1, 2])
    assert {"params/mask_heads_1/before/kernel", "params/fpn/lateral0/kernel", "params/fpn/output0/bias"} <= set(flat)


def test_weights_of_something_else_are_refused():
    with pytest.raises(ConversionError, match="region proposal"):
        detector_arrays({"fc.weight": np.zeros((2, 2), np.float32)})


@pytest.mark.parametrize("columns", [81, 91])
def test_class_layers_of_coco_are_rearranged_for_the_objects(columns):
    """Background stays first; a cell phone is COCO's class 67 (77 in its files), cigarettes are unknown to it."""
    layer = np.arange(columns, dtype=np.float32)[None].repeat(2, axis=0)
    arrays = {"params/box_heads_1/score/kernel": layer, "params/rpn_head/score/kernel": layer}
    found, absent = with_classes(arrays, get_vocabulary("hoi_w"))
    objects = get_vocabulary("hoi_w").objects
    assert absent == ("cigarette", "drink", "food")
    row = found["params/box_heads_1/score/kernel"][0]
    assert row[0] == 0 and len(row) == 12
    expected = {"person": (1, 1), "cellphone": (68, 77), "horse": (18, 19), "ball": (33, 37), "document": (74, 84)}
    for name, numbers in expected.items():
        assert row[1 + objects.index(name)] == numbers[columns == 91]
    mean = np.mean(np.arange(1, 81)) if columns == 81 else np.mean(COCO_CATEGORY_IDS)
    assert row[1 + objects.index("food")] == pytest.approx(mean)
    np.testing.assert_array_equal(found["params/rpn_head/score/kernel"], layer)
    assert with_classes(arrays, get_vocabulary("vcoco"))[1] == ()
    with pytest.raises(ValueError, match="5 columns"):
        with_classes({"params/box_heads_0/score/bias": np.zeros(5, np.float32)}, get_vocabulary("vcoco"))
