"""Every config of the cascade loads, has the paper's sizes, and takes a converted detector."""

import math

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
from hoi_jax.backbones.torchvision_names import ConversionError
from hoi_jax.experiment import load_experiment
from hoi_jax.settings import from_config
from hoi_jax.systems.cascade.coco_classes import with_classes
from hoi_jax.systems.cascade.config import CascadeConfig
from hoi_jax.systems.cascade.convert import detector_arrays
from hoi_jax.systems.cascade.detect import anchors_of
from hoi_jax.vocab import get_vocabulary
from hoi_jax.vocab.coco import COCO_CATEGORY_IDS


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


def test_the_network_has_the_papers_size():
    """FC1 reads [H, O, U] of 256 x 7 x 7 each; ResNet-50, pyramid and box heads are those of COCO detectors."""
    experiment = load_experiment(cascade_hoi_w.get_config().to_dict())
    shapes = jax.eval_shape(experiment.build_system().init, jax.random.key(0), {})["params"]
    assert shapes["relations_0"]["first_kernel"].shape == (3 * 256 * 49, 1024)
    assert shapes["relations_2"]["rank_score"]["kernel"].shape == (1024 + 256, 1)
    assert shapes["box_heads_1"]["fc6"]["kernel"].shape == (256 * 49, 1024)
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["backbone"]))
    assert count == 23_508_032 - 53_120  # torchvision's ResNet-50 without its classifier and its norms


def test_anchors_of_the_papers_pictures():
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
