"""The reader of pickles builds plain data of every protocol, calls nothing, and survives any bytes."""

import collections
import os
import pickle
import struct
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoi_jax.formats.predictions import vcoco_pickle as pickle_writer
from hoi_jax.io import CorruptFileError
from hoi_jax.serialization import plain_pickle


class CacheTemplate(collections.defaultdict):
    """Named like the class of UPT's cache; the module it lives in does not matter."""


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class WithState:
    def __init__(self):
        self.secret = 1


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_of_every_protocol_come_back(protocol):
    value = [
        {"image_id": 3, "hold_agent": 0.25, "text": "é\n'\\", 7: None},
        [1.5, -7, 2**40, -(2**70), True, False, float("inf"), 255, 65535, 70000],
        (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), (), [], {}, "x" * 300,
    ]  # fmt: skip
    assert plain_pickle.loads(pickle.dumps(value, protocol), "f") == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i8", ">i2", "u1", "?"])
def test_arrays_of_every_protocol_come_back(protocol, dtype):
    random = np.random.default_rng(0)
    arrays = [random.integers(0, 2, shape).astype(dtype) for shape in ((5,), (2, 3), (0, 4), ())]
    arrays.append(np.asfortranarray(arrays[1]))
    for got, array in zip(plain_pickle.loads(pickle.dumps(arrays, protocol), "f"), arrays, strict=True):
        np.testing.assert_array_equal(got, array)
        assert got.shape == array.shape and got.dtype == array.dtype.newbyteorder("=")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_numpy_scalars_and_repeated_arrays_come_back(protocol):
    box = np.arange(4.0)
    got = plain_pickle.loads(pickle.dumps([np.float32(0.5), np.int64(-3), np.bool_(True), box, box], protocol), "f")
    assert got[:3] == [0.5, -3, True]
    np.testing.assert_array_equal(got[3], box)
    assert got[4] is got[3]


def test_bytes_of_numpy_1_and_python_2_are_read():
    data = pickle.dumps(np.arange(3, dtype="<i4"), 2)
    old = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    np.testing.assert_array_equal(plain_pickle.loads(old, "f"), [0, 1, 2])
    # As Python 2 wrote it: raw bytes are a short string.
    python2 = b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
    python2 += b"U\x08" + struct.pack("<d", 0.75) + b"tR."
    assert plain_pickle.loads(python2, "f") == 0.75


def test_the_cache_of_upt_is_told_from_an_ordinary_dict():
    entry = CacheTemplate()
    entry["image_id"] = 4
    (got,) = plain_pickle.loads(pickle.dumps([entry], 2), "f")
    assert isinstance(got, plain_pickle.FilledEntry) and got == {"image_id": 4}
    assert type(plain_pickle.loads(pickle.dumps(collections.OrderedDict(a=1), 2), "f")) is dict


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "value",
    [
        Call(os.system, "exit 1"),
        Call(eval, "1"),
        Call(print, "x"),
        Call(np.load, "x"),
        Call(getattr, 1, "real"),
        Call(collections.defaultdict, list),
        Call(bytes, 10**9),
        WithState(),
        {1, 2},
        complex(1, 2),
        np.array([1, "x"], object),
        np.array(["text"]),
        np.zeros(2, [("a", "f4")]),
        os.system,
    ],
    ids=lambda v: getattr(v, "call", [type(v)])[0].__name__ + str(getattr(v, "dtype", "")),
)
def test_everything_but_plain_data_is_refused(value, protocol):
    with pytest.raises(CorruptFileError, match="f.pkl: pickle refused at byte"):
        loaded = plain_pickle.loads(pickle.dumps([value], protocol), "f.pkl")
        assert not callable(loaded[0]), loaded


def test_a_refused_name_is_not_imported():
    for data in (b"cantigravity\nfly\n.", b"\x8c\x0bantigravity\x8c\x03fly\x93."):
        with pytest.raises(CorruptFileError, match="antigravity.fly"):
            plain_pickle.loads(data, "f")
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"]",
        b"K\x01K\x02.",
        b"Z.",
        b"(",
        b"t.",
        b"0.",
        b"h\x05.",
        b"]K\x01s.",
        b"}]K\x01s.",
        b"}K\x01(u.",
        b"K\x01K\x02R.",
        b"K\x01K\x02b.",
        b"K\x01K\x02a.",
        b"I12x\n.",
        b"Sx\n.",
        b"B\xff\xff\xff\x7fab.",
        b"\x8e" + b"\xff" * 8 + b"ab.",
        b"X\x02\x00\x00\x00\xff\xfe.",
        b"cnumpy\nndarray\n(I1000000000\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n)R(I1\n(I1000000000\ntcnumpy\ndtype\n(S'f8'\nI0\nI1\ntRI0\nC\x00tb.",
        b"cnumpy\ndtype\n(S'O'\nI0\nI1\ntR.",
        b"(i" + b"os\nsystem\n.",
        b"(cos\nsystem\no.",
        b")\x81.",
        b"P1\n.",
        b"\x82\x01.",
    ],
)
def test_malformed_and_hostile_bytes_are_refused(data):
    with pytest.raises(CorruptFileError, match="f: pickle refused at byte"):
        plain_pickle.loads(data, "f")


def test_a_huge_memo_number_costs_no_memory():
    assert plain_pickle.loads(b"K\x07r\xf0\xff\xff\xff0j\xf0\xff\xff\xff.", "f") == 7


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_every_cut_of_a_file_is_refused(protocol):
    data = pickle.dumps([{"box": np.arange(5.0), "score": np.float32(1), "id": 70000, "text": "hold"}], protocol)
    for end in range(len(data)):
        with pytest.raises(CorruptFileError):
            plain_pickle.loads(data[:end], "f")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_changed_bytes_give_plain_values_or_a_refusal(data):
    whole = bytearray(pickle.dumps([{"box": np.arange(2.0), "score": 0.5}], data.draw(st.sampled_from([0, 2, 4]))))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        value = plain_pickle.loads(bytes(whole), "f")
    except CorruptFileError:
        return
    assert not callable(value)


@given(
    st.recursive(
        st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=12,
    )
)
@settings(deadline=None)
def test_python_and_we_read_what_we_write(value):
    assert pickle.loads(pickle_writer.dumps(value)) == value
    assert plain_pickle.loads(pickle_writer.dumps(value), "f") == value


@pytest.mark.parametrize("value", [{1}, True, None, (1,), np.arange(3)])
def test_only_plain_values_are_written(value):
    with pytest.raises(TypeError, match="cannot write"):
        pickle_writer.dumps([value])
