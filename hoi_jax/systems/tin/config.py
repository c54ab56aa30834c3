"""What can be set about TIN. Defaults are the paper's, or the specification's choice where the paper is silent."""

import dataclasses

from hoi_jax.settings import choice

STREAMS = ("human", "object", "spatial", "pose")


def _check_streams(name: str, streams: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    for stream in streams:
        choice(name, stream, allowed)
    if len(set(streams)) != len(streams):
        raise ValueError(f"{name} names a stream twice: {streams}")


def _check_positive(**values: float | int) -> None:
    for name, value in values.items():
        if value <= 0:
            raise ValueError(f"{name} is {value}, expected a number above 0")


def _check_share(**values: float | int) -> None:
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}, expected a number in [0, 1]")


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
    """R: the shared feature extractor, and the residual stage that follows it on every crop.

    Attributes:
      stage_sizes, stage_strides, width, kind, norm, stem, mask_padding: see `backbones.resnet.ResNet`.
      frozen: no gradient flows into R (the paper, which starts from a trained detector).
      roi_blocks, roi_width: blocks and width of the human's and the object's own residual stage.
      roi_size: samples per axis of a crop.
      image_mean, image_std: per channel (RGB), in gray levels 0 to 255.
    """

    stage_sizes: tuple[int, ...] = (3, 4, 6)
    stage_strides: tuple[int, ...] = (1, 2, 2)
    width: int = 64
    kind: str = "bottleneck"
    norm: str = "frozen_batch"
    stem: str = "imagenet"
    mask_padding: bool = True
    frozen: bool = True
    roi_blocks: int = 3
    roi_width: int = 512
    roi_size: int = 7
    image_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    image_std: tuple[float, float, float] = (58.395, 57.12, 57.375)

    def __post_init__(self):
        choice("kind", self.kind, ("basic", "bottleneck"))
        choice("norm", self.norm, ("frozen_batch", "group", "none"))
        choice("stem", self.stem, ("imagenet", "small"))
        _check_positive(width=self.width, roi_blocks=self.roi_blocks, roi_width=self.roi_width)
        if len(self.stage_sizes) != len(self.stage_strides):
            raise ValueError(f"stage_sizes {self.stage_sizes} and stage_strides {self.stage_strides} differ in length")
        if self.roi_size < 2:
            raise ValueError(f"roi_size is {self.roi_size}, expected at least 2")


@dataclasses.dataclass(frozen=True)
class MapConfig:
    """Pair maps and their convolutions. `pose_min_score`: weaker joints, and limbs on them, are not drawn."""

    size: int = 64
    features: tuple[int, ...] = (64, 32)
    kernel: int = 5
    pose_min_score: float = 0.05

    def __post_init__(self):
        _check_positive(size=self.size, kernel=self.kernel)
        _check_share(pose_min_score=self.pose_min_score)
        cells = self.size
        for _ in self.features:
            cells = (cells - self.kernel + 1) // 2
        if self.size % 2 or cells < 1:
            raise ValueError(f"size {self.size} is odd or too small for {len(self.features)} convolutions")


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
    """C: which streams it has, their fully connected layers, its dropout rate.

    `prior` is the probability that every class starts from: the scores of classes without any label stay there.
    """

    streams: tuple[str, ...] = ("human", "object", "spatial")
    appearance_layers: tuple[int, ...] = (1024, 1024, 1024, 1024)
    spatial_layers: tuple[int, ...] = (1024, 1024)
    dropout: float = 0.5
    prior: float = 0.5

    def __post_init__(self):
        _check_streams("streams", self.streams, STREAMS[:3])
        if not 0 < self.prior < 1:
            raise ValueError(f"prior is {self.prior}, expected a probability between 0 and 1")
        if not self.streams:
            raise ValueError("streams is empty: C needs at least one")
        _check_share(dropout=self.dropout)


