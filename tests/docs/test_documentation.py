"""What README, docs/ and docstrings say: examples run, commands exist, links lead somewhere."""

import doctest
import importlib
import re
import shlex
from pathlib import Path

import pytest

from hoi_jax.experiment import load_experiment, read_config
from hoi_jax.io import MissingFileError
from hoi_jax.settings import with_changes
from tests.helpers.paths import ROOT
from train import parse_arguments

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


WITH_EXAMPLES = [
    module_name(path)
    for folder in ("hoi_jax", "data_prep")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if ">>>" in path.read_text()
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_of_docstrings_give_what_they_say(name):
    module = importlib.import_module(name)
    found = doctest.testmod(module, optionflags=doctest.IGNORE_EXCEPTION_DETAIL | doctest.NORMALIZE_WHITESPACE)
    assert found.attempted and not found.failed


def commands(page: Path) -> list[list[str]]:
    """The words of every `python …` line in the page's blocks without a language."""
    lines = []
    for language, text in _BLOCK.findall(page.read_text()):
        if language in ("", "bash", "sh"):
            lines += [line for line in text.replace("\\\n", " ").splitlines() if line.startswith("python ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def source_of(words: list[str]) -> tuple[Path, list[str]]:
    """The file that a command runs, and the words behind it."""
    if words[0] == "-m":
        path = ROOT.joinpath(*words[1].split("."))
        return (path / "__main__.py" if path.is_dir() else path.with_suffix(".py")), words[2:]
    return ROOT / words[0], words[1:]


def sources_read_for_options(path: Path) -> str:
    """The text of the file and of the modules of this project that it imports."""
    text = path.read_text()
    for module in set(re.findall(r"^\s*(?:from|import) ((?:hoi_jax|data_prep|studies)[\w.]*)", text, re.MULTILINE)):
        for candidate in (ROOT.joinpath(*module.split(".")).with_suffix(".py"), ROOT.joinpath(*module.split("."))):
            files = [candidate] if candidate.is_file() else sorted(candidate.glob("*.py"))
            text += "".join(file.read_text() for file in files)
    return text


def trainings() -> list[list[str]]:
    """Arguments of every whole call of train.py on all pages and in the first lines of configs."""
    calls = [words[1:] for page in PAGES for words in commands(page) if words[0] == "train.py"]
    for path in sorted((ROOT / "configs").glob("*.py")):
        text = (importlib.import_module(module_name(path)).__doc__ or "").replace("\\\n", " ")
        calls += [shlex.split(line, comments=True) for line in re.findall(r"python train\.py (.*)", text)]
    return [words for words in calls if not re.search(r"…|\.\.\.|[A-Z]{3}", " ".join(words))]


@pytest.mark.parametrize("words", trainings(), ids=" ".join)
def test_trainings_on_a_page_have_configs_and_changes_that_fit(words):
    options, changes = parse_arguments(words)
    path, _, chosen = options.config.partition(":")
    if "runs/" not in chosen:  # options may name runs that are made before
        try:
            load_experiment(with_changes(read_config(options.config), changes))
        except MissingFileError:
            pass  # a vocabulary or table that the command before makes
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_a_page_name_programs_configs_and_options_that_exist(page):
    for words in commands(page):
        path, rest = source_of(words)
        if words[:2] == ["-m", "pip"]:
            continue
        assert path.is_file(), f"{page.name}: {' '.join(words)}: there is no {path.relative_to(ROOT)}"
        known = sources_read_for_options(path)
        for word in rest:
            name = word.split("=")[0].split(".")[0]
            if name.startswith("--") and not re.search(rf"[\"']({name}|{name[2:]})[\"']", known):
                pytest.fail(f"{page.name}: {' '.join(words)}: {path.relative_to(ROOT)} knows no {name}")
            config = word.removeprefix("--config=").split(":")[0]
            if config.startswith("configs/"):
                assert (ROOT / config).is_file(), f"{page.name}: {config} does not exist"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_to_files(page):
    for target in _LINK.findall(page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_pages_have_commands_and_links():
    """Else the tests above would check nothing."""
    assert sum(len(commands(page)) for page in PAGES) > 40 and len(WITH_EXAMPLES) >= 5
