"""What the loop writes, refuses, and does when a number is not finite."""

import dataclasses
import json
import os
import signal
import time

import jax
import numpy as np
import pytest

from hoi_jax.training import (
    CheckpointError,
    DataEndedError,
    Hook,
    InitFromError,
    InitFromSettings,
    NonFiniteError,
    OptimizerSettings,
    ParameterRule,
    TrainingInterrupted,
    TrainSettings,
    WorkdirLock,
    WorkdirLockedError,
    load_for_evaluation,
    train,
)
from tests.helpers.toy import batches, make_batch, make_system

SETTINGS = TrainSettings(
    num_steps=4, num_devices=2, log_every=2, checkpoint_every=2, tensorboard=False, seed=1, parallel="shard_map"
)
QUICK = OptimizerSettings("sgd", learning_rate=0.1)


def run(workdir, settings=SETTINGS, *, system=None, optimizer=QUICK, stream=batches, **options):
    arguments = dict(
        config_text="a = 1\nb = 2", dataset_fingerprint="f0", init_batch=make_batch(0, 1), log=lambda _: None
    )
    return train(system or make_system(), settings, optimizer, stream, workdir, **{**arguments, **options})


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished")
    return workdir, run(workdir)


def test_losses_fall_and_every_logged_step_is_there_once(tmp_path):
    state = run(tmp_path, dataclasses.replace(SETTINGS, num_steps=30), optimizer=OptimizerSettings(learning_rate=0.03))
    entries = lines(tmp_path)
    assert [entry["step"] for entry in entries] == list(range(2, 31, 2))
    assert entries[-1]["loss"] < 0.8 * entries[0]["loss"]
    for entry in entries:
        assert entry["loss"] == pytest.approx(entry["loss/items"] + entry["loss/size"], rel=1e-6)
    assert int(state.step) == 30


def test_a_finished_run_is_given_back_without_another_step(finished):
    workdir, state = finished

    def no_batches(start):
        raise AssertionError("asked for data")

    again = run(workdir, stream=no_batches)
    jax.tree.map(np.testing.assert_array_equal, again, state)


def test_another_config_or_dataset_is_refused_and_the_difference_named(finished):
    workdir, _ = finished
    with pytest.raises(CheckpointError, match=r"-b = 2\n\+b = 3"):
        run(workdir, config_text="a = 1\nb = 3")
    with pytest.raises(CheckpointError, match="'f0', now 'f1'"):
        run(workdir, dataset_fingerprint="f1")


def test_another_optimiser_under_the_same_config_text_is_refused(finished):
    with pytest.raises(CheckpointError, match="opt_state"):
        run(finished[0], optimizer=OptimizerSettings("momentum", learning_rate=0.1))


def test_frozen_parameters_and_their_average_do_not_move(tmp_path):
    rules = (ParameterRule("encoder/.*", frozen=True), ParameterRule(".*"))
    first = {}
    state = run(
        tmp_path,
        optimizer=OptimizerSettings(learning_rate=0.1, rules=rules, ema_decay=0.5),
        load_variables=lambda v: first.setdefault("v", v),
    )
    jax.tree.map(np.testing.assert_array_equal, state.params["encoder"], first["v"]["params"]["encoder"])
    np.testing.assert_allclose(
        state.ema_params["encoder"]["first"]["kernel"], first["v"]["params"]["encoder"]["first"]["kernel"], rtol=1e-6
    )
    assert not np.allclose(state.params["head"]["kernel"], first["v"]["params"]["head"]["kernel"])


