"""Shared test set-up: eight virtual devices, strict ranks, and where golden and annotation files are."""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
).strip()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


def pytest_addoption(parser):
    parser.addoption(
        "--golden-dir",
        default=None,
        help="folder of golden files (default: tests/golden, then ../shared/golden)",
    )
    parser.addoption("--data-dir", default=None, help="folder of real annotations (default: ../shared/data)")


class Folders:
    """Finds a named file in the first folder that has it; absent files skip the test, or fail it in CI."""

    def __init__(self, *folders: Path):
        self.folders = folders

    def __truediv__(self, name: str) -> Path:
        for folder in self.folders:
            if (folder / name).exists():
                return folder / name
        message = f"{name} is in none of {[str(f) for f in self.folders]}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        return pytest.skip(message)


@pytest.fixture(scope="session")
def golden_dir(request) -> Folders:
    """Golden files by name: `golden_dir / "tin.npz"`."""
    given = request.config.getoption("--golden-dir")
    if given:
        return Folders(Path(given))
    return Folders(ROOT / "tests" / "golden", SHARED / "golden")


@pytest.fixture(scope="session")
def data_dir(request) -> Folders:
    """Real annotation files by name: `data_dir / "hico_classes.json"`."""
    given = request.config.getoption("--data-dir")
    return Folders(Path(given) if given else SHARED / "data")
