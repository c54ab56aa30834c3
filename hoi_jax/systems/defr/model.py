"""DEFR's network: an image encoder and a classifier on directions (section 3.1, Figure 3)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hoi_jax.backbones.clip_resnet import ModifiedResNet
from hoi_jax.backbones.resnet import ResNet
from hoi_jax.backbones.vit import ViT
from hoi_jax.nn.pre_norm import for_softmax
from hoi_jax.systems.defr.config import DefrConfig


def unit(x: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
    """x / |x|; a zero vector stays zero."""
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.where(square > 0, square, 1.0))


def cosine_logits(
    x: Float[Array, "*batch dim"], weight: Float[Array, "classes dim"], gamma: float
) -> Float[Array, "*batch classes"]:
    """gamma * cos(x, w_c) (DEFR, Eq. 1), at least in float32: an error of 2^-9 in a cosine is 0.2 in a logit."""
    x, weight = unit(for_softmax(x)), unit(for_softmax(weight))
    return gamma * jnp.einsum("...d,cd->...c", x, weight, precision=jax.lax.Precision.HIGHEST)


class CosineClassifier(nn.Module):
    """DEFR's classifier. `kernel` [classes, dim] has one row per class, initialised with language embeddings.

    Attributes:
      gamma: temperature, 100 in the paper.
      linear: the ablation with plain logits x w + b; rows are initialised with unit length, the bias with zero.
    """

    classes: int
    gamma: float = 100.0
    linear: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "*batch dim"]) -> Float[Array, "*batch classes"]:
        dim = x.shape[-1]

        def start(key, shape):
            weight = nn.initializers.normal(dim**-0.5)(key, shape)
            return unit(weight) if self.linear else weight

        weight = self.param("kernel", start, (self.classes, dim))
        if not self.linear:
            return cosine_logits(x, weight, self.gamma)
        bias = self.param("bias", nn.initializers.zeros, (self.classes,))
        logits = jnp.einsum("...d,cd->...c", for_softmax(x), weight, precision=jax.lax.Precision.HIGHEST)
        return logits + bias.reshape((1,) * (logits.ndim - 1) + (-1,))


class DefrNet(nn.Module):
    """DEFR's network: class logits of whole images and of pairs of boxes."""

    config: DefrConfig
    classes: int

    def setup(self):
        b, dtype = self.config.backbone, jnp.dtype(self.config.compute_dtype)
        grid = (self.config.inputs.size // b.stride, self.config.inputs.size // b.stride)
        if b.is_vit:
            kind = b.kind.removesuffix("_vit")
            self.backbone = ViT(b.patch, b.width, b.layers, b.heads, grid, kind, b.stem, dtype, b.remat)
        elif b.kind == "clip_resnet":
            self.backbone = ModifiedResNet(b.stage_sizes, b.width, b.heads, b.output, grid, dtype)
        else:
            self.backbone = ResNet(stage_sizes=b.stage_sizes, width=b.width, norm=b.norm, dtype=dtype)  # type: ignore[arg-type]
        self.classifier = CosineClassifier(self.classes, self.config.classifier.gamma, self.config.classifier.linear)

    def __call__(
        self, image: Float[Array, "batch size size 3"], *, train: bool = False, axis_name: str | None = None
    ) -> Float[Array, "batch classes"]:
        """Logits of normalised images. With `train`, a CLIP ResNet updates its "batch_stats"."""
        if isinstance(self.backbone, ModifiedResNet):
            moving = train and not self.config.backbone.freeze_bn
            return self.classifier(self.backbone(image, train=moving, axis_name=axis_name))
        if isinstance(self.backbone, ResNet):
            hw = jnp.broadcast_to(jnp.asarray(image.shape[1:3])[None], (image.shape[0], 2))
            return self.classifier(jnp.mean(self.backbone(image, hw), axis=(1, 2)))
        return self.classifier(self.backbone(image))

    def streams(self, image: Float[Array, "batch size size 3"]) -> tuple[list[Array], Float[Array, "batch classes"]]:
        """(inputs of `pair_logits`, logits of the whole image)."""
        assert isinstance(self.backbone, ViT)
        streams = self.backbone.streams(image)
        return streams, self.classifier(self.backbone.feature(streams))

    def pair_logits(
        self, streams: list[Array], visible: Bool[Array, "batch pairs patches"]
    ) -> Float[Array, "batch pairs classes"]:
        """Logits of the regional class token of each pair."""
        d = self.config.detection
        assert isinstance(self.backbone, ViT)
        return self.classifier(self.backbone.regional(streams, visible, blocks=d.blocks, rule=d.rule, exact=d.exact))
