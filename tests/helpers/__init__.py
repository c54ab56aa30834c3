"""Helpers of several tests: small systems, synthetic batches and datasets, and plain reference implementations."""
