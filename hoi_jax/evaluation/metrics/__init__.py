"""Metrics, one file per benchmark, over plain arrays."""
