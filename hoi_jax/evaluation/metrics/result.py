"""Evaluation results: headline metrics, per-class arrays, and a manifest of their inputs."""

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from hoi_jax import io


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """Result of one evaluation.

    Attributes:
      metrics: flat names to values in [0, 1] ("default/full", "role_s1/24"); NaN where undefined (no ground truth).
      per_class: arrays by name ("default/ap" [C]); NaN for a class without ground truth.
      manifest: dataset, protocol, counts and fingerprints, which decide whether two results are comparable. Plain
        JSON values.
    """

    metrics: Mapping[str, float]
    per_class: Mapping[str, np.ndarray]
    manifest: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None (null)."""
        return {
            "metrics": _plain(self.metrics),
            "per_class": _plain(self.per_class),
            "manifest": _plain(self.manifest),
        }

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write `to_json` to `path` atomically."""
        io.write_json_atomic(path, self.to_json())


def read_result(path: str | os.PathLike[str]) -> EvaluationResult:
    """Read a file of `EvaluationResult.write`. Raises io.DataError naming file and field."""
    content = io.read_json(path, max_bytes=256 * io.MEGABYTE)
    for field in ("metrics", "per_class", "manifest"):
        if not isinstance(content, dict) or not isinstance(content.get(field), dict):
            raise io.DataError(f"{path}: field {field!r} is absent or not an object")
    try:
        metrics = {name: _number(value) for name, value in content["metrics"].items()}
        per_class = {name: np.array(value, np.float64) for name, value in content["per_class"].items()}
    except (TypeError, ValueError) as error:
        raise io.DataError(f"{path}: metrics or per_class contain a value that is not a number") from error
    return EvaluationResult(metrics, per_class, content["manifest"])


def merge(*results: EvaluationResult) -> EvaluationResult:
    """One result with all metrics and arrays; in the merged manifest later entries win.

    Raises:
      ValueError: two results define the same metric or array.
    """
    metrics: dict[str, float] = {}
    per_class: dict[str, np.ndarray] = {}
    manifest: dict[str, Any] = {}
    for result in results:
        clash = (set(metrics) & set(result.metrics)) | (set(per_class) & set(result.per_class))
        if clash:
            raise ValueError(f"two results define {sorted(clash)}")
        metrics.update(result.metrics)
        per_class.update(result.per_class)
        manifest.update(result.manifest)
    return EvaluationResult(metrics, per_class, manifest)


def format_table(result: EvaluationResult, class_names: tuple[str, ...] = (), *, arrays: tuple[str, ...] = ()) -> str:
    """Plain-text table in percent: the metrics, then one line per class for `arrays` of that length.

    Args:
      class_names: names of the classes; lines follow their order.
      arrays: names of `result.per_class` to show as columns; the default is all 1-d arrays of fitting length.
    """
    width = max((len(name) for name in result.metrics), default=0)
    lines = [f"{name:<{width}}  {_percent(value):>7}" for name, value in result.metrics.items()]
    if class_names:
        columns = arrays or tuple(n for n, a in result.per_class.items() if a.shape == (len(class_names),))
        name_width = max(len(name) for name in class_names)
        lines += ["", " " * name_width + "".join(f"  {name:>24}" for name in columns)]
        for row, name in enumerate(class_names):
            cells = (_cell(column, float(result.per_class[column][row])) for column in columns)
            lines.append(f"{name:<{name_width}}" + "".join(f"  {cell:>24}" for cell in cells))
    return "\n".join(lines)


def _cell(column: str, value: float) -> str:
    return _percent(value) if not column.endswith("num_positives") else f"{value:.0f}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
