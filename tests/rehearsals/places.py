"""Folders in which recipes are rehearsed: the mini copy of a dataset, the configs, and what the Build commands made."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.helpers import minis
from tests.rehearsals import world
from tests.rehearsals.recipes import ROOT

MAKERS = {}


def maker(function):
    MAKERS[function.__name__] = function
    return function


MAKERS.update(hico_det=world.hico_det, vcoco=world.vcoco)


@maker
def hico(folder: Path):
    minis.hico(folder / "hico_20150920")
    shutil.move(folder / "hico_20150920" / "anno.mat", folder / "anno.mat")


@maker
def mpii(folder: Path):
    minis.mpii(folder)
    names = sorted(path.name for path in (folder / "images").glob("*.jpg"))[: minis.COUNT]
    for name, listed in (("train.txt", names[:-1]), ("val.txt", names[-1:])):
        (folder / name).write_text("\n".join(listed) + "\n")


@maker
def hoi_w(folder: Path):
    files = minis.hoi_w(folder / "hoi_w")
    for split, name in (("train", "trainval.json"), ("test", "test_hoiw.json")):
        shutil.move(files[split], folder / name)
    _faces(folder, [path.name for path in (folder / "hoi_w" / "images").iterdir()])


@maker
def pic(folder: Path):
    minis.pic(folder / "pic")
    _faces(folder, [path.name for path in (folder / "pic" / "image").rglob("*.jpg")])


def _faces(folder: Path, names: Sequence[str]):
    """A face in the upper third of the first person of `minis`."""
    rows = [{"file_name": name, "bbox": [6.0, 6.0, 8.0, 8.0]} for name in names]
    minis.write_json(folder / "faces.json", rows)


def dataset_of(build: Sequence[Sequence[str]]) -> str:
    """Name of the dataset that the first Build command makes."""
    words = build[0]
    return words[words.index("data_prep.build") + 1]


def make(folder: Path, build: Sequence[Sequence[str]], runner) -> Path:
    """A mini copy in `folder` with the commands' own names, and what they build; `runner` takes words of a command."""
    folder.mkdir(parents=True)
    MAKERS[dataset_of(build).partition("/")[0]](folder)
    (folder / "configs").symlink_to(ROOT / "configs")
    before = Path.cwd()
    os.chdir(folder)
    try:
        for words in build:
            assert runner(words) == 0, words
    finally:
        os.chdir(before)
    return folder


def in_process(words: Sequence[str]) -> int:
    """A `python …` command in this process; its exit status."""
    import importlib

    if words[0] == "-m":
        return importlib.import_module(words[1]).main(list(words[2:]))
    return importlib.import_module(Path(words[0]).stem).main(list(words[1:]))


def as_a_user(words: Sequence[str]) -> int:
    """The same in a process of its own."""
    command = [sys.executable, *(str(ROOT / words[0]) if words[0].endswith(".py") else words[0], *words[1:])]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False).returncode
