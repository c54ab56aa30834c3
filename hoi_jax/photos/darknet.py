"""Darknet networks (a text file of layers and a weight file), with the layers of YOLOv3-tiny and YOLOv4-tiny.

Darknet's weight file: three int32 (major, minor, revision), a count of training images (uint64 from version 0.2 on,
else int32), then float32 for every convolution in order: bias [out]; with batch normalisation scale, mean, variance
[out]; kernel [out, in, height, width]. Batch normalisation (epsilon 1e-5) is folded into the kernel here.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoi_jax import io
from hoi_jax.arrays import ArrayLike

EPSILON = 1e-5
LEAK = 0.1
_KINDS = ("convolutional", "maxpool", "route", "upsample", "yolo")
_MAX_CFG = io.MEGABYTE


@dataclasses.dataclass(frozen=True)
class Layer:
    """A section of the text file: its name without brackets and its values as strings."""

    kind: str
    values: Mapping[str, str]

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole number. Raises ValueError if it is absent without a default, or not a whole number."""
        if name not in self.values and default is None:
            raise ValueError(f"[{self.kind}] has no {name!r}")
        return int(self.values.get(name, default or 0))

    def integers(self, name: str) -> tuple[int, ...]:
        """Whole numbers separated by commas; () if the name is absent."""
        return tuple(int(part) for part in self.values.get(name, "").split(",") if part.strip())


@dataclasses.dataclass(frozen=True)
class Head:
    """Box output of one feature map.

    Attributes:
      anchors_wh_px: [A, 2] sizes in pixels of the network's input.
      spread: range of box centres in units of a cell (`scale_x_y`); 1 = within the cell.
    """

    anchors_wh_px: np.ndarray
    num_classes: int
    spread: float


Weights = Sequence[Mapping[str, Array | np.ndarray]]
"""Kernel [height, width, in, out] and bias [out] of each convolution, in order."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A checked network.

    Attributes:
      input_hw: height and width of its input images.
    """

    input_hw: tuple[int, int]
    layers: tuple[Layer, ...]
    weights: Weights


def read_network(cfg: Path, weights: Path) -> Network:
    """Network and weights from a layer file and a weight file.

    Raises:
      io.DataError: a file is missing or malformed, the two do not match, or a layer has an unsupported kind or
        activation; the message names file and layer.
    """
    sections = _sections(cfg)
    try:
        if not sections or sections[0].kind not in ("net", "network") or len(sections) < 2:
            raise ValueError("expected [net] followed by layers")
        layers = tuple(sections[1:])
        hw = sections[0].integer("height"), sections[0].integer("width")
        channels = _channels(layers, sections[0].integer("channels", 3))
    except (ValueError, IndexError) as error:
        raise io.CorruptFileError(f"{cfg}: {error}") from error
    return Network(hw, layers, _read_weights(weights, layers, channels))


def _sections(path: Path) -> list[Layer]:
    sections: list[tuple[str, dict[str, str]]] = []
    text = io.read_bytes(path, max_bytes=_MAX_CFG).decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            sections.append((line[1:-1], {}))
        elif line and line[0] not in "#;":
            name, equals, value = line.partition("=")
            if not equals or not sections:
                raise io.CorruptFileError(f"{path}: line {number} is {line[:40]!r}, expected [layer] or name=value")
            sections[-1][1][name.strip()] = value.strip()
    return [Layer(kind, values) for kind, values in sections]


def _sources(layers: Sequence[Layer], index: int) -> list[int]:
    """Layers joined by a route; negative numbers in the file count back from it."""
    found = [n if n >= 0 else index + n for n in layers[index].integers("layers")]
    if not found or min(found) < 0 or max(found) >= index:
        raise ValueError(f"layer {index} [route] joins {found}, expected layers before it")
    return found


