"""Every config of DEFR loads, and its sizes are the paper's."""

import json
import math

import jax
import numpy as np
import pytest

from configs import defr_hico, defr_hico_det, defr_hico_det_release, defr_hico_release, defr_hoi_scenes
from hoi_jax import io
from hoi_jax.data.numpy_batch import blank_batch
from hoi_jax.experiment import load_experiment, read_config
from hoi_jax.training import check_batch, load_for_evaluation
from hoi_jax.training.cost import step_cost
from tests.helpers.paths import ROOT

OPTIONS = [
    (defr_hico, ""), (defr_hico, "backbone=b32,loss=bce,gamma=500"), (defr_hico, "backbone=rn101,init=random"),
    (defr_hico, "backbone=imagenet_b32,head=linear,loss=focal"), (defr_hico, "backbone=rn50"),
    (defr_hico, "loss=weighted_bce"), (defr_hico_release, ""), (defr_hico_det_release, "region=mask-2"),
    (defr_hico_det, "region=mask-6"), (defr_hico_det, "region=ave-pool,backbone=b32"),
    (defr_hoi_scenes, ""), (defr_hoi_scenes, "loss=focal,init=language,region=mask-3"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "options"), OPTIONS, ids=lambda x: getattr(x, "__name__", x))
def test_configs_load(module, options):
    assert load_experiment(module.get_config(options).to_dict()).build_system().name == "defr"


def test_the_release_preset_of_detection_differs_where_the_authors_code_does():
    paper, release = (module.get_config().to_dict() for module in (defr_hico_det, defr_hico_det_release))
    assert paper["model"].pop("detection") == {"blocks": 1}
    changed = {"blocks": 1, "prior_power": 2.8, "kernel": "bilinear", "antialias": False}
    assert release["model"].pop("detection") == changed
    assert release["model"]["classifier"].pop("gamma") == 100.48
    paper["model"]["classifier"].pop("gamma"), release["pipeline"].pop("oversample_skip_single")
    # As they are on the disk, so that the device's interpolation is the only one.
    assert (paper["sizes"].pop("fit"), release["sizes"].pop("fit")) == ("stretch", "shrink")
    assert paper == release


def test_the_number_with_the_power_is_expected_where_the_power_is():
    assert "32.35 Full / 33.45 Rare / 32.02 Non-Rare came from code" in " ".join(str(defr_hico_det.__doc__).split())
    assert "came with prior_power=2.8" in " ".join(str(defr_hico_det_release.__doc__).split())
    assert defr_hico_det_release.get_config().model.detection.prior_power == 2.8


@pytest.mark.parametrize(("options", "parts"), [("", 4), ("backbone=b32", 4), ("backbone=rn50", 1)])
def test_a_batch_divides_over_eight_devices_and_a_trained_normalisation_is_not_split(options, parts):
    experiment = load_experiment(defr_hico.get_config(options).to_dict())
    check_batch(experiment.batch_size, experiment.train.accumulate)
    assert experiment.train.accumulate == parts


def test_the_default_keeps_less_than_an_80_gb_device_holds():
    """642 GB without parts and recomputation; the rest of 80 GB is for what a block computes on the way (20 GB)."""
    experiment = load_experiment(defr_hico.get_config().to_dict())
    system = experiment.build_system()
    batch = blank_batch(system.needs_train, experiment.sizes, experiment.vocabulary, experiment.batch_size)
    cost = step_cost(system, experiment.optimizer, batch, experiment.train.accumulate)
    assert cost.stored_bytes + cost.state_bytes < 10e9
    assert cost.stored_bytes > 12 * 32 * 1765 * 768 * 4  # the inputs of twelve blocks for 32 images


def test_evaluate_takes_another_config_by_file_and_options():
    values = read_config("configs/defr_hico_det.py:region=mask-2")
    assert values["model"]["detection"] == {"blocks": 2} and values["dataset"]["name"] == "hico_det"
    with pytest.raises(ValueError, match="configs/none.py: no such config"):
        read_config("configs/none.py")


def test_unknown_options_name_the_allowed_ones():
    with pytest.raises(ValueError, match="loss=hinge.*lse_sign|lse_sign"):
        defr_hico.get_config("loss=hinge")


@pytest.mark.parametrize(("options", "tower"), [("", 86_192_640), ("backbone=b32", 87_849_216)])
def test_the_image_tower_has_clips_size_without_projection_at_672(options, tower):
    """CLIP's count, less the projection that DEFR removes, plus the larger position table and the classifier."""
    experiment = load_experiment(defr_hico.get_config(options).to_dict())
    shapes = jax.eval_shape(experiment.build_system().init, jax.random.key(0), {})
    patch = experiment.model["backbone"]["patch"]
    extra = ((672 // patch) ** 2 - (224 // patch) ** 2) * 768 + 600 * 768 - 768 * 512
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(shapes)) == tower + extra


def test_the_embeddings_of_the_scenes_fit_the_config():
    config = defr_hoi_scenes.get_config("init=language")
    table = io.read_npz(config.train.init_from[0]["path"])["params/classifier/kernel"]
    experiment = load_experiment(config.to_dict())
    assert table.shape == (len(experiment.vocabulary.hois), config.model.backbone.width)
    assert np.isfinite(table).all()


def test_the_kept_checkpoint_fits_its_config():
    folder = ROOT / "checkpoints" / "defr_hoi_scenes"
    kept, text, metadata = load_for_evaluation(folder)
    experiment = load_experiment(json.loads(text))
    shapes = jax.eval_shape(experiment.build_system().init, jax.random.key(0), {})
    assert jax.tree.map(lambda x: x.shape, shapes) == jax.tree.map(lambda x: x.shape, kept)
    assert all(np.isfinite(array).all() for array in jax.tree.leaves(kept)) and metadata.step == 1000
