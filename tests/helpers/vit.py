"""Intermediate values of a ViT for tests."""

from jaxtyping import Array

from hoi_jax.backbones.vit import ViT


def all_tokens(net: ViT, image: Array) -> list[Array]:
    """Tokens after the embedding and after each block; a `method` of `net.apply`."""
    streams = net.streams(image)
    return [*streams, net.blocks[-1](streams[-1])]
