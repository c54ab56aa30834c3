"""Sampling of a scene: its activities with position and size, and its bystanders.

Proposals are accepted only if the rules of `verbs` find exactly the intended verbs, with and without wide tolerances,
and if no entity that is already in the scene gains or loses a label. Labels are therefore determined by geometry, and
class frequencies by the table `WEIGHTS`.
"""

import dataclasses
import itertools
import math

from hoi_jax.scenes.activities import ACTIVITIES, Play
from hoi_jax.scenes.distractors import decoy, idle, lone_object
from hoi_jax.scenes.geometry import Box, overlap_share
from hoi_jax.scenes.layout import Layout
from hoi_jax.scenes.objects import KINDS, SceneObject
from hoi_jax.scenes.people import Person
from hoi_jax.scenes.rng import Rng
from hoi_jax.scenes.settings import TEST_OFFSET, WEIGHTS, SceneSettings
from hoi_jax.scenes.verbs import WIDE, Entity, disturbs, scene_verbs, sight_distance

PLAYS: tuple[tuple[str, str], ...] = tuple((verb, obj) for obj, verbs in WEIGHTS.items() for verb in verbs)
_CUMULATIVE = list(itertools.accumulate(WEIGHTS[obj][verb] for verb, obj in PLAYS))
_CYCLE_STRIDE = 37  # coprime with the number of plays, so that a few scenes already cover many classes
_MAIN_TRIES, _SIDE_TRIES, _DECOY_TRIES, _DECOY_POSES = 60, 10, 16, 3
NEAR_USED_OBJECT = 0.65
"""Share of bystanders who are placed beside an existing entity."""


@dataclasses.dataclass
class World:
    """Entities placed so far. `sights`: distance along the gaze of a person to its target, infinite without one."""

    height: int
    width: int
    crowded: bool
    entities: list[Entity] = dataclasses.field(default_factory=list)
    sights: list[float] = dataclasses.field(default_factory=list)

    @property
    def frame(self) -> Box:
        return (0.0, 0.0, float(self.width), float(self.height))

    def add(self, play: Play) -> None:
        """Add a play to the scene."""
        for index, entity in enumerate(play.entities):
            sight = math.inf
            for (person, target), verbs in play.verbs.items():
                if person == index and "look_at" in verbs and isinstance(entity, Person):
                    along = sight_distance(entity.head, entity.gaze, play.entities[target], math.inf, 0.0)
                    sight = min(sight, along if along is not None else math.inf)
            self.entities.append(entity)
            self.sights.append(sight)


def inside_share(box: Box, frame: Box) -> float:
    """Share of a box inside the frame."""
    width = min(box[2], frame[2]) - max(box[0], frame[0])
    height = min(box[3], frame[3]) - max(box[1], frame[1])
    return max(0.0, width) * max(0.0, height) / ((box[2] - box[0]) * (box[3] - box[1]))


def is_consistent(play: Play) -> bool:
    """Whether the rules see exactly the intended verbs, with exact and with wide tolerances."""
    wanted = {pair: frozenset(verbs) for pair, verbs in play.verbs.items()}
    return scene_verbs(play.entities) == wanted == scene_verbs(play.entities, WIDE)


def _has_room(world: World, play: Play) -> bool:
    """Whether a play is in view and hides little of the existing entities."""
    crowd = 0.65 if world.crowded else 0.45
    for entity in play.entities:
        if inside_share(entity.box, world.frame) < (0.62 if isinstance(entity, Person) else 0.8):
            return False
        if any(overlap_share(entity.box, other.box) > crowd for other in world.entities):
            return False
    return True


def _keeps_labels(world: World, play: Play) -> bool:
    """Whether a play and the existing entities neither add labels to each other nor remove any."""
    sights = World(world.height, world.width, world.crowded)
    sights.add(play)
    for entity, sight in zip(play.entities, sights.sights, strict=True):
        for other, other_sight in zip(world.entities, world.sights, strict=True):
            if isinstance(entity, Person) and disturbs(entity, other, sight):
                return False
            if isinstance(other, Person) and disturbs(other, entity, other_sight):
                return False
    return True


def _fits(world: World, play: Play) -> bool:
    return _has_room(world, play) and _keeps_labels(world, play)


def _layout(world: World, rng: Rng, base: float, near: Entity | None = None) -> Layout:
    """Layout of a play: people lower in the image are nearer and larger; `near` places it beside an entity."""
    unit = min(world.height, world.width)
    depth = rng.between(0.0, 1.0)
    ground = world.height * (0.6 + 0.38 * depth if world.crowded else 0.74 + 0.24 * depth)
    height = base * unit * (0.85 + 0.25 * depth)
    if near is None:
        return Layout(rng, rng.between(0.08, 0.92) * world.width, ground, height, rng.sign())
    half = 0.5 * (near.box[2] - near.box[0])
    offset = rng.sign() * (half + rng.between(0.05, 0.35) * height)
    x = 0.5 * (near.box[0] + near.box[2]) + offset
    return Layout(rng, x, near.depth + rng.between(-0.04, 0.04) * unit, height, rng.sign())


