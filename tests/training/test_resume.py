"""Runs that are killed, interrupted or spread over processes end as the uninterrupted run of one process does."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.helpers.paths import ROOT
from tests.helpers.xla_flags import with_devices

STEPS = 12
PAUSE = 0.05
DEADLINE = 120.0


def start(workdir, *extra, kind="pmap", pause=PAUSE, steps=STEPS):
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": with_devices(2),
        "PYTHONPATH": str(ROOT),
    }
    program = ["-m", "tests.helpers.toy_program"]
    command = [sys.executable, "-W", "error", *program, workdir, str(steps), str(pause), kind, *extra]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    assert "finished" in out


def wait_for(condition, process):
    """False when the program ended before the condition held."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if condition():
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.0005)
    raise TimeoutError("the program neither got there nor ended")


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=DEADLINE)


def logged(workdir):
    path = workdir / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def half_written(workdir):
    return list((workdir / "checkpoints").glob("*tmp*"))


def final_state(workdir, steps=STEPS):
    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = checkpointer.metadata(workdir / "checkpoints" / str(steps) / "state").item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return checkpointer.restore(workdir / "checkpoints" / str(steps) / "state", restore_args=as_numpy)


def assert_identical(workdir, reference, steps=STEPS):
    assert (workdir / "metrics.jsonl").read_bytes() == (reference / "metrics.jsonl").read_bytes()
    left, right = final_state(workdir, steps), final_state(reference, steps)
    assert {"params", "opt_state", "ema_params", "key", "step", "model_state"} <= left.keys()
    jax.tree.map(lambda a, b: (a.dtype, a.tobytes()) == (b.dtype, b.tobytes()) or pytest.fail("differs"), left, right)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("reference")
    finish(start(workdir, pause=0))
    steps = [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10, 11, 12, 12]  # losses once, evaluations after 6 and 12
    return workdir


def test_three_kills_one_of_them_during_a_save_leave_no_trace(tmp_path, reference):
    draw = random.Random(20)
    for moment in ("random", "save", "random"):
        process = start(tmp_path)
        if moment == "save":
            assert wait_for(lambda: half_written(tmp_path), process)
            kill(process)
            assert half_written(tmp_path)
        else:
            before = logged(tmp_path)
            goal = max(before - 2, 0) + draw.randint(1, 3)
            # On start the file shrinks to the checkpoint; count from there.
            assert wait_for(lambda g=goal: logged(tmp_path) >= g, process)
            time.sleep(draw.uniform(0, PAUSE))
            kill(process)
    finish(start(tmp_path))
    assert_identical(tmp_path, reference)


@pytest.mark.slow
def test_twenty_kills_leave_no_trace(tmp_path, tmp_path_factory):
    steps = 120
    reference = tmp_path_factory.mktemp("long_reference")
    finish(start(reference, pause=0, steps=steps))
    draw = random.Random(0)
    saves = 0
    for number in range(20):
        process = start(tmp_path, steps=steps)
        assert wait_for(lambda: (tmp_path / "metrics.jsonl").exists(), process)
        if number % 2:
            assert wait_for(lambda: half_written(tmp_path), process)
        else:
            time.sleep(draw.uniform(0, 6.0))
        kill(process)
        saves += bool(half_written(tmp_path))
    assert saves >= 8, f"only {saves} of 20 kills hit a save"
    finish(start(tmp_path, steps=steps))
    assert_identical(tmp_path, reference, steps)


def test_ctrl_c_saves_says_so_and_the_run_goes_on_exactly(tmp_path, reference):
    process = start(tmp_path)
    assert wait_for(lambda: logged(tmp_path) >= 3, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130, err
    stopped_at = max(int(p.name) for p in (tmp_path / "checkpoints").iterdir())
    assert f"stopped by signal 2 after step {stopped_at}; saved" in out
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["step"] == stopped_at < STEPS
    finish(start(tmp_path))
    assert_identical(tmp_path, reference)


@pytest.mark.parametrize("kind", ["pmap", "shard_map"])
def test_two_processes_each_with_half_of_the_batch_train_to_the_same_parameters(tmp_path, reference, kind):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    pair = [start(tmp_path, address, str(i), kind=kind, pause=0) for i in range(2)]
    try:
        for process in pair:
            finish(process)
    finally:
        for process in pair:
            process.kill()
    left, right = final_state(tmp_path), final_state(reference)
    # Sums run over 4 devices instead of 2: float32 reassociation, as in test_parallel.
    for part in ("params", "ema_params", "model_state"):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5), left[part], right[part])
    losses = [
        [json.loads(line).get("loss") for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (tmp_path, reference)
    ]
    np.testing.assert_allclose(*[[x for x in row if x is not None] for row in losses], rtol=2e-5)
