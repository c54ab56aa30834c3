"""Box and mask AP after each stage: what the command asks of the network, and how it reads predictions."""

import numpy as np
import pytest

from configs import cascade_hoi_scenes, tin_hoi_scenes
from hoi_jax.commands.localisation_ap import annotated_instances, found_instances, localisation_config
from hoi_jax.experiment import load_experiment


def test_a_network_of_fewer_stages_is_asked_for_and_relations_are_left_out():
    config = cascade_hoi_scenes.get_config("region=mask").to_dict()
    changed = localisation_config(config, 2)
    assert changed["model"]["stages"] == 2 and changed["sizes"]["mask_hw"] == changed["sizes"]["image_hw"]
    assert config["model"]["stages"] == 3 and config["sizes"]["mask_hw"] == (64, 64)
    needs = load_experiment(changed).build_system().needs_predict
    assert needs == {"image", "image_hw_px"}
    assert localisation_config(config, None)["model"]["stages"] == 3
    with pytest.raises(ValueError, match="has 3 stages"):
        localisation_config(config, 4)
    with pytest.raises(ValueError, match="has no stages"):
        localisation_config(tin_hoi_scenes.get_config().to_dict(), 1)


def test_predicted_masks_are_cut_from_the_padded_image_and_annotated_ones_from_its_grid():
    """A grid cell stands for 4 x 4 pixels; the image is the upper left 8 x 16 of 16 x 16."""
    grid = np.zeros((1, 4, 4), np.float32)
    grid[0, :2, :2] = 1.0
    predictions = {
        "instance_xyxy_px": np.zeros((1, 4), np.float32), "instance_class": np.ones(1, np.int32),
        "instance_score": np.ones(1, np.float32), "instance_valid": np.ones(1, bool), "instance_mask": grid,
    }  # fmt: skip
    found = found_instances(predictions, (8, 16), (16, 16))
    assert found.masks is not None and found.masks.shape == (1, 8, 16)
    assert found.masks[0, :, :8].all() and not found.masks[0, :, 8:].any()
    batch = {
        "instances_valid": np.array([[True, False]]), "instances_xyxy_px": np.zeros((1, 2, 4), np.float32),
        "instances_class": np.array([[3, 0]]), "instances_mask": np.ones((1, 2, 16, 16), bool),
    }  # fmt: skip
    truth = annotated_instances(batch, 0, (8, 16))
    assert truth.masks is not None and truth.masks.shape == (1, 8, 16) and truth.label.tolist() == [3]
    with pytest.raises(ValueError, match="does not localise instances"):
        found_instances({}, (8, 16), (16, 16))