def _place(world: World, rng: Rng, verb: str, obj: str, base: float, tries: int) -> bool:
    """Try to add an activity to the scene, smaller and smaller while there is no room; return whether it was added."""
    for attempt in range(tries):
        layout = _layout(world, rng, base * 0.88 ** (attempt // 5))
        play = ACTIVITIES[verb](layout, obj)
        if _fits(world, play) and is_consistent(play):
            world.add(play)
            return True
    return False


def _add_decoy(world: World, rng: Rng, base: float) -> None:
    verb, obj = PLAYS[rng.weighted(_CUMULATIVE)]
    for attempt in range(_DECOY_TRIES):
        layout = _layout(world, rng, base * 0.88 ** (attempt // 4))
        shape = ACTIVITIES[verb](layout, obj)
        if not _has_room(world, shape):
            continue
        for _ in range(_DECOY_POSES):
            play = decoy(layout, verb, shape)
            if is_consistent(play) and _fits(world, play):
                world.add(play)
                return


def _add_bystander(world: World, rng: Rng, base: float) -> None:
    far = not world.crowded and rng.chance(0.12)
    for _ in range(_SIDE_TRIES):
        near = rng.pick(world.entities) if world.entities and not far and rng.chance(NEAR_USED_OBJECT) else None
        layout = _layout(world, rng, base * rng.between(0.85, 1.1), near)
        if far:
            unit = min(world.height, world.width)
            layout = dataclasses.replace(layout, ground=0.56 * world.height, height=rng.between(0.13, 0.2) * unit)
        play = idle(layout)
        if _fits(world, play) and is_consistent(play):
            world.add(play)
            return


def _add_lone_object(world: World, rng: Rng, base: float) -> None:
    used = [entity.name for entity in world.entities if isinstance(entity, SceneObject)]
    for _ in range(_SIDE_TRIES):
        again = bool(used) and rng.chance(0.6)
        name = rng.pick(used) if again else rng.pick(tuple(KINDS))
        near = rng.pick(world.entities) if world.entities and rng.chance(0.5) else None
        play = lone_object(_layout(world, rng, base, near), name)
        if _fits(world, play):
            world.add(play)
            return


def main_play(index: int, rng: Rng) -> tuple[str, str]:
    """The main activity of a scene, drawn by weight or, for some scenes, taken from a cycle through all activities.

    The first train scenes go once through the cycle, so that every HOI class has a train example. Every second
    test scene continues the cycle, so that rare classes can be measured.
    """
    turn = index
    if index >= TEST_OFFSET and (index - TEST_OFFSET) % 2 == 0:
        turn = (index - TEST_OFFSET) // 2 % len(PLAYS)
    if turn < len(PLAYS):
        return PLAYS[turn * _CYCLE_STRIDE % len(PLAYS)]
    return PLAYS[rng.weighted(_CUMULATIVE)]


def sample_world(settings: SceneSettings, index: int) -> tuple[World, Rng]:
    """(entities of scene `index`, generator for later draws such as the background)."""
    rng = Rng(settings.seed, index, 0)
    crowded = rng.chance(settings.crowded_fraction)
    verb, obj = main_play(index, rng)
    world = World(settings.height_px, settings.width_px, crowded)
    if crowded:
        base = rng.between(0.3, 0.45)
        plays, decoys = rng.integer(2, 4), rng.integer(2, 4)
        people, objects = rng.integer(2, 4), rng.integer(1, 3)
    else:
        close = rng.chance(0.12)
        base = rng.between(0.8, 1.1) if close else rng.between(0.42, 0.72)
        plays, decoys = rng.integer(1, 3), rng.integer(1, 3)
        people, objects = rng.integer(0, 2), rng.integer(0, 2)
    _place(world, rng, verb, obj, base, _MAIN_TRIES)
    for _ in range(plays - 1):
        side_verb, side_obj = PLAYS[rng.weighted(_CUMULATIVE)]
        _place(world, rng, side_verb, side_obj, base, _SIDE_TRIES)
    for _ in range(decoys):
        _add_decoy(world, rng, base)
    for _ in range(objects):
        _add_lone_object(world, rng, base)
    for _ in range(people):
        _add_bystander(world, rng, base)
    world.entities.sort(key=lambda entity: entity.depth)
    return world, rng
