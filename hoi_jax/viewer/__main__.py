"""Start the web viewer of a dataset on this machine.

    python -m hoi_jax.viewer --dataset hoi_scenes/small
    python -m hoi_jax.viewer --dataset hico_det --split test --predictions runs/tin/predictions_test.npz

Filters images by verb, object, number of people and, with predictions, by errors; an open image lists the keys.
"""

import argparse
import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from hoi_jax.annotations import Annotations
from hoi_jax.data.records import base_and_part, part_mask
from hoi_jax.io import DataError
from hoi_jax.predictions import load_predictions
from hoi_jax.viewer.index import build_index
from hoi_jax.viewer.server import Viewer, make_server
from hoi_jax.vocab import get_vocabulary


def make_viewer(directory: Path, split: str, predictions: Path | None, min_score: float | None) -> Viewer:
    """Viewer of a dataset's split, with predictions if given. Raises DataError or ValueError for unusable files."""
    from hoi_jax.data.records import ImageReader, RecordFiles

    files = RecordFiles(directory, split)
    base, part = base_and_part(split)
    annotations = Annotations.load(directory / f"annotations_{base}.npz")
    if part:
        annotations = annotations.select(part_mask(split, annotations.num_images))
    loaded = load_predictions(predictions) if predictions else None
    name = loaded.vocabulary_name if loaded else annotations.vocabulary_name
    index = build_index(annotations, get_vocabulary(name), loaded, min_score=min_score)
    return Viewer(index, ImageReader(files), f"{directory.name}, {split}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; serve until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m hoi_jax.viewer", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", required=True, help="a built dataset, such as hoi_scenes/small")
    parser.add_argument("--data-dir", "--data_dir", type=Path, default=Path("data"), help="default: data")
    parser.add_argument("--split", default="test", help="default: test")
    parser.add_argument("--predictions", type=Path, help="predictions written by evaluate.py or train.py (npz)")
    parser.add_argument(
        "--min-score", type=float, help="hide weaker predictions (default: show the N best, N = annotated interactions)"
    )
    parser.add_argument("--port", type=int, default=8765, help="0 = any free port (default: %(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    options = parser.parse_args(arguments)
    try:
        viewer = make_viewer(options.data_dir / options.dataset, options.split, options.predictions, options.min_score)
        server = make_server(viewer, options.port)
    except (DataError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    address = f"http://{server.server_address[0]}:{server.server_address[1]}/"
    print(f"{address}   (Ctrl-C stops the viewer)", flush=True)
    if not options.no_browser:
        webbrowser.open(address)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
