"""A small two-boxes baseline for tests."""

BFLOAT16 = None
"""A few dense layers over boxes, computed only in float32."""
AGENTS = False
"""Scores of people without objects are those of their pairs."""


def small_config(**groups) -> dict:
    return {"layers": (16,), "max_pairs": 36, **groups}