def test_the_average_is_the_recurrence_over_the_parameters_after_each_step(tmp_path):
    optimizer = OptimizerSettings("sgd", learning_rate=0.1, ema_decay=0.75)
    first, heads = {}, []
    for steps in (1, 2, 3):
        settings = dataclasses.replace(SETTINGS, num_steps=steps)
        state = run(tmp_path, settings, optimizer=optimizer, load_variables=lambda v: first.setdefault("v", v))
        heads.append(state.params["head"]["kernel"])
    expected = np.asarray(first["v"]["params"]["head"]["kernel"], np.float64)
    for head in heads:
        expected = 0.75 * expected + 0.25 * head
    np.testing.assert_allclose(state.ema_params["head"]["kernel"], expected, rtol=1e-5, atol=1e-7)
    loaded, _, _ = load_for_evaluation(tmp_path)
    np.testing.assert_array_equal(loaded["params"]["head"]["kernel"], state.ema_params["head"]["kernel"])


def poisoned_at(step, value=-9):
    def stream(start):
        for number, batch in enumerate(batches(start), start):
            if number == step:
                batch["label"] = np.full_like(batch["label"], value)
            yield batch

    return stream


def test_an_infinite_loss_stops_names_step_and_term_keeps_the_batch_and_the_good_checkpoints(tmp_path):
    settings = dataclasses.replace(SETTINGS, num_steps=20, log_every=1)
    with pytest.raises(NonFiniteError, match="step 6: loss term 'items'") as caught:
        run(tmp_path, settings, stream=poisoned_at(5))
    assert (caught.value.step, caught.value.where) == (6, "loss term 'items'")
    with np.load(caught.value.batch_path, allow_pickle=False) as saved:
        expected = next(poisoned_at(5)(5))
        assert saved.files == list(expected)
        for name in saved.files:
            np.testing.assert_array_equal(saved[name], expected[name])
    assert [entry["step"] for entry in lines(tmp_path)] == [1, 2, 3, 4, 5]
    variables, _, metadata = load_for_evaluation(tmp_path, "last")
    assert metadata.step == 4
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(variables))


def test_a_bad_step_that_a_checkpoint_is_due_at_is_not_saved(tmp_path):
    with pytest.raises(NonFiniteError):
        run(tmp_path, stream=poisoned_at(3))
    assert load_for_evaluation(tmp_path, "last")[2].step == 2


def test_the_first_layer_with_a_non_finite_output_is_named(tmp_path):
    with pytest.raises(NonFiniteError) as caught:
        run(tmp_path, system=make_system(poisoned=True))  # log of relu inside the encoder
    assert caught.value.where.startswith("layer 'encoder")
    assert caught.value.step == 1


def test_data_that_ends_early_is_an_error_that_says_where(tmp_path):
    with pytest.raises(DataEndedError, match="step 3 of 4"):
        run(tmp_path, stream=lambda start: iter([make_batch(i) for i in range(start, 3)]))


def test_sigterm_saves_and_exits_with_143(tmp_path):
    class Terminate(Hook):
        def before_step(self, step):
            if step == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    said = []
    with pytest.raises(TrainingInterrupted, match="after step 3; saved") as caught:
        run(tmp_path, hooks=[Terminate()], log=said.append)
    assert caught.value.code == 143
    assert load_for_evaluation(tmp_path, "last")[2].data_position == 3
    assert said == [str(caught.value)]


