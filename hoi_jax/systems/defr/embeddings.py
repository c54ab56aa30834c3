"""Classifier rows from texts: text encoders, and their projection to the image feature's width."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoi_jax import io
from hoi_jax.backbones.text import Bert, TextTower, bert_rule
from hoi_jax.backbones.vit_names import clip_rule
from hoi_jax.serialization.conversion import convert_state
from hoi_jax.serialization.state import read_state
from hoi_jax.settings import choice
from hoi_jax.systems.defr.tokenizers import Tokenizer, WordPieces, clip_tokenizer

Pooling = Literal["cls", "mean"]


@dataclasses.dataclass(frozen=True)
class TextEncoder:
    """A text encoder with its metadata.

    Attributes:
      name: "clip" or "bert".
      encode: texts -> [N, D] float32, rows of unit length.
      image_projection: [image width, D] of a CLIP ViT, or None.
    """

    name: str
    encode: Callable[[Sequence[str]], Float[np.ndarray, "texts dim"]]
    image_projection: Float[np.ndarray, "width dim"] | None = None


def unit_rows(x: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, "rows dim"]:
    """Rows scaled to unit length."""
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def as_tree(flat: Mapping[str, np.ndarray], prefix: str) -> dict[str, Any]:
    """{"prefix/a/b": x} as {"a": {"b": x}} in float32; other names are left out."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        if name.startswith(f"{prefix}/"):
            *path, leaf = name.removeprefix(f"{prefix}/").split("/")
            node = tree
            for part in path:
                node = node.setdefault(part, {})
            node[leaf] = np.asarray(value, np.float32)
    return tree


def _layers(tree: Mapping[str, Any]) -> int:
    return sum(name.startswith("blocks_") for name in tree)


def load_encoder(
    weights: str | Path,
    *,
    vocabulary: str | Path | None = None,
    heads: int | None = None,
    pooling: Pooling = "cls",
    batch_size: int = 64,
) -> TextEncoder:
    """Load a text encoder: CLIP (OpenAI and open_clip names) or BERT (Hugging Face names).

    Args:
      weights: safetensors, npz or PyTorch file. Sizes are inferred from the tensors.
      vocabulary: CLIP's BPE file (default: that of an installed package, else the words in this library), or BERT's
        `vocab.txt` (default: the file of that name beside the weights).
      heads: number of attention heads (default: width / 64 for CLIP, 12 for BERT and MiniLM).
      pooling: BERT's feature: that of the first token ("cls", as in DEFR), or the mean ("mean", for sentence encoders
        such as MiniLM).

    Raises:
      DataError: the file is damaged, or its names are neither CLIP's nor BERT's.
    """
    state = read_state(weights)
    if "token_embedding.weight" in state or "text.token_embedding.weight" in state:
        return _clip_encoder(state, weights, clip_tokenizer(vocabulary), heads, batch_size)
    if any(name.endswith("embeddings.word_embeddings.weight") for name in state):
        file = Path(vocabulary) if vocabulary else Path(weights).with_name("vocab.txt")
        pieces = io.read_bytes(file, max_bytes=64 * io.MEGABYTE).decode().splitlines()
        return _bert_encoder(state, weights, WordPieces(pieces), heads or 12, pooling, batch_size)
    raise io.DataError(f"{weights}: tensor names are neither CLIP's nor BERT's, for example {sorted(state)[:5]}")


def _convert(state: Mapping[str, np.ndarray], rule, weights: str | Path) -> dict[str, np.ndarray]:
    flat, unknown = convert_state(state, rule)
    if unknown:
        raise io.DataError(f"{weights}: unknown tensors for this encoder: {list(unknown)[:10]}")
    return flat