def _channels(layers: Sequence[Layer], given: int) -> list[tuple[int, int]]:
    """(in, out) channels of every layer. Raises ValueError for unsupported layers."""
    table: list[tuple[int, int]] = []
    for index, layer in enumerate(layers):
        before = table[-1][1] if table else given
        after = before
        if layer.kind not in _KINDS:
            raise ValueError(f"layer {index} is [{layer.kind}], expected one of {_KINDS}")
        if layer.kind == "convolutional":
            after = layer.integer("filters")
            if layer.values.get("activation") not in ("leaky", "linear") or layer.integer("groups", 1) != 1:
                raise ValueError(f"layer {index} [convolutional] is unsupported: only leaky or linear in one group are")
        elif layer.kind == "route":
            groups = layer.integer("groups", 1)
            after = sum(table[source][1] // groups for source in _sources(layers, index))
        elif layer.kind == "yolo":
            head = head_of(layer)
            if before != len(head.anchors_wh_px) * (5 + head.num_classes):
                raise ValueError(f"layer {index} [yolo] has {before} channels, unfit for {head.num_classes} classes")
        table.append((before, after))
    return table


def head_of(layer: Layer) -> Head:
    """Head of a [yolo] layer. Raises ValueError or IndexError for malformed anchors."""
    anchors = np.reshape(np.array(layer.integers("anchors"), np.float32), (-1, 2))
    chosen = anchors[list(layer.integers("mask"))]
    return Head(chosen, layer.integer("classes"), float(layer.values.get("scale_x_y", 1)))


def _read_weights(path: Path, layers: Sequence[Layer], channels: Sequence[tuple[int, int]]) -> Weights:
    data = io.read_bytes(path)
    major, minor = np.frombuffer(data[:8].ljust(8, b"\0"), "<i4").tolist()
    start = 12 + (8 if major * 10 + minor >= 2 else 4)
    body = data[start:]
    numbers = np.frombuffer(body[: len(body) // 4 * 4], "<f4")
    at, table = 0, []
    for index, (layer, (before, after)) in enumerate(zip(layers, channels, strict=True)):
        if layer.kind != "convolutional":
            continue
        size, normalised = layer.integer("size"), bool(layer.integer("batch_normalize", 0))
        need = after * ((4 if normalised else 1) + before * size * size)
        if at + need > len(numbers):
            raise io.CorruptFileError(f"{path}: ends within layer {index}, after {len(numbers)} numbers")
        table.append(_folded(numbers[at : at + need], before, after, size, normalised))
        at += need
    if start + 4 * at != len(data):
        raise io.CorruptFileError(f"{path}: has {len(data)} bytes, but the layers need {start + 4 * at}")
    return table


def _folded(numbers: np.ndarray, before: int, after: int, size: int, normalised: bool) -> dict[str, np.ndarray]:
    vectors, rest = np.split(numbers.astype(np.float64), [after * (4 if normalised else 1)])
    vectors = vectors.reshape(-1, after)
    bias, kernel = vectors[0], rest.reshape(after, before, size, size).transpose(2, 3, 1, 0)
    if normalised:
        _, scale, mean, variance = vectors
        gain = scale / np.sqrt(variance + EPSILON)
        kernel, bias = kernel * gain, bias - mean * gain
    return {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}


def run(
    network: Network, weights: Weights, images: Float[ArrayLike, "batch height width 3"]
) -> tuple[Float[Array, "batch boxes 4"], Float[Array, "batch boxes classes"]]:
    """All boxes of all heads, in order of heads, rows, columns and anchors.

    Args:
      network: layers; `weights` (its own) are a separate argument, so that they can be traced by `jit`.
      images: RGB in [0, 1], of `network.input_hw`.

    Returns:
      Corners as fractions of the image (possibly outside of it), and a score per class: probability of an object
      times probability of the class.
    """
    outputs: list[Array] = []
    boxes, scores = [], []
    convolutions = iter(weights)
    x: Array = images
    for index, layer in enumerate(network.layers):
        if layer.kind == "yolo":
            found = decode(x, head_of(layer), network.input_hw)
            boxes.append(found[0])
            scores.append(found[1])
        elif layer.kind == "route":
            x = _route(layer, [outputs[source] for source in _sources(network.layers, index)])
        elif layer.kind == "convolutional":
            x = _convolve(layer, next(convolutions), x)
        else:
            x = _RESIZE[layer.kind](layer, x)
        outputs.append(x)
    return jnp.concatenate(boxes, axis=1), jnp.concatenate(scores, axis=1)


def _convolve(layer: Layer, weights: Mapping[str, Array | np.ndarray], x: ArrayLike) -> Array:
    size, stride = layer.integer("size"), layer.integer("stride", 1)
    pad = size // 2 if layer.integer("pad", 0) else layer.integer("padding", 0)
    x = jax.lax.conv_general_dilated(
        x, jnp.asarray(weights["kernel"]), (stride, stride), [(pad, pad)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=jax.lax.Precision.HIGHEST,
    )  # fmt: skip
    x = x + jnp.asarray(weights["bias"])[None, None, None]
    return jnp.where(x > 0, x, LEAK * x) if layer.values["activation"] == "leaky" else x


def _maxpool(layer: Layer, x: Array) -> Array:
    """Max pooling with Darknet's padding of size - 1, half of it (rounded down) before the first row and column."""
    size, stride = layer.integer("size"), layer.integer("stride")
    total = layer.integer("padding", size - 1)
    pads = (total // 2, total - total // 2)
    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, ((0, 0), pads, pads, (0, 0)))


def _upsample(layer: Layer, x: Array) -> Array:
    times = layer.integer("stride")
    return jnp.repeat(jnp.repeat(x, times, axis=1), times, axis=2)


_RESIZE: Mapping[str, Callable[[Layer, Array], Array]] = {"maxpool": _maxpool, "upsample": _upsample}


def _route(layer: Layer, sources: Sequence[Array]) -> Array:
    """Concatenated channels of the sources, of each only the part `group_id` of `groups`."""
    groups, part = layer.integer("groups", 1), layer.integer("group_id", 0)
    taken = [jnp.split(source, groups, axis=-1)[part] for source in sources]
    return jnp.concatenate(taken, axis=-1)


def decode(
    x: Float[Array, "batch rows columns channels"], head: Head, input_hw: tuple[int, int]
) -> tuple[Float[Array, "batch boxes 4"], Float[Array, "batch boxes classes"]]:
    """Boxes of one head (YOLOv3, section 2.1, with YOLOv4's spread of centres), as in `run`.

    Channels per anchor: x, y, log width, log height, object, classes. The centre is cell + s * sigmoid(x) - (s - 1) / 2
    with s = `spread`, in cells.
    """
    batch, rows, columns, _ = x.shape
    x = x.astype(jnp.float32).reshape(batch, rows, columns, len(head.anchors_wh_px), 5 + head.num_classes)
    cells = jnp.stack(jnp.meshgrid(jnp.arange(columns), jnp.arange(rows)), axis=-1)[None, :, :, None]
    offset = head.spread * jax.nn.sigmoid(x[..., :2]) - (head.spread - 1) / 2
    centre = (cells + offset) / jnp.array([columns, rows], jnp.float32)[None, None, None, None]
    anchors = jnp.asarray(head.anchors_wh_px / np.array(input_hw[::-1], np.float32))[None, None, None]
    half = jnp.exp(x[..., 2:4]) * anchors / 2
    boxes = jnp.concatenate([centre - half, centre + half], axis=-1)
    scores = jax.nn.sigmoid(x[..., 4:5]) * jax.nn.sigmoid(x[..., 5:])
    return boxes.reshape(batch, -1, 4), scores.reshape(batch, -1, head.num_classes)
