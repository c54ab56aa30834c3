"""The log files: truncated on resume, readable by TensorFlow's own reader; the progress line."""

import json
import struct

import pytest

from hoi_jax.training.hooks import JsonLinesHook, ProgressHook, StepInfo, TensorBoardHook, progress_text


def info(step, **metrics):
    return StepInfo(step, 10, metrics or {"loss": 0.5}, images=8, seconds=0.5, wait=0.1)


def test_lines_after_the_restored_step_and_a_torn_line_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    kept = b'{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n{"step": 2, "evaluation": {}}\n'
    path.write_bytes(kept + b'{"step": 3, "loss": 9.0}\n{"step": 4, "lo')
    hook = JsonLinesHook(tmp_path, 1)
    hook.start(2, 10)
    assert path.read_bytes() == kept
    hook.after_step(info(3, loss=0.25))
    hook.close()
    assert path.read_bytes() == kept + b'{"step": 3, "loss": 0.25}\n'


def test_the_last_step_is_logged_even_when_it_is_not_a_multiple(tmp_path):
    hook = JsonLinesHook(tmp_path, 4)
    hook.start(0, 10)
    for step in range(1, 11):
        hook.after_step(info(step))
    hook.close()
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [4, 8, 10]


def test_event_files_are_read_by_tensorflow_with_checksums(tmp_path):
    tf = pytest.importorskip("tensorflow")
    from tensorflow.core.util.event_pb2 import Event, SessionLog

    hook = TensorBoardHook(tmp_path, 1)
    hook.start(300, 10)
    hook.after_step(info(301, loss=0.125))
    hook.after_evaluation(301, {"mAP": 31.5})
    hook.close()
    (path,) = (tmp_path / "tensorboard").iterdir()
    events = [Event.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
    assert events[0].file_version == "brain.Event:2"
    assert [event.step for event in events if event.session_log.status == SessionLog.START] == [301]
    scalars = {v.tag: (e.step, v.simple_value) for e in events for v in e.summary.value}
    assert scalars["loss"] == (301, 0.125)
    assert scalars["evaluation/mAP"] == (301, 31.5)
    assert scalars["speed/images_per_second"] == (301, 16.0)
    assert scalars["speed/data_wait_share"][1] == struct.unpack("<f", struct.pack("<f", 0.2))[0]


def test_the_progress_line_names_terms_speed_wait_and_time_left():
    text = progress_text(
        info(5, **{"loss": 0.5, "loss/verbs": 0.4, "gradient_norm": 9.0}),
        {"images_per_second": 16.0, "data_wait_share": 0.2},
        3725.0,
    )
    assert text == "step 5/10  loss 0.5000  verbs 0.4000  16.0 images/s  data wait 20 %  left 1:02:05"


def test_progress_off_a_terminal_writes_whole_lines_and_always_the_last_step(tmp_path):
    with open(tmp_path / "stderr", "w+") as stream:
        hook = ProgressHook(stream, seconds=1e9)
        hook.start(0, 10)
        for step in range(1, 11):
            hook.after_step(info(step))
        stream.seek(0)
        out = stream.read().splitlines()
    assert out[0] == "training from step 0 to 10"
    assert len(out) == 2 and out[1].startswith("step 10/10  loss 0.5000")
