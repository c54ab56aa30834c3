"""Tables of README.md and docs/zoo.md with one line per exported checkpoint.

python -m scripts.zoo_tables            # print the table
python -m scripts.zoo_tables --write    # update the documents
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hoi_jax import io, zoo

BEGIN, END = "<!-- zoo table: python -m scripts.zoo_tables --write -->", "<!-- end of the zoo table -->"
TABLE_FILES = ("README.md", "docs/zoo.md")
ROOT = Path(__file__).resolve().parents[1]


def table(rows: Sequence[zoo.Entry]) -> str:
    """Markdown table with one line per model."""
    lines = [
        "| name | system | trained on | scores on its test split, percent | best baseline | parameters | file |",
        "|---|---|---|---|---|--:|--:|",
    ]
    for row in rows:
        scores = "<br>".join(str(score) for score in row.scores) or "none"
        baselines = "<br>".join(_baseline(score) for score in row.scores)
        lines.append(
            f"| `{row.name}` | {row.system} | `{row.trained_on}`, {row.step:,} steps | {scores} | {baselines} "
            f"| {zoo.short_count(row.parameters)} | {row.size_bytes / 1e6:.2f} MB |"
        )
    return "\n".join(lines)


def _baseline(score: zoo.Score) -> str:
    if score.baseline is None:
        return ""
    name, value = score.baseline
    return f"{100 * value:.2f} {name.replace('_', ' ')}"


def with_table(text: str, new: str) -> str:
    """`text` with `new` between the markers.

    Raises:
      ValueError: the text does not have both markers, once each and in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"needs one line {BEGIN!r} and one line {END!r} below it")
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def write_tables(root: Path = ROOT) -> list[Path]:
    """Update the tables in the documents; return the changed files."""
    new, changed = table(zoo.entries()), []
    for name in TABLE_FILES:
        path = root / name
        old = io.read_bytes(path).decode()
        if (text := with_table(old, new)) != old:
            io.write_bytes_atomic(path, text.encode())
            changed.append(path)
    return changed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, or 2 for an error."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.zoo_tables", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help=f"into {' and '.join(TABLE_FILES)}")
    try:
        if parser.parse_args(arguments).write:
            print("\n".join(f"{path}: written" for path in write_tables()) or "all tables are up to date")
        else:
            print(table(zoo.entries()))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
