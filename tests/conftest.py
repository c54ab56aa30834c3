"""Shared test set-up: eight virtual devices, strict ranks, checked types, and where golden and annotation files are."""

import os
import sys

from tests.helpers.xla_flags import with_devices

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {with_devices(8)}".strip()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import jax  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

from tests.helpers import typecheck  # noqa: E402
from tests.helpers.memory import give_memory_back  # noqa: E402
from tests.helpers.named_files import NamedFiles, dataset_files, golden_files  # noqa: E402
from tests.helpers.paths import ROOT  # noqa: E402

CHECKED = [f"hoi_jax.{name}" for name in ("losses", "ops", "system", "systems.two_boxes")]
"""Modules whose annotations are checked in all tests; `typecheck.checked_modules()` lists all, which is the goal.

Still open with all of them: systems that run without jit on NumPy parameters (tests/systems/test_contract.py).
"""

jax.config.update("jax_numpy_rank_promotion", "raise")

# The library's annotations are checked at every call. A module that is already imported would escape the check.
assert not [name for name in sys.modules if name.startswith(tuple(CHECKED))]
install_import_hook(CHECKED, f"{typecheck.__name__}.checked")


def pytest_addoption(parser):
    parser.addoption("--golden-dir", help="folder of golden files (default: tests/golden)")
    parser.addoption(
        "--data-dir",
        help="folder of the datasets' own files, which tests/golden/README.md lists; without them their tests skip "
        "(default: ../shared/data, if there is one)",
    )


@pytest.fixture(scope="session")
def golden_dir(request) -> NamedFiles:
    """Golden files by name: `golden_dir / "tin.npz"`."""
    return golden_files(request.config.getoption("--golden-dir"))


@pytest.fixture(scope="session")
def data_dir(request) -> NamedFiles:
    """Annotation files and photographs by name: `data_dir / "hicodet_instances_test2015.json.gz"`."""
    return dataset_files(request.config.getoption("--data-dir"), ROOT.parent / "shared" / "data")


@pytest.fixture(scope="module", autouse=True)
def forget_compiled_programs():
    """A file's programs go when its tests have ended: all of them together need more memory than many laptops have."""
    yield
    give_memory_back()
