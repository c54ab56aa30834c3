"""PyTorch's files give their tensors, and nothing that they name is run. Files: see torch_fixtures.py."""

import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoi_jax.backbones import convert
from hoi_jax.io import CorruptFileError, DataError, TooLargeError
from hoi_jax.serialization.state import read_state
from hoi_jax.serialization.torch_file import read_torch

FOLDER = Path(__file__).parent / "torch"
KINDS = {
    "float32": "f4", "float16": "f2", "bfloat16": "f4", "float64": "f8", "int64": "i8", "int32": "i4", "uint8": "u1",
    "bool": "?",
}  # fmt: skip


@pytest.mark.parametrize("name", ["values.pth", "values_legacy.pth"])
def test_every_type_view_and_parameter_of_both_layouts_comes_back(name):
    found = read_torch(FOLDER / name)
    for kind, ours in KINDS.items():
        expected = np.arange(6).reshape(2, 3).astype(ours)
        assert found[kind].dtype == expected.dtype
        np.testing.assert_array_equal(found[kind], expected)
    shared = np.arange(12, dtype=np.float32)
    expected = {
        "transposed": shared.reshape(3, 4).T, "every_other": shared[1::2], "expanded": np.full((2, 3), 7, np.float32),
        "number": np.float32(2.5), "nothing": np.zeros((0, 4), np.float32), "parameter": np.float32([1, -1]),
    }  # fmt: skip
    assert found.keys() == KINDS.keys() | expected.keys()
    for key, array in expected.items():
        assert found[key].shape == array.shape and found[key].flags.c_contiguous
        np.testing.assert_array_equal(found[key], array)


def test_a_checkpoint_gives_its_model_and_on_request_another_entry():
    path = FOLDER / "checkpoint.pth"
    assert {name: array.shape for name, array in read_torch(path).items()} == {
        "0.weight": (2, 1, 1, 1), "0.bias": (2,), "1.weight": (2,), "1.bias": (2,), "1.running_mean": (2,),
        "1.running_var": (2,), "1.num_batches_tracked": (),
    }  # fmt: skip
    np.testing.assert_allclose(read_torch(path)["1.running_var"], 0.9)
    assert read_torch(path, entry="optimizer")["state.0.step"] == 1
    with pytest.raises(DataError, match="no entry 'ema'.*'lr_scheduler'"):
        read_torch(path, entry="ema")


def test_a_scripted_archive_gives_the_tensors_of_its_modules():
    found = read_torch(FOLDER / "scripted.pt")
    assert found.keys() == {"visual.conv1.weight", "visual.proj", "logit_scale", "input_resolution"}
    assert found["visual.proj"].dtype == np.float16
    np.testing.assert_array_equal(found["visual.conv1.weight"], np.arange(48).reshape(4, 3, 2, 2))
    assert found["logit_scale"] == 4.5 and found["input_resolution"] == 224


def test_files_are_told_apart_by_content(tmp_path):
    for source in FOLDER.glob("*.p*"):
        copy = tmp_path / "weights.bin"
        copy.write_bytes(source.read_bytes())
        assert read_state(copy).keys() == read_torch(source).keys()
    np.savez(tmp_path / "arrays.npz", a=np.ones(2))
    (tmp_path / "arrays.npz").rename(tmp_path / "arrays.pth")
    assert list(read_state(tmp_path / "arrays.pth")) == ["a"]
    (tmp_path / "text.pth").write_text("PK and so on, or anything else")
    with pytest.raises(CorruptFileError, match="text.pth"):
        read_state(tmp_path / "text.pth")


class Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def zipped(path, pickled, storages=None, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, data in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", data)
    return path


def tensor(count=4, offset=0, shape=(4,), strides=(1,), kind=b"FloatStorage"):
    """{"x": tensor} as PyTorch pickles it, with whatever numbers."""
    numbers = pickle.dumps((offset, shape, strides), 2)[2:-1]
    storage = b"(X\x07\0\0\0storagectorch\n%s\nX\x01\0\0\x000X\x03\0\0\0cpu%stQ" % (kind, pickle.dumps(count, 2)[2:-1])
    return b"\x80\x02}X\x01\0\0\0xctorch._utils\n_rebuild_tensor\n(" + storage + _spread(numbers) + b"tRs."


def _spread(triple):
    """The three values of a pickled tuple without the tuple."""
    assert triple.endswith((b"\x87q\x00", b"\x87q\x01", b"\x87q\x02", b"\x87q\x03"))
    return triple[: triple.rindex(b"\x87")]


@pytest.mark.parametrize(
    "value", [Call(os.system, "exit 1"), Call(eval, "1"), Call(print, "x"), Call(getattr, 1, "real")]
)
def test_a_pickle_that_would_run_something_is_refused_by_name(tmp_path, value, capsys):
    path = zipped(tmp_path / "bad.pth", pickle.dumps({"x": value}, 2))
    with pytest.raises(CorruptFileError, match=rf"bad.pth .*the name '.*{value.call[0].__name__}' is refused"):
        read_torch(path)
    legacy = tmp_path / "bad_legacy.pth"
    legacy.write_bytes((FOLDER / "values_legacy.pth").read_bytes()[:15] + pickle.dumps(value, 2))
    with pytest.raises(CorruptFileError, match=f"{value.call[0].__name__}' is refused"):
        read_torch(legacy)
    assert capsys.readouterr().out == ""


def test_a_whole_pickled_model_is_refused_with_its_class(tmp_path):
    path = zipped(tmp_path / "model.pth", b"\x80\x02ctorchvision.models.resnet\nResNet\n)\x81}b.")
    with pytest.raises(CorruptFileError, match="torchvision.models.resnet.ResNet"):
        read_torch(path)


def test_a_tensor_must_lie_inside_its_storage(tmp_path):
    data = np.arange(4, dtype="<f4").tobytes()
    good = zipped(tmp_path / "good.pth", tensor(offset=1, shape=(3,)), {"0": data})
    np.testing.assert_array_equal(read_torch(good)["x"], [1, 2, 3])
    for change in ({"offset": 1}, {"strides": (2,)}, {"shape": (5,)}, {"count": 5}, {"kind": b"HalfStorage"}):
        with pytest.raises(CorruptFileError, match="bad.pth"):
            read_torch(zipped(tmp_path / "bad.pth", tensor(**change), {"0": data}))
    with pytest.raises(CorruptFileError, match="bad.pth"):
        read_torch(zipped(tmp_path / "bad.pth", tensor(), {}))
    with pytest.raises(CorruptFileError, match="torch.ComplexFloatStorage"):
        read_torch(zipped(tmp_path / "bad.pth", tensor(kind=b"ComplexFloatStorage"), {"0": data}))


def test_tensors_that_repeat_their_storage_are_counted_before_they_are_built(tmp_path):
    path = zipped(tmp_path / "big.pth", tensor(shape=(10**9, 10**9), strides=(0, 0)), {"0": bytes(16)})
    with pytest.raises(TooLargeError, match="4000000000000000000 bytes"):
        read_torch(path)
    with pytest.raises(TooLargeError, match="checkpoint.pth"):
        read_torch(FOLDER / "checkpoint.pth", max_bytes=1000)


def test_dicts_inside_themselves_end(tmp_path):
    circle = {}
    circle["a"] = circle["b"] = circle
    with pytest.raises(DataError, match="nested deeper"):
        read_torch(zipped(tmp_path / "circle.pth", pickle.dumps({"x": circle}, 2)))
    wide = {"leaf": 1}
    for _ in range(40):
        wide = {"a": wide, "b": wide}
    with pytest.raises(DataError, match="more than"):
        read_torch(zipped(tmp_path / "wide.pth", pickle.dumps(wide, 2)))


def test_compressed_archives_and_ambiguous_checkpoints_are_refused(tmp_path):
    with pytest.raises(CorruptFileError, match="compressed"):
        read_torch(zipped(tmp_path / "c.pth", tensor(), {"0": bytes(16)}, zipfile.ZIP_DEFLATED))
    with pytest.raises(DataError, match="contains no tensors"):
        read_torch(zipped(tmp_path / "n.pth", pickle.dumps({"epoch": 3}, 2)))


@pytest.mark.parametrize("name", ["values.pth", "values_legacy.pth", "scripted.pt"])
def test_every_cut_of_a_file_is_refused(name, tmp_path):
    data = (FOLDER / name).read_bytes()
    for end in range(0, len(data), 37):
        (tmp_path / "cut.pth").write_bytes(data[:end])
        with pytest.raises(CorruptFileError, match="cut.pth"):
            read_torch(tmp_path / "cut.pth")


@pytest.fixture(scope="module")
def changed_path(tmp_path_factory):
    return tmp_path_factory.mktemp("changed") / "changed.pth"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_changed_bytes_give_arrays_or_a_refusal(changed_path, data):
    whole = bytearray((FOLDER / "values_legacy.pth").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    changed_path.write_bytes(whole)
    try:
        found = read_torch(changed_path)
    except DataError:
        return
    assert all(isinstance(array, np.ndarray) for array in found.values())


def test_legacy_counts_must_fit_the_file(tmp_path):
    data = (FOLDER / "values_legacy.pth").read_bytes()
    place = data.rindex(struct.pack("<q", 2))  # the parameter's two numbers are the last storage or near it
    (tmp_path / "long.pth").write_bytes(data[:place] + struct.pack("<q", 2**60) + data[place + 8 :])
    with pytest.raises(CorruptFileError, match="truncated|unknown"):
        read_torch(tmp_path / "long.pth")


def test_a_resnet_of_torchvision_becomes_a_backbone(tmp_path, capsys):
    layers = {
        "conv1.weight": np.ones((4, 3, 7, 7), np.float32),
        "bn1.weight": np.ones(4, np.float32),
        "fc.weight": np.ones((5, 4), np.float32),
    }
    np.savez(tmp_path / "resnet.npz", **layers)
    assert convert.main([str(tmp_path / "resnet.npz"), str(tmp_path / "out.npz")]) == 0
    assert "not used: fc.weight" in capsys.readouterr().out
    assert read_state(tmp_path / "out.npz")["params/backbone/stem/conv/kernel"].shape == (7, 7, 3, 4)
    assert convert.main([str(FOLDER / "scripted.pt"), str(tmp_path / "out.npz")]) == 2
    assert "supported ResNet" in capsys.readouterr().err