def test_a_second_writer_is_refused_with_the_holder_named(tmp_path):
    with WorkdirLock(tmp_path), pytest.raises(WorkdirLockedError, match=f'"pid": {os.getpid()}'):
        run(tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_a_lock_file_left_by_a_dead_process_is_taken_over(tmp_path):
    (tmp_path / ".lock").write_text('{"pid": 999999999, "host": "here"}' + " " * 100)
    with WorkdirLock(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    with WorkdirLock(tmp_path):
        pass


def test_init_from_loads_by_name_and_reports_every_fate(finished, tmp_path):
    source, state = finished
    init = InitFromSettings(
        str(source), include=("params/head/.*", "params/encoder/first/kernel"), rename=(("head/bias", "head/offset"),)
    )
    said, seen = [], {}

    class Watch(Hook):
        def start(self, step, total_steps):
            seen["start"] = step

    settings = dataclasses.replace(SETTINGS, num_steps=1, init_from=(init,), seed=9)
    # a learning rate near zero: what comes out is what was loaded
    out = run(
        tmp_path, settings, optimizer=OptimizerSettings("sgd", learning_rate=1e-30), log=said.append, hooks=[Watch()]
    )
    np.testing.assert_array_equal(out.params["head"]["kernel"], state.params["head"]["kernel"])
    np.testing.assert_array_equal(out.params["encoder"]["first"]["kernel"], state.params["encoder"]["first"]["kernel"])
    assert not np.allclose(out.params["encoder"]["second"]["kernel"], state.params["encoder"]["second"]["kernel"])
    assert seen == {"start": 0}
    assert "loaded: 2\n    params/encoder/first/kernel\n    params/head/kernel\n" in said[0]
    assert "missing: 1\n    params/head/bias\n" in said[0]
    assert "unfit: 0\n" in said[0]
    assert "excluded: 4\n" in said[0]
    assert "params/head/offset" in said[0].split("unused")[1]


def test_init_from_an_npz_names_what_does_not_fit_and_strict_refuses(tmp_path):
    np.savez(tmp_path / "w.npz", **{"params/head/bias": np.ones(3), "params/head/kernel": np.zeros((4, 3))})
    init = InitFromSettings(str(tmp_path / "w.npz"), include=("params/head/.*",))
    said = []
    run(tmp_path / "a", dataclasses.replace(SETTINGS, num_steps=1, init_from=(init,)), log=said.append)
    assert "unfit: 1\n    params/head/kernel: source (4, 3), model (8, 3)" in said[0]
    strict = dataclasses.replace(init, strict=True)
    with pytest.raises(InitFromError, match="strict"):
        run(tmp_path / "b", dataclasses.replace(SETTINGS, num_steps=1, init_from=(strict,)))
    nothing = dataclasses.replace(init, include=("params/foot/.*",))
    with pytest.raises(InitFromError, match="no parameter was loaded"):
        run(tmp_path / "c", dataclasses.replace(SETTINGS, num_steps=1, init_from=(nothing,)))


def test_the_first_parameters_do_not_depend_on_the_number_of_devices(tmp_path):
    first = []
    for devices, kind in ((1, "pmap"), (8, "shard_map")):
        settings = dataclasses.replace(SETTINGS, num_steps=1, num_devices=devices, parallel=kind)
        run(tmp_path / kind, settings, load_variables=lambda v: first.append(v) or v)
    jax.tree.map(np.testing.assert_array_equal, *first)


def test_a_run_goes_on_on_another_number_of_devices(finished, tmp_path):
    run(tmp_path, dataclasses.replace(SETTINGS, num_steps=2, num_devices=8, parallel="pmap"))
    state = run(tmp_path)  # steps 3 and 4 on two devices under shard_map
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), state.params, finished[1].params)


def test_evaluation_runs_when_due_and_its_metrics_are_logged_and_stored(tmp_path):
    called = []

    def evaluate(step, predict):
        called.append((step, predict(make_batch(0, 3))["hoi_scores"].shape))
        return {"score": 1.0 / step}

    settings = dataclasses.replace(SETTINGS, num_steps=5, evaluate_every=2, best_metric="score", keep_last=1)
    run(tmp_path, settings, evaluate=evaluate)
    assert called == [(2, (3, 3)), (4, (3, 3)), (5, (3, 3))]
    assert {"step": 4, "evaluation": {"score": 0.25}} in lines(tmp_path)
    assert load_for_evaluation(tmp_path, "best")[2].metrics == {"score": 0.5}
    assert load_for_evaluation(tmp_path, "last")[2].step == 5


def test_the_profiler_leaves_a_trace(tmp_path):
    run(tmp_path, dataclasses.replace(SETTINGS, profile_steps=(2, 3)))
    end = time.monotonic() + 20
    while not (found := list((tmp_path / "profile").rglob("*.xplane.pb"))) and time.monotonic() < end:
        time.sleep(0.1)
    assert found[0].stat().st_size > 0
