"""Prediction files of every layout."""
