"""The recipes of the project: what the first lines of every config on real data tell a user to run."""

import ast
import dataclasses
import re
import shlex

from hoi_jax import experiment as ex
from hoi_jax.settings import with_changes
from tests.helpers.paths import ROOT
from train import parse_arguments

_LABEL = re.compile(r"^(Build|Start|Prepare|Run|Score):\s+(.*)$")
_AS_FOR = re.compile(r"as (?:for )?`(\w+\.py)`")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Commands of one config, each as words without "python"."""

    config: str
    build: tuple[tuple[str, ...], ...]
    weights: tuple[tuple[str, ...], ...]
    run: tuple[tuple[str, ...], ...]

    @property
    def trainings(self) -> list[tuple[str, ...]]:
        """Arguments of every call of train.py."""
        return [words[1:] for words in self.run if words[0] == "train.py"]

    @property
    def evaluations(self) -> list[tuple[str, ...]]:
        """Arguments of every call of evaluate.py with a workdir."""
        return [words[1:] for words in self.run if words[0] == "evaluate.py" and "--workdir" in words]


def docstring(config: str) -> str:
    return ast.get_docstring(ast.parse((ROOT / "configs" / config).read_text())) or ""


def sections(text: str) -> dict[str, str]:
    """Label -> all that is said below it, up to the next label or paragraph."""
    found: dict[str, list[str]] = {}
    label = None
    for line in text.replace("\\\n", " ").splitlines():
        if match := _LABEL.match(line):
            label = match[1]
            found.setdefault(label, []).append(match[2])
        elif label and line.startswith("  "):
            found[label].append(line.strip())
        else:
            label = None
    return {label: "\n".join(lines) for label, lines in found.items()}


def commands(text: str) -> tuple[tuple[str, ...], ...]:
    lines = [line for line in text.splitlines() if line.startswith("python ")]
    return tuple(tuple(shlex.split(line, comments=True)[1:]) for line in lines)


def recipe(config: str) -> Recipe:
    """The recipe of one config; "as for `other.py`" and "as `other.py` has it" take that one's commands."""
    said = sections(docstring(config))

    def of(*labels: str) -> tuple[tuple[str, ...], ...]:
        found: tuple[tuple[str, ...], ...] = ()
        for label in labels:
            text = said.get(label, "")
            if other := _AS_FOR.search(text):
                found += commands(sections(docstring(other[1])).get(label, ""))
            found += commands(text)
        return found

    return Recipe(config, of("Build"), of("Start", "Prepare"), of("Run", "Score"))


def page_recipes() -> dict[str, Recipe]:
    """The blocks of README and docs/training.md that train on real data: build, conversion, training, score."""
    found = {}
    for page in ("README.md", "docs/training.md"):
        blocks = re.findall(r"^```\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
        for number, block in enumerate(blocks):
            lines = commands(block.replace("\\\n", " "))
            trains = [words for words in lines if words[0] == "train.py" and "--workdir" in words]
            if "data_prep.build" in block and trains:
                build = tuple(words for words in lines if "data_prep.build" in words)
                found[f"{page} ({number})"] = Recipe(page, build, (), tuple(trains))
    return found


REAL = sorted(
    path.name
    for path in (ROOT / "configs").glob("*.py")
    if not re.search(r"hoi_scenes|__init__|common|tin_modes", path.name)
)
"""Configs on real data."""


CUSTOM_DATA = ("tin_hico_det_geometry.py", "tin_vcoco_geometry.py", "tin_vcoco_mini.py")
"""On real annotations, tested with them: tests/data_prep/test_real_labels.py and the slow tests of TIN."""


RECIPES = [config for config in REAL if config not in CUSTOM_DATA]


def experiment_of(words):
    options, changes = parse_arguments(list(words))
    return ex.load_experiment(with_changes(ex.read_config(options.config), changes))
