"""Every config of CALIPSO loads, and the sizes are the paper's."""

import math

import jax
import pytest

from configs import calipso_hico_det, calipso_hoi_scenes, calipso_vcoco
from hoi_jax.experiment import load_experiment
from hoi_jax.settings import from_config
from hoi_jax.systems.calipso.config import CalipsoConfig
from hoi_jax.systems.calipso.model import anchors_of
from hoi_jax.training import check_batch, in_steps

SCENES = ("", "without=sharing", "without=passive,blocks=5", "without=presence,keep=best", "detections=noise2")


@pytest.mark.parametrize("options", [*SCENES, "detections=ground_truth"])
def test_configs_of_the_scenes_load(options):
    experiment = load_experiment(calipso_hoi_scenes.get_config(options).to_dict())
    assert experiment.build_system().name == "calipso"
    assert experiment.dataset.name == "hoi_scenes/small" + ("_seed0_noise2" if "noise2" in options else "")


@pytest.mark.parametrize("module, verbs", [(calipso_vcoco, 29), (calipso_hico_det, 117)])
def test_the_network_has_the_papers_size(module, verbs):
    """Eight blocks have 4.7 M weights, the heads 9 * (4 V + V T) channels over 3 * 3 * 256 inputs."""
    experiment = load_experiment(module.get_config().to_dict())
    shapes = jax.eval_shape(experiment.build_system().init, jax.random.key(0), {})
    sizes: dict[str, int] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes["params"]):
        part = path[0].key.split("_")[0]
        sizes[part] = sizes.get(part, 0) + math.prod(leaf.shape)
    assert sizes["blocks"] == 8 * (9 * 256 * 256 + 2 * 256)
    channels = 9 * (4 * verbs + verbs * 8)
    assert sizes["verb"] + sizes["target"] + sizes["embedding"] == (9 * 256 + 1) * channels
    assert sizes["backbone"] == 23_508_032 - 53_120  # torchvision's ResNet-50 without its classifier and its norms
    lateral, three_by_three = (512 + 1024 + 2048) * 256 + 3 * 256, 9 * 256 * 256 + 256
    assert sizes["fpn"] == lateral + 5 * three_by_three


def test_anchors_of_the_papers_bucket_are_the_specifications():
    config = from_config(CalipsoConfig, {})
    assert config.backbone.strides == (8, 16, 32, 64, 128)
    assert anchors_of(config, (768, 1280)).shape == (184140, 4)


def test_labels_of_hico_det_are_cleaned_and_those_of_vcoco_are_not():
    assert load_experiment(calipso_hico_det.get_config().to_dict()).dataset.clean_labels == "detections"
    assert load_experiment(calipso_vcoco.get_config().to_dict()).dataset.clean_labels == "none"


@pytest.mark.parametrize("module", [calipso_vcoco, calipso_hico_det])
def test_eight_devices_train_at_the_papers_rate_per_image(module):
    """The paper: 0.016 for 10 images, a tenth of it at iteration 25,000 of (here) 30,000."""
    experiment = load_experiment(module.get_config().to_dict())
    check_batch(experiment.batch_size, 1, num_devices=8)
    train, optimizer = in_steps(experiment.train, experiment.optimizer, 100, experiment.batch_size)
    assert optimizer.learning_rate == pytest.approx(0.016 * 8 / 10) and optimizer.schedule.step_at == (31250,)
    assert train.num_steps * experiment.batch_size == 30000 * 10
    loss = from_config(CalipsoConfig, experiment.model).loss
    assert (loss.verb, loss.target, loss.embedding, loss.pull_weight, loss.push_weight) == (1, 1, 1, 10, 100)
    assert (loss.target_mask, loss.per) == ("performed_only", "anchor")


def test_detections_are_required_where_maps_are_read_and_where_labels_are_cleaned():
    system = load_experiment(calipso_vcoco.get_config().to_dict()).build_system()
    assert [(r.column, r.when) for r in system.requires] == [("detections", "predict")]
