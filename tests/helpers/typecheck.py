"""Run-time checking of type annotations by beartype, with Python's numeric tower."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""Accepts an int for `float`, as static checkers do, and checks one item per container, so that calls stay cheap."""
