"""Write initial class embeddings of DEFR's classifier, for any label set and text encoder.

    python -m hoi_jax.systems.defr.embed_labels --vocabulary hico_det --weights ViT-B-16.safetensors --out clip.npz
    python -m hoi_jax.systems.defr.embed_labels --vocabulary hico_det --weights minilm/model.safetensors \\
        --pooling mean --width 768 --out minilm.npz --nearest 5
    python -m hoi_jax.systems.defr.embed_labels --classes my_classes.txt --weights ViT-B-16.safetensors --out mine.npz

Weights: CLIP with the names of OpenAI or open_clip, or BERT with those of Hugging Face, as safetensors, npz, or
PyTorch's .pth and .pt. Use the result in a training run with
`config.train.init_from = (dict(path="clip.npz", include=("params/classifier/.*",)),)`.
A file of classes has one sentence per line, which is encoded as it is.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from hoi_jax import io
from hoi_jax.systems.defr.embeddings import classifier_rows, load_encoder, nearest
from hoi_jax.systems.defr.prompts import STYLES, activity_prompt, class_prompts
from hoi_jax.vocab import get_vocabulary


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    labels = parser.add_mutually_exclusive_group(required=True)
    labels.add_argument("--vocabulary", help="class table of the library: hico_det, vcoco, hoi_scenes, ...")
    labels.add_argument("--classes", type=Path, metavar="FILE", help="one class per line, as the sentence to encode")
    labels.add_argument("--activities", type=Path, metavar="FILE", help='one MPII activity per line: "a person ..."')
    parser.add_argument("--weights", type=Path, required=True, help="checkpoint of the text encoder")
    parser.add_argument("--tokenizer", type=Path, metavar="FILE", help="vocabulary file (see load_encoder)")
    parser.add_argument("--style", choices=STYLES, default="paper", help="style of sentences (default: %(default)s)")
    parser.add_argument("--width", type=int, help="width of the image feature (default: that of the encoder)")
    parser.add_argument("--pooling", choices=("cls", "mean"), default="cls", help="BERT's feature (MiniLM: mean)")
    parser.add_argument("--heads", type=int, help="number of attention heads, if unusual")
    parser.add_argument("--normalise-rows", action="store_true", help="rows of unit length")
    parser.add_argument("--seed", type=int, default=0, help="seed of the rotation to --width (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="npz file to write")
    parser.add_argument("--nearest", type=int, default=0, metavar="N", help="print the N nearest of ten classes")
    return parser.parse_args(arguments)


def read_sentences(options: argparse.Namespace) -> tuple[str, ...]:
    """Sentences, one per class. Raises DataError for an empty file, ValueError for an unknown vocabulary."""
    if options.vocabulary:
        return class_prompts(get_vocabulary(options.vocabulary), options.style)
    path = options.classes or options.activities
    lines = io.read_bytes(path, max_bytes=io.MEGABYTE).decode().splitlines()
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        raise io.DataError(f"{path}: the file contains no classes")
    return tuple(lines if options.classes else map(activity_prompt, lines))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status."""
    options = parse_arguments(arguments)
    try:
        sentences = read_sentences(options)
        encoder = load_encoder(
            options.weights, vocabulary=options.tokenizer, heads=options.heads, pooling=options.pooling
        )
        rows, how = classifier_rows(
            encoder, sentences, options.width, normalise=options.normalise_rows, seed=options.seed
        )
    except (ValueError, UnicodeDecodeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    about = {"weights": options.weights.name, "encoder": encoder.name, "how": how, "style": options.style}
    data = BytesIO()
    arrays: dict[str, Any] = {
        "params/classifier/kernel": rows,
        "sentences": np.asarray(sentences),
        "about_json": np.asarray(json.dumps(about)),
    }
    np.savez_compressed(data, **arrays)
    io.write_bytes_atomic(options.out, data.getvalue())
    print(f"{options.out}: {rows.shape[0]} classes, {rows.shape[1]} numbers each; {how}")
    if options.nearest:
        order, cosine = nearest(rows, options.nearest)
        for index in np.linspace(0, len(rows) - 1, min(10, len(rows))).astype(int):
            others = ", ".join(f"{sentences[o]} {c:.2f}" for o, c in zip(order[index], cosine[index], strict=True))
            print(f"{sentences[index]}: {others}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
