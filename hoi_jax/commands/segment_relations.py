"""Draw relation segmentation and write PIC result files, from a trained run with predicted masks.

    python -m hoi_jax.commands.segment_relations --workdir runs/cascade-mask --out segments --images 8
    python -m hoi_jax.commands.segment_relations --workdir runs/cascade_pic --out results --images 0

Writes a drawing for each of the first images of the split (Figure 5 of "Cascaded Human-Object Interaction
Recognition"), and the input of PIC's evaluation for all images: `relations_<split>.json`, `semantic/NAME.png` and
`instance/NAME.png`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hoi_jax import experiment as ex
from hoi_jax import io
from hoi_jax.evaluation.metrics.pic import Scene
from hoi_jax.training import load_for_evaluation, make_predictor
from hoi_jax.visualization.masks import LEAST_DRAWN, draw_row, scene_of_row


def _png(values: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def pic_record(scene: Scene, name: str, image_id: int) -> dict[str, Any]:
    """One entry of PIC's list of relations."""
    rows = zip(scene.relations.tolist(), scene.scores.tolist(), strict=True)
    relations = [{"subject": s, "object": o, "relation": v, "score": score} for (s, o, v), score in rows]
    return {"name": name, "image_id": image_id, "relations": relations}


def segment(
    workdir: Path,
    data_dir: Path,
    out: Path,
    *,
    images: int = 8,
    min_score: float = LEAST_DRAWN,
    checkpoint: str = "best",
    split: str | None = None,
) -> int:
    """Write all files; return the number of images.

    Args:
      min_score: smallest score of drawn verbs; the files have all verbs.

    Raises:
      ValueError: the system predicts no masks.
    """
    variables, config_text, _ = load_for_evaluation(workdir, checkpoint)
    experiment = ex.load_experiment(json.loads(config_text))
    split = split or experiment.dataset.eval_split
    directory = data_dir / experiment.dataset.name
    system = experiment.build_system()
    needs = system.needs_predict | {"image"}
    pipeline = ex.eval_pipeline(experiment, directory, split, needs)
    annotations = ex.load_annotations(directory, split)
    names = dict(zip(annotations.image_id.tolist(), annotations.file_name.tolist(), strict=True))
    predict = make_predictor(system, variables)
    records: list[dict[str, Any]] = []
    for folder in ("semantic", "instance", "images"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for batch in pipeline.eval_batches():
        found = predict(batch)
        for row in np.flatnonzero(batch["batch_valid"]).tolist():
            scene = scene_of_row(found, batch, row, experiment.vocabulary)
            number = int(batch["image_id"][row])
            name = names[number]
            name = name.decode() if isinstance(name, bytes) else str(name)
            stem = Path(name).stem
            for folder, values in (("semantic", scene.semantic), ("instance", scene.instance)):
                io.write_bytes_atomic(out / folder / f"{stem}.png", _png(values))
            if len(records) < images:
                drawn = draw_row(scene, batch, row, experiment.vocabulary, min_score)
                buffer = BytesIO()
                drawn.save(buffer, "PNG")
                io.write_bytes_atomic(out / "images" / f"{stem}.png", buffer.getvalue())
            records.append(pic_record(scene, name, number))
    io.write_json_atomic(out / f"relations_{split}.json", records)
    return len(records)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="folder of the trained run")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--data-dir", "--data_dir", type=Path, default=Path("data"), help="folder of built datasets")
    parser.add_argument("--images", type=int, default=8, help="images to draw (default: 8)")
    parser.add_argument(
        "--min-score", type=float, default=LEAST_DRAWN, help="smallest score of drawn verbs (default: %(default)s)"
    )
    parser.add_argument("--checkpoint", default="best", help="best, last or a step number (default: best)")
    parser.add_argument("--split", help="default: the config's evaluation split")
    options = parser.parse_args(arguments)
    try:
        names = ("images", "min_score", "checkpoint", "split")
        choices = {name: getattr(options, name) for name in names}
        count = segment(options.workdir, options.data_dir, options.out, **choices)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {count} images")
    return 0


if __name__ == "__main__":
    sys.exit(main())
