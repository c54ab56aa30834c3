"""Convert labels between layouts: `python -m data_prep.convert IN OUT --to LAYOUT`.

    python -m data_prep.convert instances_test2015.json test_hico.json --to hoi_a
    python -m data_prep.convert vcoco_test.json mine.json --to own --coco-instances instances_val2014.json
    python -m data_prep.convert mine.json vcoco.json --to vcoco_official       (also writes vcoco_coco.json)

The layout of IN is detected from its content. The information that the new layout loses is printed. An existing file
is not overwritten.
"""

import argparse
import sys
from pathlib import Path

from hoi_jax import io
from hoi_jax.formats.labels.detect import open_labels
from hoi_jax.formats.labels.writers import LAYOUTS, write


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, metavar="IN")
    parser.add_argument("target", type=Path, metavar="OUT")
    parser.add_argument("--to", choices=sorted(LAYOUTS), required=True)
    parser.add_argument(
        "--coco-instances", type=Path, nargs="*", default=[], help="COCO's instances_*.json, for official V-COCO files"
    )
    parser.add_argument("--split", default="test", help="split in a .mat file (default: test)")
    options = parser.parse_args(arguments)
    try:
        if options.target.exists():
            raise io.DataError(f"{options.target}: exists already")
        labels = open_labels(options.source, coco_instances=options.coco_instances, split=options.split)
        annotations = labels.annotations()
        table = write(annotations, options.to)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.to == "vcoco_official":
        coco = options.target.with_name(f"{options.target.stem}_coco.json")
        io.write_json_atomic(coco, table["coco"])
        table = table["actions"]
        print(f"{coco}: boxes for --coco-instances")
    io.write_json_atomic(options.target, table)
    pairs = len(annotations["pairs_verb"])
    print(f"{options.target}: {annotations.num_images} images, {pairs} pairs, from {labels.layout}")
    print(f"{options.to} cannot say: {'; '.join(LAYOUTS[options.to].cannot)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