def _clip_encoder(
    state: Mapping[str, np.ndarray], weights: str | Path, tokenizer: Tokenizer, heads: int | None, batch_size: int
) -> TextEncoder:
    flat = _convert(state, clip_rule, weights)
    tree = as_tree(flat, "params/text")
    (words, width), (context, _) = tree["token_embedding"].shape, tree["positional_embedding"].shape
    net = TextTower(words, context, width, _layers(tree), heads or max(width // 64, 1), tree["projection"].shape[1])
    run = jax.jit(lambda tokens: net.apply({"params": tree}, tokens))
    encode = _in_batches(lambda texts: np.asarray(run(tokenizer(texts))), batch_size)
    projection = flat.get("params/image_projection")
    return TextEncoder("clip", encode, None if projection is None else np.asarray(projection, np.float32))


def _bert_encoder(
    state: Mapping[str, np.ndarray], weights: str | Path, tokenizer: Tokenizer, heads: int, pooling: Pooling, size: int
) -> TextEncoder:
    choice("pooling", pooling, ("cls", "mean"))
    tree = as_tree(_convert(state, bert_rule, weights), "params/text")
    (words, width), positions = tree["word_embedding"].shape, len(tree["positional_embedding"])
    feedforward = tree["blocks_0"]["linear1"]["kernel"].shape[1]
    net = Bert(words, positions, width, _layers(tree), heads, feedforward)

    @jax.jit
    def run(tokens):
        valid = tokens > 0
        hidden = cast(Array, net.apply({"params": tree}, tokens, valid))
        if pooling == "cls":
            return hidden[:, 0]
        return jnp.sum(jnp.where(valid[:, :, None], hidden, 0.0), axis=1) / jnp.sum(valid, axis=1, keepdims=True)

    def encode(texts: Sequence[str]) -> np.ndarray:
        tokens = tokenizer(texts)
        width = -(-tokens.shape[1] // 16) * 16  # few lengths mean few compilations; padding is masked
        return np.asarray(run(np.pad(tokens, ((0, 0), (0, width - tokens.shape[1])))))

    return TextEncoder("bert", _in_batches(encode, size))


def _in_batches(encode: Callable[[Sequence[str]], np.ndarray], size: int) -> Callable[[Sequence[str]], np.ndarray]:
    def run(texts: Sequence[str]) -> np.ndarray:
        filled = [*texts, *([texts[-1]] * (-len(texts) % size))]
        rows = np.concatenate([encode(filled[i : i + size]) for i in range(0, len(filled), size)])[: len(texts)]
        return unit_rows(rows)

    return run


def lift(
    rows: Float[np.ndarray, "classes dim"], width: int, *, seed: int = 0
) -> tuple[Float[np.ndarray, "classes {width}"], float]:
    """Map rows to another length, preserving their inner products and hence the cosines between classes.

    Longer rows are products with a fixed random matrix of orthonormal rows. Shorter ones are coordinates along the
    principal directions of the rows (not centred), rotated at random so that coordinates are alike; exact if the rows
    span at most `width` dimensions, otherwise the best approximation.

    Returns:
      the rows, and the fraction of their squared length that is preserved (1 = exact).
    """
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((width, width)))
    if rows.shape[1] <= width:
        return rows @ rotation[: rows.shape[1]], 1.0
    left, values, _ = np.linalg.svd(rows.astype(np.float64), full_matrices=False)
    kept = (left * values)[:, :width]
    share = float(np.sum(values[:width] ** 2) / np.sum(values**2))
    return (kept @ rotation[: kept.shape[1]]).astype(rows.dtype), min(share, 1.0)


def classifier_rows(
    encoder: TextEncoder, texts: Sequence[str], width: int | None = None, *, normalise: bool = False, seed: int = 0
) -> tuple[Float[np.ndarray, "classes width"], str]:
    """(rows for DEFR's classifier, description of how they were made).

    For a CLIP ViT: the text vector mapped back through the image projection, w = P t, so that x w = (x P) t; its length
    is kept unless `normalise`. For a CLIP ResNet, or without `width`: the text vector itself. For other encoders: the
    text vector after `lift` to `width`.
    """
    rows = encoder.encode(texts)
    if encoder.image_projection is not None and width in (None, encoder.image_projection.shape[0]):
        rows, how = rows @ encoder.image_projection.T, "text vectors mapped back through the image projection"
    elif width in (None, rows.shape[1]):
        how = "text vectors"
    else:
        rows, share = lift(rows, width, seed=seed)
        how = f"text vectors of {encoder.name} in {width} dimensions, {100 * share:.2f} % of the squared length kept"
    return (unit_rows(rows) if normalise else rows).astype(np.float32), how


def nearest(rows: Float[np.ndarray, "classes dim"], count: int) -> tuple[np.ndarray, np.ndarray]:
    """(indices, cosines), each [classes, count], of the other classes nearest to each class."""
    cosine = unit_rows(rows) @ unit_rows(rows).T
    np.fill_diagonal(cosine, -np.inf)
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(cosine, order, axis=1)
