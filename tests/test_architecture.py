"""Imports point down only, and each heavy package stays where it belongs."""

import ast
import re
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

BOTTOM = {"schema", "settings", "io", "npz", "serialization"}
TABLES = {"annotations", "predictions"}
ALLOWED = {
    "schema": set(),
    "arrays": set(),
    "settings": set(),
    "io": set(),
    "npz": {"io"},
    "serialization": {"io"},
    "system": {"schema", "arrays", "losses"},
    "vocab": BOTTOM,
    "annotations": BOTTOM | {"vocab"},
    "predictions": BOTTOM | {"vocab", "annotations"},
    "ops": {"arrays", "schema"},
    "losses": {"arrays", "schema", "ops"},
    "nn": {"arrays", "schema", "ops"},
    "backbones": BOTTOM | {"arrays", "ops", "nn"},
    "systems": BOTTOM | {"arrays", "system", "vocab", "ops", "losses", "nn", "backbones"},
    "evaluation.metrics": BOTTOM | TABLES | {"vocab"},
    "formats": BOTTOM | TABLES | {"vocab", "evaluation.metrics"},
    "evaluation.analysis": BOTTOM | TABLES | {"vocab", "formats", "evaluation.metrics", "evaluation"},
    "evaluation.postprocess": BOTTOM | TABLES | {"vocab", "evaluation.metrics", "evaluation"},
    "evaluation": BOTTOM | TABLES | {"vocab", "formats", "evaluation.metrics", "evaluation.analysis"},
    "scenes": BOTTOM | TABLES | {"vocab"},
    "data": BOTTOM | TABLES | {"vocab"},
    "training": BOTTOM | {"arrays", "system", "losses"},
    "visualization": BOTTOM | TABLES | {"vocab", "evaluation.metrics", "evaluation.analysis"},
    "report": BOTTOM | TABLES | {"vocab", "evaluation", "evaluation.metrics", "evaluation.analysis", "visualization"},
    "zoo": BOTTOM | {"arrays", "system", "vocab", "systems", "training"},
    "photos": BOTTOM | {"arrays", "vocab", "ops", "data"},
    "predictor": BOTTOM | {"arrays", "system", "vocab", "systems", "data", "training"},
    "viewer": BOTTOM | TABLES | {"vocab", "data", "evaluation.analysis", "visualization"},
    "integrations": BOTTOM | {"arrays", "system", "losses", "backbones", "systems", "data", "experiment"},
    "experiment": BOTTOM | TABLES | {"arrays", "system", "vocab", "systems", "evaluation", "data", "training"},
}
EVALUATION = {"evaluation", "evaluation.metrics", "evaluation.analysis", "evaluation.postprocess"}
ALLOWED["commands"] = set(ALLOWED) - {"integrations", "viewer", "photos", "zoo"}
HOST_ONLY = {*BOTTOM, *TABLES, *EVALUATION, "vocab", "formats", "scenes", "visualization", "report", "data"}
FORBIDDEN = {  # third-party package -> parts of the library that may not import it
    "jax": HOST_ONLY,
    "flax": HOST_ONLY,
    "tensorflow": set(ALLOWED) - {"data"},
    "torch": set(ALLOWED),
    "pickle": set(ALLOWED),
}


def imports_of(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def library_files() -> list[Path]:
    return sorted(p for p in (ROOT / "hoi_jax").rglob("*.py") if p != ROOT / "hoi_jax" / "__init__.py")


def part_of(name: str) -> str:
    """The part of `ALLOWED` that holds a dotted name below `hoi_jax`: the longest that fits."""
    words = name.split(".")[1:]
    return ".".join(words[:2]) if ".".join(words[:2]) in ALLOWED else words[0]


@pytest.mark.parametrize("path", library_files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_only_point_downwards(path):
    part = part_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for name in imports_of(path):
        if name.startswith("hoi_jax."):
            assert part_of(name) in ALLOWED[part] | {part}, f"{path} imports {name}"
        for package, parts in FORBIDDEN.items():
            assert name.split(".")[0] != package or part not in parts, f"{path} imports {name}"


def test_systems_do_not_import_one_another():
    for path in (ROOT / "hoi_jax" / "systems").rglob("*/*.py"):
        for name in imports_of(path):
            if name.startswith("hoi_jax.systems."):
                assert name.split(".")[2] == path.parent.name, f"{path} imports {name}"


def test_only_parallel_speaks_of_pmap_and_shard_map():
    for path in library_files():
        if path.name != "parallel.py":
            attributes = {n.attr for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)}
            assert not attributes & {"pmap", "shard_map", "make_mesh"}, path


def test_configs_import_nothing_of_the_library():
    for path in (ROOT / "configs").glob("*.py"):
        assert not [name for name in imports_of(path) if name.startswith("hoi_jax")], path


def test_every_file_is_opened_without_pickle():
    for path in [*library_files(), *(ROOT / "data_prep").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
                if isinstance(node.func.value, ast.Name) and node.func.value.id == "np":
                    arguments = {k.arg: ast.literal_eval(k.value) for k in node.keywords}
                    assert arguments.get("allow_pickle") is False, path


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.stem)
def test_tests_share_code_through_helpers_alone(path):
    """By full names, so that no path has to be edited; and never from another file of tests."""
    helpers = {p.stem for p in (ROOT / "tests").rglob("*.py") if p.stem != "__init__"} - sys.stdlib_module_names
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            assert not (isinstance(node, ast.Call) and re.match(r"sys\.path\.(insert|append)", ast.unparse(node.func)))
            continue
        assert not any(name in helpers and not (ROOT / f"{name}.py").exists() for name in names), names
        assert not any(re.search(r"^tests\..*\.test_\w+", name) for name in names), names
