"""A ResNet's weights in TIN's network: every place of R and of both residual stages is filled, with the right array."""

import jax
import numpy as np
import pytest

from hoi_jax import experiment as ex
from hoi_jax.data.numpy_batch import blank_batch
from hoi_jax.settings import with_changes
from hoi_jax.systems.tin.convert import main, tin_arrays
from hoi_jax.training import InitFromSettings, init_from
from hoi_jax.training.optimizer import path_name
from train import parse_arguments


def torchvision_resnet50():
    """Names and shapes of torchvision's ResNet-50, each array filled with a number of its own."""
    shapes = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    inputs = 64
    for stage, units in enumerate((3, 4, 6, 3), start=1):
        width = 32 * 2**stage
        for unit in range(units):
            name = f"layer{stage}.{unit}"
            for number, (out, into, side) in enumerate(
                ((width, inputs, 1), (width, width, 3), (4 * width, width, 1)), start=1
            ):
                shapes |= {f"{name}.conv{number}.weight": (out, into, side, side), **norm(f"{name}.bn{number}", out)}
            if unit == 0:
                shapes |= {f"{name}.downsample.0.weight": (4 * width, inputs, 1, 1)}
                shapes |= norm(f"{name}.downsample.1", 4 * width)
            inputs = 4 * width
    shapes |= {"fc.weight": (1000, 2048), "fc.bias": (1000,)}
    return {name: np.full(shape, number, np.float32) for number, (name, shape) in enumerate(shapes.items())}


def norm(name, width):
    return {f"{name}.{leaf}": (width,) for leaf in ("weight", "bias", "running_mean", "running_var")}


@pytest.fixture(scope="module")
def state():
    return torchvision_resnet50()


def test_the_papers_network_finds_all_of_r_and_both_stages(state, tmp_path):
    """The line of the config: convert, then --config.train.init_from."""
    np.savez(tmp_path / "resnet50.npz", **state)
    target = tmp_path / "start.npz"
    assert main([str(tmp_path / "resnet50.npz"), str(target)]) == 0
    words = ["--config=configs/tin_hico_det.py", "--workdir=w", f"--config.train.init_from={target}"]
    options, changes = parse_arguments(words)
    experiment = ex.load_experiment(with_changes(ex.read_config(options.config), changes))
    assert experiment.train.init_from == (InitFromSettings(str(target)),)
    system = experiment.build_system()
    batch = blank_batch(system.needs_predict, experiment.sizes, experiment.vocabulary)
    shapes = jax.eval_shape(system.init, jax.random.key(0), batch)
    places = {path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(dict(shapes))}
    places = {name for name in places if name.split("/")[1] == "appearance"}
    blank = jax.tree.map(lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), dict(shapes))
    _, report = init_from(blank, experiment.train.init_from[0])
    assert set(report.loaded) == places and not report.unfit and not report.unused


def test_both_stages_start_from_the_last_one_of_the_resnet(state):
    arrays, unknown, layout = tin_arrays(state)
    assert unknown == ("fc.weight", "fc.bias") and layout == "torchvision"
    wanted = state["layer4.1.conv2.weight"].flat[0]
    for stage in ("human_stage", "object_stage"):
        assert np.all(arrays[f"params/appearance/{stage}/block1/conv2/conv/kernel"] == wanted)
    first = state["layer1.0.bn1.running_var"].flat[0]
    assert np.all(arrays["batch_stats/appearance/backbone/stage0/block0/conv1/norm/var"] == first)


def test_other_files_are_refused(tmp_path, capsys):
    np.savez(tmp_path / "x.npz", weight=np.zeros(3))
    assert main([str(tmp_path / "x.npz"), str(tmp_path / "y.npz")]) == 2
    assert "supported ResNet" in capsys.readouterr().err and not (tmp_path / "y.npz").exists()
