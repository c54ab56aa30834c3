"""Which checkpoints stay, and what is refused."""

import numpy as np
import optax
import pytest

from hoi_jax.training import CheckpointError, Metadata, TrainSettings, load_for_evaluation
from hoi_jax.training.checkpoint import Checkpoints
from hoi_jax.training.step import TrainState


def state_at(step, healthy=True, shape=(2, 3)):
    params = {"layer": {"kernel": np.full(shape, step, np.float32)}}
    return TrainState(
        step=np.asarray(step, np.int32),
        params=params,
        model_state={},
        opt_state=(optax.EmptyState(), optax.TraceState(trace=params)),
        ema_params=None,
        key=np.asarray([1, 2], np.uint32),
        healthy=np.asarray(healthy),
    )


def save_all(workdir, scores, **settings):
    checkpoints = Checkpoints(workdir, TrainSettings(num_steps=10, **settings))
    for step, score in scores.items():
        metrics = {} if score is None else {"score": score}
        checkpoints.save(state_at(step), Metadata(step, step, "text", "print", metrics))
    checkpoints.wait()
    checkpoints.close()
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


@pytest.mark.parametrize(
    "scores, settings, kept, best",
    [
        ({1: 0.1, 2: 0.9, 3: 0.3, 4: 0.2, 5: 0.5}, {"keep_last": 2}, [2, 4, 5], 2),
        ({1: 0.1, 2: 0.9, 3: 0.3, 4: 0.2, 5: 0.5}, {"keep_last": 1, "best_mode": "min"}, [1, 5], 1),
        ({1: 0.1, 2: 0.9, 3: 0.3, 4: 0.2, 5: 0.5}, {"keep_last": 1, "keep_best": 2}, [2, 5], 2),
        ({1: 0.7, 2: None, 3: None, 4: 0.2, 5: None}, {"keep_last": 2}, [1, 4, 5], 1),
        ({1: 0.7, 2: float("nan"), 3: 0.1}, {"keep_last": 1}, [1, 3], 1),
    ],
)
def test_best_and_last_stay_and_best_is_found_again(tmp_path, scores, settings, kept, best):
    assert save_all(tmp_path, scores, best_metric="score", **settings) == kept
    variables, text, metadata = load_for_evaluation(tmp_path, "best")
    assert (metadata.step, text) == (best, "text")
    np.testing.assert_array_equal(variables["params"]["layer"]["kernel"], np.full((2, 3), best, np.float32))


def test_without_a_metric_the_last_ones_stay_and_best_means_last(tmp_path):
    assert save_all(tmp_path, dict.fromkeys(range(1, 6)), keep_last=3) == [3, 4, 5]
    assert load_for_evaluation(tmp_path, "best")[2].step == 5
    assert load_for_evaluation(tmp_path, 4)[2].step == 4
    assert load_for_evaluation(tmp_path, "4")[2].step == 4
    with pytest.raises(CheckpointError, match=r"no checkpoint '2'; available are \[3, 4, 5\]"):
        load_for_evaluation(tmp_path, "2")


def test_every_field_comes_back_bit_for_bit(tmp_path):
    save_all(tmp_path, {7: None})
    checkpoints = Checkpoints(tmp_path, TrainSettings(num_steps=10))
    found, metadata = checkpoints.restore(state_at(0))
    checkpoints.close()
    assert metadata == Metadata(7, 7, "text", "print", {})
    assert found.opt_state[1].trace["layer"]["kernel"].tobytes() == np.full((2, 3), 7, np.float32).tobytes()
    assert (int(found.step), found.key.tolist(), bool(found.healthy)) == (7, [1, 2], True)


def test_a_model_of_another_shape_is_refused_naming_the_array(tmp_path):
    save_all(tmp_path, {7: None})
    checkpoints = Checkpoints(tmp_path, TrainSettings(num_steps=10))
    with pytest.raises(CheckpointError, match=r"layer/kernel.*\(2, 3\).*\(2, 4\)"):
        checkpoints.restore(state_at(0, shape=(2, 4)))
    checkpoints.close()


def test_a_state_that_is_not_healthy_is_never_saved(tmp_path):
    checkpoints = Checkpoints(tmp_path, TrainSettings(num_steps=10))
    with pytest.raises(CheckpointError, match="non-finite"):
        checkpoints.save(state_at(1, healthy=False), Metadata(1, 1, "", "", {}))
    assert checkpoints.latest_step() is None
    checkpoints.close()


def test_metrics_without_the_configured_best_metric_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="'mAP' is not among the metrics"):
        save_all(tmp_path, {1: 0.5}, best_metric="mAP")


def test_an_empty_folder_is_refused_with_its_name(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoints here"):
        load_for_evaluation(tmp_path)
