"""Predictions for image files: the implementation of `predict.py` given a model and boxes."""

import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from hoi_jax import schema
from hoi_jax.data.image_rows import image_number
from hoi_jax.data.numpy_batch import batch_from_images, read_image, shape_of
from hoi_jax.data.settings import SizeSettings
from hoi_jax.io import DataError, write_bytes_atomic, write_json_atomic
from hoi_jax.predictor import Predict
from hoi_jax.report.pairs import interactions_of, pairs_of_image
from hoi_jax.visualization.interactions import draw_interactions
from hoi_jax.vocab import Vocabulary

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
JPEG_QUALITY = 92
_NO_BOXES = {
    "xyxy_px": np.zeros((0, 4), np.float32),
    "class": np.zeros(0, np.int32),
    "score": np.zeros(0, np.float32),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Prediction options that do not depend on the model.

    Attributes:
      sizes: static shapes and resizing, as in training. batch_size: images per batch.
      min_score: verbs below it are left out.
      top, per_person: maximum number of (pair, verb) rows per image and per person.
      draw: whether to draw images. title: text on the drawings.
    """

    sizes: SizeSettings
    batch_size: int = 4
    min_score: float = 0.1
    top: int = 12
    per_person: int | None = None
    draw: bool = True
    title: str = ""


@runtime_checkable
class Boxes(Protocol):
    """Source of detections by image: a file or a detector."""

    def of(self, image: Path) -> Mapping[str, np.ndarray]: ...


def collect_images(arguments: Sequence[str]) -> list[Path]:
    """Image files of the arguments: files in the given order, and images directly in a folder by name.

    Raises:
      DataError: a path does not exist, or a folder has no images.
    """
    found: dict[Path, None] = {}
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_ENDINGS)
            if not inside:
                raise DataError(f"{path}: the folder has no images ({', '.join(IMAGE_ENDINGS)})")
            found.update(dict.fromkeys(inside))
        elif path.is_file():
            found[path] = None
        else:
            raise DataError(f"{path}: no such file or folder")
    return list(found)


@dataclasses.dataclass(frozen=True)
class _Image:
    path: Path
    image: np.ndarray
    detections: Mapping[str, np.ndarray]


def _predicted_pairs(
    group: Sequence[_Image], predict: Predict, vocabulary: Vocabulary, options: Options
) -> list[list[dict[str, Any]]]:
    """Pairs of each image in a group that fits into one batch."""
    if not any(len(p.detections["score"]) for p in group):
        return [[] for _ in group]
    batch, predictions = _predict_group(group, predict, options)
    scale_xy = (batch["original_hw_px"] / batch["image_hw_px"])[:, ::-1]
    rule = {"min_score": options.min_score, "top": options.top, "per_person": options.per_person}
    return [
        pairs_of_image(predictions, row, scale_xy[row], vocabulary, **rule) if len(image.detections["score"]) else []
        for row, image in enumerate(group)
    ]


def _predict_group(
    group: Sequence[_Image], predict: Predict, options: Options
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(batch, checked predictions) of a group."""
    batch = batch_from_images(
        [p.image for p in group],
        [p.detections for p in group],
        options.sizes,
        image_ids=list(range(len(group))),
        batch_size=options.batch_size,
    )
    predictions = {name: np.asarray(value) for name, value in predict(batch).items()}
    schema.check_predictions(predictions, options.batch_size)
    return batch, predictions


def classify_images(
    paths: Sequence[Path],
    predict: Predict,
    vocabulary: Vocabulary,
    options: Options,
    out: Path,
    manifest: Mapping[str, Any],
) -> int:
    """Write the ranked classes of whole images to `out`/predictions.json and print the best ones.

    Returns:
      Number of unreadable images.
    """
    from hoi_jax.systems.defr.open_vocabulary import ranked_phrases

    progress, failed, done = Progress(len(paths)), list[dict[str, str]](), dict[Path, dict[str, Any]]()
    for group in _groups(paths, None, options, failed, progress):
        scores = _predict_group(group, predict, options)[1]["hoi_scores"]
        for image, logits in zip(group, scores, strict=False):  # the batch is padded after the group
            classes = ranked_phrases(logits, vocabulary, options.top)
            height, width = image.image.shape[:2]
            size = {"image_id": image_number(image.path), "height": height, "width": width}
            done[image.path] = {"file_name": image.path.name, **size, "classes": classes}
            print(f"{image.path.name}: " + ", ".join(f"{c['phrase']} {c['share']:.2f}" for c in classes[:3]))
            progress.advance(image.path.name)
    rows = [done[path] for path in paths if path in done]
    head = {**manifest, "vocabulary": vocabulary.name, "top": options.top}
    write_json_atomic(out / "predictions.json", {**head, "images": rows, "failed": failed})
    return len(failed)


class Progress:
    """Progress on standard error, one line per image; on a terminal the line is rewritten."""

    def __init__(self, total: int):
        self._total, self._done, self._start = total, 0, time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._clear = "\r\033[K" if self._terminal else ""

    def say(self, text: str) -> None:
        print(f"{self._clear}{text}", file=sys.stderr)

    def advance(self, name: str) -> None:
        self._done += 1
        rate = self._done / max(time.monotonic() - self._start, 1e-9)
        line = f"[{self._done}/{self._total}] {name}  {rate:.1f} images/s"
        end = "" if self._terminal and self._done < self._total else "\n"
        print(f"{self._clear}{line}", end=end, file=sys.stderr, flush=True)


def _groups(
    paths: Sequence[Path], detections: Boxes | None, options: Options, failed: list[dict[str, str]], progress: Progress
) -> Iterator[list[_Image]]:
    """Groups of at most a batch of readable images of one static shape; unreadable ones are appended to `failed`."""
    waiting: dict[int, list[_Image]] = {}
    for path in paths:
        try:
            boxes = detections.of(path) if detections else _NO_BOXES
            image = _Image(path, read_image(path), boxes)
        except DataError as error:
            failed.append({"file_name": path.name, "error": str(error)})
            progress.say(f"error: {error}")
            progress.advance(path.name)
            continue
        shape = shape_of(image.image, options.sizes)
        group = waiting.setdefault(shape, [])
        group.append(image)
        if len(group) == options.batch_size:
            yield waiting.pop(shape)
    yield from waiting.values()


def predict_images(
    paths: Sequence[Path],
    detections: Boxes,
    predict: Predict,
    vocabulary: Vocabulary,
    options: Options,
    out: Path,
    manifest: Mapping[str, Any],
) -> int:
    """Write `out`/predictions.json and `out`/drawn/NAME.jpg; return the number of unreadable images."""
    progress, failed = Progress(len(paths)), list[dict[str, str]]()
    done: dict[Path, dict[str, Any]] = {}
    names = _drawn_names(paths)
    for group in _groups(paths, detections, options, failed, progress):
        for image, pairs in zip(group, _predicted_pairs(group, predict, vocabulary, options), strict=True):
            height, width = image.image.shape[:2]
            row = {
                "file_name": image.path.name,
                "image_id": image_number(image.path),
                "height": height,
                "width": width,
                "num_detections": len(image.detections["score"]),
                "pairs": pairs,
            }
            if not row["num_detections"]:
                progress.say(f"warning: {image.path}: has no boxes")
            if options.draw:
                row["drawn"] = f"drawn/{names[image.path]}.jpg"
                data = BytesIO()
                drawn = draw_interactions(image.image, interactions_of(pairs, vocabulary), title=options.title)
                drawn.save(data, "JPEG", quality=JPEG_QUALITY, subsampling=0)
                write_bytes_atomic(out / row["drawn"], data.getvalue())
            done[image.path] = row
            best = ", ".join(_best_triplets(pairs)) or f"no scores of {options.min_score:g} or more"
            print(f"{image.path.name}: {best}")
            progress.advance(image.path.name)
    rows = [done[path] for path in paths if path in done]
    head = {**manifest, "vocabulary": vocabulary.name, "min_score": options.min_score, "top": options.top}
    write_json_atomic(out / "predictions.json", {**head, "images": rows, "failed": failed})
    return len(failed)


def _best_triplets(pairs: Sequence[Mapping[str, Any]], most: int = 3) -> list[str]:
    """Best interactions of an image, best first, with each verb of an object once."""
    best: dict[str, float] = {}
    for pair in pairs:
        for verb in pair["verbs"]:
            text = " ".join(filter(None, (verb["verb"], pair["object"])))
            best[text] = max(verb["score"], best.get(text, 0.0))
    return [f"{text} {score:.2f}" for text, score in sorted(best.items(), key=lambda item: -item[1])[:most]]


def _drawn_names(paths: Sequence[Path]) -> dict[Path, str]:
    """File names of drawings, without suffix; equal names are numbered in the order of the paths."""
    names: set[str] = set()
    return {path: _unused(path.stem, names) for path in paths}


def _unused(stem: str, names: set[str]) -> str:
    """`stem`, with a number appended if images of two folders have the same name."""
    name, number = stem, 2
    while name in names:
        name, number = f"{stem}-{number}", number + 1
    names.add(name)
    return name
