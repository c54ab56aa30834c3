"""Checks one's own label files: `python -m data_prep.validate FILE [FILE ...] [--images DIR]`.

The same table as `python -m data_prep.check own`, for the files named, of any known layout. Exit status 1 when anything
is an error.
"""

import argparse
import sys
from pathlib import Path

from data_prep.check import check_file, print_results
from data_prep.find_files import FoundFile, split_of
from data_prep.images import ImageFolder
from hoi_jax.io import DataError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.validate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--images", type=Path, help="folder of images, each of which is decoded")
    options = parser.parse_args(arguments)
    try:
        images = ImageFolder(options.images, upright=True) if options.images else None
        results = {
            str(path): check_file(FoundFile(path, split_of(path.name)), "own", images)[0] for path in options.files
        }
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return print_results("own", results)


if __name__ == "__main__":
    sys.exit(main())
