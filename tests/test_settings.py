"""Configs: what is not valid is refused, with the key's full name."""

import dataclasses

import pytest

from hoi_jax.settings import SettingsError, choice, from_config


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    sizes: tuple[int, ...] = ()

    def __post_init__(self):
        if self.rate <= 0:
            raise ValueError(f"rate is {self.rate}, expected a number above 0")


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = Inner()
    limit: int | None = None
    pairs: tuple[Inner, ...] = ()


def test_values_and_defaults_arrive():
    built = from_config(Outer, {"name": "a", "inner": {"rate": 1, "sizes": [1, 2]}, "pairs": [{"rate": 2.0}]})
    assert built == Outer("a", Inner(1.0, (1, 2)), None, (Inner(2.0),))


@pytest.mark.parametrize(
    "config, message",
    [
        ({"name": "a", "inner": {"rat": 1}}, "unknown key 'inner.rat': did you mean 'inner.rate'"),
        ({"name": 3}, "key 'name' is 3 (int), expected str"),
        ({"name": "a", "limit": True}, "key 'limit' is True"),
        ({"name": "a", "inner": {"rate": -1.0}}, "inner: rate is -1.0, expected a number above 0"),
        ({"name": "a", "pairs": [{}, {"rate": "x"}]}, "key 'pairs[1].rate' is 'x'"),
        ({"name": "a", "inner": 3}, "key 'inner' is 3, expected a group of keys"),
        ({}, "key 'name' is required and absent"),
    ],
)
def test_faults_name_the_key(config, message):
    with pytest.raises(SettingsError) as error:
        from_config(Outer, config)
    assert message in str(error.value)


def test_choice_names_the_nearest_option():
    with pytest.raises(ValueError, match="did you mean 'pmap'"):
        choice("parallel", "pmpa", ("pmap", "shard_map"))
