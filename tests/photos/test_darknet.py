"""Darknet's networks: another implementation's numbers, closed forms, and errors that name the layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax.io import CorruptFileError
from hoi_jax.photos.darknet import Head, Layer, _maxpool, decode, read_network, run

CFG = """[net]
height=8
width=8
channels=3
[convolutional]
filters=7
size=1
activation=linear
[yolo]
mask=1
anchors=1,2, 4,2
classes=2
"""


def files(tmp_path, cfg, weights):
    (tmp_path / "net.cfg").write_bytes(bytes(cfg))
    (tmp_path / "net.weights").write_bytes(bytes(weights))
    return tmp_path / "net.cfg", tmp_path / "net.weights"


def header(version=(0, 2, 0)):
    return np.array(version, "<i4").tobytes() + bytes(8)


def test_boxes_and_scores_are_those_of_opencv(golden_dir, tmp_path):
    with np.load(golden_dir / "darknet.npz") as golden:
        golden = dict(golden)
    network = read_network(*files(tmp_path, golden["cfg"], golden["weights"]))
    assert network.input_hw == golden["images"].shape[1:3]
    boxes, scores = jax.jit(lambda weights, images: run(network, weights, images))(network.weights, golden["images"])
    centre, size = golden["rows"][..., :2], golden["rows"][..., 2:4]
    np.testing.assert_allclose(boxes, np.concatenate([centre - size / 2, centre + size / 2], -1), atol=1e-4)
    np.testing.assert_allclose(scores, golden["rows"][..., 5:], atol=1e-4)


def test_a_silent_head_gives_anchors_on_the_centres_of_cells():
    head = Head(np.float32([[8, 4], [16, 32]]), num_classes=3, spread=1.3)
    boxes, scores = decode(jnp.zeros((1, 2, 4, 16)), head, (32, 64))
    boxes = np.asarray(boxes).reshape(2, 4, 2, 4)
    for row, column, anchor in np.ndindex(2, 4, 2):
        x, y = (column + 0.5) / 4, (row + 0.5) / 2
        width, height = head.anchors_wh_px[anchor] / [64, 32]
        expected = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        np.testing.assert_allclose(boxes[row, column, anchor], expected, atol=1e-6)
    assert np.allclose(scores, 0.25)  # two sigmoids of 0


def test_the_spread_lets_centres_leave_their_cell():
    head = Head(np.float32([[1, 1]]), num_classes=1, spread=1.05)
    channels = jnp.zeros((1, 1, 1, 6)).at[..., 0].set(40.0).at[..., 1].set(-40.0)
    (box,) = np.asarray(decode(channels, head, (1, 1))[0][0])
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, [1.025, -0.025], atol=1e-6)


def test_max_pooling_pads_behind_the_map():
    x = np.random.default_rng(0).normal(size=(1, 5, 4, 2)).astype(np.float32)
    for stride in (1, 2):
        found = np.asarray(_maxpool(Layer("maxpool", {"size": "2", "stride": str(stride)}), jnp.asarray(x)))
        expected = [[x[0, r : r + 2, c : c + 2].max((0, 1)) for c in range(0, 4, stride)] for r in range(0, 5, stride)]
        np.testing.assert_array_equal(found[0], expected)


def test_old_files_have_a_shorter_head(tmp_path):
    numbers = np.arange(7 + 21, dtype="<f4")
    for start in (header(), np.array((0, 1, 0, 9), "<i4").tobytes()):
        network = read_network(*files(tmp_path, CFG.encode(), start + numbers.tobytes()))
        assert network.weights[0]["bias"].tolist() == numbers[:7].tolist()
        # [out, in] in the file
        assert network.weights[0]["kernel"][0, 0].T.tolist() == numbers[7:].reshape(7, 3).tolist()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[net]", "[convolutional]", r"expected \[net\]"),
        ("[yolo]", "[region]", r"layer 1 is \[region\]"),
        ("linear", "mish", "layer 0 .* only leaky or linear"),
        ("filters=7", "filters=8", r"layer 1 \[yolo\] has 8 channels, unfit for 2 classes"),
        ("filters=7", "", r"\[convolutional\] has no 'filters'"),
        ("filters=7", "filters=many", "many"),
        ("mask=1", "mask=9", "net.cfg"),
        ("size=1", "what is this", "line 7 is 'what is this'"),
        ("[yolo]", "[route]\nlayers=-1,5\n[yolo]", r"layer 1 \[route\] joins \[0, 5\]"),
    ],
)
def test_a_layer_that_is_not_known_is_named(tmp_path, old, new, message):
    weights = header() + bytes(4 * 28)
    with pytest.raises(CorruptFileError, match=message):
        read_network(*files(tmp_path, CFG.replace(old, new, 1).encode(), weights))


def test_weights_that_do_not_fit_are_named(tmp_path):
    for size, message in ((0, "ends"), (27, "ends within layer 0, after 27 numbers"), (29, "has 136 bytes, .* 132")):
        with pytest.raises(CorruptFileError, match=f"net.weights: {message}"):
            read_network(*files(tmp_path, CFG.encode(), header() + bytes(4 * size)))
    with pytest.raises(CorruptFileError, match="net.weights"):
        read_network(*files(tmp_path, CFG.encode(), b""))
