"""Hyperparameters of TIN's networks: R, the maps, context attention, C and P."""

import dataclasses
import math
from typing import Literal

from hoi_jax.backbones.settings import ResNetSettings
from hoi_jax.settings import check_positive, check_share

InteractivenessStream = Literal["human", "object", "spatial", "pose"]
ClassifierStream = Literal["human", "object", "spatial", "joint"]


def check_once(name: str, streams: tuple[str, ...]) -> None:
    """Raise ValueError if a stream is named twice."""
    if len(set(streams)) != len(streams):
        raise ValueError(f"{name} names a stream twice: {streams}")


@dataclasses.dataclass(frozen=True)
class BackboneConfig(ResNetSettings):
    """R, the shared feature extractor, and the residual stage that follows it on every crop.

    Attributes:
      layout: see `backbones.resnet.ResNet`.
      frozen: stop gradients to R (the paper, which starts from a trained detector).
      cached: R is not part of the network; the batch contains its maps (`image_features`), computed by another run.
      roi_blocks, roi_width: blocks and width of the residual stages of humans and of objects.
      roi_size: samples per axis of a crop.
    """

    stage_sizes: tuple[int, ...] = (3, 4, 6)
    stage_strides: tuple[int, ...] = (1, 2, 2)
    layout: Literal["torchvision", "caffe", "slim"] = "torchvision"
    frozen: bool = True
    cached: bool = False
    roi_blocks: int = 3
    roi_width: int = 512
    roi_size: int = 7

    def __post_init__(self):
        super().__post_init__()
        check_positive(roi_blocks=self.roi_blocks, roi_width=self.roi_width)
        if self.roi_size < 2:
            raise ValueError(f"roi_size is {self.roi_size}, expected at least 2")

    @property
    def stride(self) -> int:
        """Pixels of the image per cell of R's map."""
        return self.stem_stride * math.prod(self.stage_strides)


@dataclasses.dataclass(frozen=True)
class ContextConfig:
    """Instance-centric attention (iCAN) of each box to the rest of the image.

    Attributes:
      channels: channels of query, key and value.
      features: length of the context vector.
      bias: whether the shared last convolution has a bias, as released. Without it, attention and convolution commute
        and all boxes need one matrix product; with it, every box needs a pass over the map.
      dropout: dropout rate of the query.
    """

    channels: int = 512
    features: int = 1024
    bias: bool = True
    dropout: float = 0.2

    def __post_init__(self):
        check_positive(channels=self.channels, features=self.features)
        check_share(dropout=self.dropout)


@dataclasses.dataclass(frozen=True)
class MapConfig:
    """Pair maps and their convolutions.

    Attributes:
      fit: "letterbox" keeps the aspect ratio of the union of both boxes (released), "stretch" fills the map with it.
      pose_min_score: minimum score of joints that are drawn, with their limbs.
    """

    size: int = 64
    fit: Literal["letterbox", "stretch"] = "letterbox"
    features: tuple[int, ...] = (64, 32)
    kernel: int = 5
    pose_min_score: float = 0.05

    def __post_init__(self):
        check_positive(size=self.size, kernel=self.kernel)
        check_share(pose_min_score=self.pose_min_score)
        cells = self.size
        for _ in self.features:
            cells = (cells - self.kernel + 1) // 2
        if self.size % 2 or cells < 1:
            raise ValueError(f"size is {self.size}, which is odd or too small for {len(self.features)} convolutions")


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
    """C, the HOI classifier.

    Attributes:
      streams: "human", "object", "spatial" (late fusion), "joint" (early fusion: both boxes, their context and the
        maps in one stream). Empty for a network that learns interactiveness only.
      appearance_layers, spatial_layers: widths of fully connected layers of human and object; of spatial and joint.
      dropout: rate after every layer.
      prior: probability of every class at initialisation; scores of classes without labels stay near it.
      context: human, object and joint streams also read the context vectors (iCAN).
      spatial_human: the spatial stream also reads the human feature (iCAN).
      object_class: the spatial and joint streams read the class of the object.
      unit_norm: layers as released, see `nn.mlp.MLP`.
    """

    streams: tuple[ClassifierStream, ...] = ("human", "object", "spatial")
    appearance_layers: tuple[int, ...] = (1024, 1024, 1024, 1024)
    spatial_layers: tuple[int, ...] = (1024, 1024)
    dropout: float = 0.5
    prior: float = 0.5
    context: bool = False
    spatial_human: bool = False
    object_class: bool = False
    unit_norm: bool = False

    def __post_init__(self):
        check_once("streams", self.streams)
        if not 0 < self.prior < 1:
            raise ValueError(f"prior is {self.prior}, expected a probability between 0 and 1")
        check_share(dropout=self.dropout)


@dataclasses.dataclass(frozen=True)
class InteractivenessConfig:
    """P, the interactiveness network.

    Attributes:
      streams: inputs of P. Empty disables P.
      layout: "separate" (paper): human, object and maps have separate layers before they are joined; "joined"
        (released): the human with the maps in one branch, the object in the other; box maps are C's.
      context: whether P reads the context vectors; context_with: the branch that reads the human's ("human" on
        HICO-DET, "object" on V-COCO, as released).
      own_stages: P has its own residual stages and map convolutions instead of C's, so that it can come from another
        training run (the paper's T modes, Figure 6b).
      logits: 1, or 2 = interactive and non-interactive with a sigmoid each (released).
      logit_weights: factors of these logits in training: () = none; released: ln(total / count).
      no_interaction_positive: whether annotated no_interaction pairs count as interactive (released).
      legacy_negative_copy: in training, replace the object branch of negatives by their human branch (released; this
        reveals the label to P).
      stream_layers, pair_layers, dropout: widths of layers before and after joining, dropout rate.
      pose_features: channels of the pose convolutions in layout "joined".
    """

    streams: tuple[InteractivenessStream, ...] = ("human", "object", "spatial", "pose")
    layout: Literal["separate", "joined"] = "separate"
    context: bool = False
    context_with: Literal["human", "object"] = "human"
    own_stages: bool = False
    logits: int = 1
    logit_weights: tuple[float, ...] = ()
    no_interaction_positive: bool = False
    legacy_negative_copy: bool = False
    stream_layers: tuple[int, ...] = (1024, 1024)
    pair_layers: tuple[int, ...] = (1024, 1024)
    pose_features: tuple[int, ...] = (32, 16)
    dropout: float = 0.2

    def __post_init__(self):
        check_once("streams", self.streams)
        check_share(dropout=self.dropout)
        if self.logits not in (1, 2) or len(self.logit_weights) not in (0, self.logits):
            raise ValueError(
                f"logits is {self.logits} (expected 1 or 2) and logit_weights {self.logit_weights} "
                "(expected one per logit, or none)"
            )
        if self.legacy_negative_copy and self.layout != "joined":
            raise ValueError("legacy_negative_copy needs layout 'joined'")
