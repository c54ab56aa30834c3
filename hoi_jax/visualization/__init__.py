"""Drawings of images with interactions, attention, poses and masks."""
