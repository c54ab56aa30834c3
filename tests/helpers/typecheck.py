"""How annotations are checked at run time: by beartype, with Python's numeric tower."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""An int does for `float`, as for static checkers. Of a container one item is looked at: calls stay cheap."""
