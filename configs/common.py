"""Values that several configs share. Plain values only: nothing here imports the library."""

from ml_collections import ConfigDict


def base(**values) -> ConfigDict:
    """A config with the groups that every experiment has; keys that a config adds later are checked on loading."""
    config = ConfigDict()
    config.train = ConfigDict({"seed": 0})
    config.optimizer = ConfigDict()
    config.augment = ConfigDict()
    config.pipeline = ConfigDict()
    config.evaluation = ConfigDict()
    config.update(values)
    return config
