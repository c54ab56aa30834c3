"""Run-time checks of the library's annotations: shapes and dtypes by jaxtyping, all other types by beartype."""

import contextlib
from collections.abc import Iterator

import jaxtyping
from beartype import BeartypeConf, beartype

from tests.helpers.paths import ROOT

UNCHECKED = {"hoi_jax.data.prepare", "hoi_jax.data.pipeline"}
"""TensorFlow's AutoGraph reads the source of these functions, which a decorator hides."""

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""Accepts an int for `float`, as static checkers do, and checks one item per container, so that calls stay cheap."""


def checked_modules() -> list[str]:
    """Dotted names of all modules of the library but `UNCHECKED`."""
    names = set()
    for path in (ROOT / "hoi_jax").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    # The hook checks a name and everything below it, so a package with an unchecked module is replaced by its modules.
    packages = {name for name in names for other in UNCHECKED if other.startswith(f"{name}.")}
    return sorted(names - UNCHECKED - packages)


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Calls without the check, as users make them: for the library's own errors about arguments of a wrong type."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)
