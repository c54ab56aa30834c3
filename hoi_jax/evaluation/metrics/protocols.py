"""Evaluation protocols as small sets of options; a published evaluator is a named preset.

The options of each evaluator were determined by running it; the presets reproduce its per-class results exactly on
the golden detections (`tests/golden/test_hico_eval.py`), ConsNet's to float32 precision.
"""

import dataclasses
from typing import Literal

from hoi_jax.evaluation.metrics.ap import ApMode, ThresholdName
from hoi_jax.settings import choice


@dataclasses.dataclass(frozen=True)
class HoiProtocol:
    """Scoring options of HOI detections.

    Attributes:
      name: preset name, or "custom".
      thresholds: the eleven recall thresholds (`ap.RECALL_THRESHOLDS`).
      max_per_image: maximum number of triplets scored per image, best first; None = all.
      skip_images_without_gt: detections in images without any annotated pair are ignored instead of being
        false positives.
      strict_iou: a match needs overlap > 0.5 instead of >= 0.5.
      plus_one: sides of inclusive pixel boxes are x2 - x1 + 1.
      ap: 11-point mean or area.
      known_object_source: which images count in the Known Object setting: those with a positive image-level
        label of any class of the object, or those with a visible pair of it (a subset of the former).
      prediction_shift: pixels added to predicted coordinates to align them with the annotations (0-based
        predictions, 1-based annotations).
      precision: data type of recall and precision.
    """

    name: str = "custom"
    thresholds: ThresholdName = "matlab"
    max_per_image: int | None = None
    skip_images_without_gt: bool = False
    strict_iou: bool = False
    plus_one: bool = True
    ap: ApMode = "11pt"
    known_object_source: Literal["image_labels", "visible_pairs"] = "visible_pairs"
    prediction_shift: float = 1.0
    precision: Literal["float64", "float32"] = "float64"

    def __post_init__(self) -> None:
        choice("thresholds", self.thresholds, ("matlab", "arange", "tenths"))
        choice("ap", self.ap, ("11pt", "area"))
        choice("known_object_source", self.known_object_source, ("image_labels", "visible_pairs"))
        choice("precision", self.precision, ("float64", "float32"))
        if self.max_per_image is not None and self.max_per_image < 1:
            raise ValueError(f"max_per_image is {self.max_per_image}, expected a positive number or None")


HOI_PRESETS: dict[str, HoiProtocol] = {
    # The MATLAB evaluator of the dataset's authors.
    "official": HoiProtocol("official"),
    # The same code run in GNU Octave, which builds the thresholds like numpy.arange.
    "octave": HoiProtocol("octave", thresholds="arange"),
    "ppdm": HoiProtocol("ppdm", thresholds="arange"),
    # QPIC = CDN without pair NMS.
    "qpic": HoiProtocol("qpic", thresholds="arange", max_per_image=100, skip_images_without_gt=True),
    # UPT and PViC (pocket's meter).
    "upt": HoiProtocol("upt", strict_iou=True, skip_images_without_gt=True),
    "consnet": HoiProtocol("consnet", thresholds="tenths", plus_one=False, precision="float32"),
}


def hoi_protocol(name: str, **changes: object) -> HoiProtocol:
    """The preset `name`, with single options replaced (which its name then lists).

    Raises:
      ValueError: unknown name (the message suggests the nearest) or impossible value.
      TypeError: unknown option.
    """
    choice("protocol", name, HOI_PRESETS)
    preset = HOI_PRESETS[name]
    if not changes:
        return preset
    label = ",".join([name, *(f"{key}={value}" for key, value in sorted(changes.items()))])
    return dataclasses.replace(preset, **{"name": label, **changes})  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class ActionProtocol:
    """Scoring options of V-COCO style actions; the default is the official script.

    Attributes:
      name: "official" or a custom name.
      ap: area under the precision envelope (official) or the 11-point mean.
      min_overlap: IoU that a person and a role box must reach.
      empty_person_images: treatment of a prediction in an image without any person annotation: a false positive
        (`fp`) or an error (the official script crashes there).
    """

    name: str = "official"
    ap: ApMode = "area"
    min_overlap: float = 0.5
    empty_person_images: Literal["fp", "error"] = "fp"

    def __post_init__(self) -> None:
        choice("ap", self.ap, ("11pt", "area"))
        choice("empty_person_images", self.empty_person_images, ("fp", "error"))
