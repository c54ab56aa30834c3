"""Configs: what is not valid is refused, with the key's full name."""

import dataclasses
from typing import Literal

import pytest

from hoi_jax.settings import SettingsError, choice, from_config, with_changes


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
        ({}, "required key 'name' is missing"),
    ],
)
def test_faults_name_the_key(config, message):
    with pytest.raises(SettingsError) as error:
        from_config(Outer, config)
    assert message in str(error.value)


def test_choice_names_the_nearest_option():
    with pytest.raises(ValueError, match="did you mean 'pmap'"):
        choice("parallel", "pmpa", ("pmap", "shard_map"))


def test_a_literal_names_its_key_its_value_its_options_and_the_nearest():
    @dataclasses.dataclass(frozen=True)
    class Devices:
        parallel: Literal["pmap", "shard_map"] = "pmap"

    message = r"key 'train.parallel' is 'pmpa', expected one of \['pmap', 'shard_map'\]; did you mean 'pmap'\?"
    with pytest.raises(SettingsError, match=message):
        from_config(Devices, {"parallel": "pmpa"}, "train")


@pytest.mark.parametrize(
    "text, value",
    [("3", 3), ("1e-3", 1e-3), ("True", True), ("None", None), ("(64, 64)", (64, 64)), ("64, 64", (64, 64)),
     ("('a', 'b')", ("a", "b")), ("hico_det/labels", "hico_det/labels"), ("'3'", "3"), ("", ""), ("none", "none")],
)  # fmt: skip
def test_texts_of_a_command_line_are_literals_or_themselves(text, value):
    assert with_changes({}, {"a.b": text}) == {"a": {"b": value}}


def test_changes_leave_the_config_alone_and_texts_stay_texts():
    config = {"name": "a", "inner": {"rate": 0.1}}
    changed = with_changes(config, {"name": "7", "inner.sizes": "(1, 2)", "limit": "3"})
    assert from_config(Outer, changed) == Outer("7", Inner(0.1, (1, 2)), 3)
    assert config == {"name": "a", "inner": {"rate": 0.1}}
    assert with_changes({"name": "a"}, {"name": "None"}) == {"name": None}
    with pytest.raises(SettingsError, match="key 'inner.rate' is 0.1, expected a group"):
        with_changes(config, {"inner.rate.x": "3"})
    with pytest.raises(SettingsError, match="unknown key 'inner.rat': did you mean 'inner.rate'"):
        from_config(Outer, with_changes(config, {"inner.rat": "3"}))


@dataclasses.dataclass(frozen=True)
class Source:
    path: str
    strict: bool = False

    @classmethod
    def from_text(cls, text):
        return cls(text)


@dataclasses.dataclass(frozen=True)
class Sources:
    init_from: tuple[Source, ...] = ()
    names: tuple[str, ...] = ()


def test_one_text_stands_for_a_sequence_of_one_and_for_a_group_that_reads_texts():
    assert from_config(Sources, {"init_from": "a.npz", "names": "hoi"}) == Sources((Source("a.npz"),), ("hoi",))
    mixed = from_config(Sources, {"init_from": ["a.npz", {"path": "b", "strict": True}]})
    assert mixed.init_from == (Source("a.npz"), Source("b", True))
    with pytest.raises(SettingsError, match="'sizes' is 'x', expected|key 'sizes"):
        from_config(Inner, {"sizes": "x"})