@dataclasses.dataclass(frozen=True)
class InteractivenessConfig:
    """P: its streams (none turns P off), layers and dropout; whether no_interaction pairs count as interactive."""

    streams: tuple[str, ...] = STREAMS
    stream_layers: tuple[int, ...] = (1024, 1024)
    pair_layers: tuple[int, ...] = (1024, 1024)
    dropout: float = 0.2
    no_interaction_positive: bool = False

    def __post_init__(self):
        _check_streams("streams", self.streams, STREAMS)
        _check_share(dropout=self.dropout)


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """Image-centric sampling of training pairs.

    Attributes:
      group: at most this many annotated pairs of an image in one step; the group is drawn at random.
      augment: further copies, shared out among the pairs of the group (15 + G positives in the paper).
      copies: "jittered" copies (the paper), or the "detected" boxes of the pair where the detector found them and
        jittered ones elsewhere: what the network meets later.
      jitter_iou, jitter_tries: a copy must overlap its box by more than this; proposals per copy.
      negatives: detected pairs without annotation, drawn uniformly.
      human_score, object_score: confidence that a detection needs to appear in a negative.
      overlap: IoU above which a detection stands for an annotated box.
    """

    group: int = 5
    augment: int = 15
    copies: str = "jittered"
    jitter_iou: float = 0.7
    jitter_tries: int = 4
    negatives: int = 45
    human_score: float = 0.8
    object_score: float = 0.4
    overlap: float = 0.8

    def __post_init__(self):
        choice("copies", self.copies, ("jittered", "detected"))
        _check_positive(group=self.group, jitter_tries=self.jitter_tries)
        if self.augment < 0 or self.negatives < 0:
            raise ValueError(f"augment {self.augment} and negatives {self.negatives} must not be negative")
        _check_share(
            jitter_iou=self.jitter_iou,
            human_score=self.human_score,
            object_score=self.object_score,
            overlap=self.overlap,
        )

    @property
    def places(self) -> int:
        """Positive places of one image."""
        return self.group + self.augment


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the four terms, and how class frequencies enter ("logit_scale" or "none").

    The authors double `human` on V-COCO.
    """

    weighting: str = "logit_scale"
    human: float = 1.0
    object: float = 1.0
    spatial: float = 1.0
    interactiveness: float = 1.0

    def __post_init__(self):
        choice("weighting", self.weighting, ("logit_scale", "none"))


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
    """Which detections are paired, and how streams and confidences make the score.

    fusion: "sum" of the streams of C (TIN), or "product", the sum of the appearance streams times the spatial one
      (iCAN, and TIN as released).
    spare_no_interaction: the score of "does not interact" is not multiplied by f_P, which says the opposite.
    lis: "paper" (Eq. 3 with scale, offset, slope), "none" (1) or "product" (the confidences themselves).
    """

    human_threshold: float = 0.6
    object_threshold: float = 0.4
    fusion: str = "sum"
    spare_no_interaction: bool = True
    lis: str = "paper"
    lis_scale: float = 8.4
    lis_offset: float = 12.0
    lis_slope: float = 10.0

    def __post_init__(self):
        choice("fusion", self.fusion, ("sum", "product"))
        choice("lis", self.lis, ("paper", "none", "product"))
        _check_share(human_threshold=self.human_threshold, object_threshold=self.object_threshold)


@dataclasses.dataclass(frozen=True)
class NisConfig:
    """Non-interaction suppression: pairs whose s_P lies below `threshold` are marked as not kept."""

    enabled: bool = True
    threshold: float = 0.1


@dataclasses.dataclass(frozen=True)
class TinConfig:
    """TIN. `max_*` are static sizes: detections taken as people and as objects, and pairs that are scored."""

    backbone: BackboneConfig = BackboneConfig()
    maps: MapConfig = MapConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    interactiveness: InteractivenessConfig = InteractivenessConfig()
    sampling: SamplingConfig = SamplingConfig()
    loss: LossConfig = LossConfig()
    score: ScoreConfig = ScoreConfig()
    nis: NisConfig = NisConfig()
    max_humans: int = 16
    max_objects: int = 32
    max_pairs: int = 256
    compute_dtype: str = "float32"

    def __post_init__(self):
        choice("compute_dtype", self.compute_dtype, ("float32", "bfloat16"))
        _check_positive(max_humans=self.max_humans, max_objects=self.max_objects, max_pairs=self.max_pairs)

    @property
    def uses_pixels(self) -> bool:
        """False for a network that looks at boxes and poses only."""
        return bool({"human", "object"} & {*self.classifier.streams, *self.interactiveness.streams})
