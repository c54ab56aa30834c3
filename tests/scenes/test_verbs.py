"""Every rule on geometry built by hand: positions are chosen so that the answer can be seen from the numbers."""

import dataclasses

import pytest

from hoi_jax.scenes.geometry import outline_distance, ray_circle, segment_distance, two_link
from hoi_jax.scenes.objects import SceneObject, make_object
from hoi_jax.scenes.people import Appearance, Person, build_person, face_points
from hoi_jax.scenes.settings import TEST_OFFSET, SceneSettings
from hoi_jax.scenes.verbs import part_states, postures, scene_verbs
from hoi_jax.scenes.world import sample_world
from hoi_jax.schema import KEYPOINT_MIRROR, PART_MIRROR

H, GROUND = 100.0, 300.0
APPEARANCE = Appearance((255, 200, 180), (0, 0, 0), (200, 0, 0), (0, 0, 200), (0, 0, 0))


def turn_head(person: Person, gaze: tuple[float, float]) -> Person:
    """The same person with another gaze (the face points move, the rest stays)."""
    face = face_points(person.head, person.head_radius, gaze)
    return dataclasses.replace(person, gaze=gaze, keypoints=(*face, *person.keypoints[5:]))


def person(x=200.0, *, gaze=(0.0, 0.0), facing=1, pelvis_y=GROUND - 45.0, lean=0.0, **limbs) -> Person:
    """A person 100 px tall on the ground line y = 300, arms hanging."""
    places = {
        "left_hand": (x + 12.0, pelvis_y + 2.0), "right_hand": (x - 12.0, pelvis_y + 2.0),
        "left_foot": (x + 7.0, GROUND - 3.0), "right_foot": (x - 7.0, GROUND - 3.0),
    }  # fmt: skip
    return build_person(
        H,
        (x, pelvis_y),
        facing=facing,
        appearance=APPEARANCE,
        depth=GROUND,
        gaze=gaze,
        lean=lean,
        **{**places, **limbs},
    )


def obj(name: str, x: float, y: float, flip: int = 1) -> SceneObject:
    return make_object(name, (x, y), H, flip=flip, colour=0, depth=GROUND)


def verbs(*entities):
    return {pair: set(found) for pair, found in scene_verbs(entities).items()}


def test_distances_have_their_closed_forms():
    assert segment_distance(3.0, 4.0, 0.0, 0.0, 0.0, 0.0) == 5.0
    assert segment_distance(5.0, 2.0, 0.0, 0.0, 10.0, 0.0) == 2.0
    assert outline_distance((0.0, 5.0), ((0.0, 0.0, 0.0, 0.0, 3.0), (0.0, 20.0, 1.0, 20.0, 1.0))) == 2.0
    assert ray_circle((0.0, 0.0), (1.0, 0.0), (10.0, 2.0), 2.5) == 10.0
    assert ray_circle((0.0, 0.0), (1.0, 0.0), (10.0, 3.0), 2.5) is None
    assert ray_circle((0.0, 0.0), (1.0, 0.0), (-10.0, 0.0), 2.5) is None


def test_a_limb_of_3_and_4_reaching_for_5_bends_at_a_right_angle():
    middle, end = two_link((0.0, 0.0), (5.0, 0.0), 3.0, 4.0, (0.0, 1.0))
    assert end == pytest.approx((5.0, 0.0))
    assert middle == pytest.approx((1.8, 2.4))


def test_look_at_needs_the_face_and_nothing_else_changes_the_label():
    ball = obj("ball", 320.0, 0.0)
    looker = person(gaze=(1.0, 0.0))
    ball = dataclasses.replace(ball, centre=(320.0, looker.head[1]))
    assert verbs(looker, ball) == {(0, 1): {"look_at"}}
    assert verbs(turn_head(looker, (-1.0, 0.0)), ball) == {}
    assert verbs(turn_head(looker, (0.0, 0.0)), ball) == {}
    assert turn_head(looker, (-1.0, 0.0)).box == looker.box


def test_the_nearest_object_in_sight_is_the_one_looked_at():
    looker = person(gaze=(1.0, 0.0))
    y = looker.head[1]
    assert verbs(looker, obj("ball", 330.0, y), obj("cup", 280.0, y)) == {(0, 2): {"look_at"}}


def test_objects_beyond_sight_are_not_looked_at():
    looker = person(gaze=(1.0, 0.0))
    assert verbs(looker, obj("ball", 200.0 + 299.0, looker.head[1])) == {(0, 1): {"look_at"}}
    assert verbs(looker, obj("ball", 200.0 + 301.0, looker.head[1])) == {}


def test_one_hand_holds_two_hands_carry_or_push():
    ball = obj("ball", 225.0, 240.0)  # radius 11
    left, right = (214.0, 240.0), (216.0, 246.0)
    assert verbs(person(left_hand=left), ball) == {(0, 1): {"hold"}}
    assert verbs(person(left_hand=left, right_hand=right), ball) == {(0, 1): {"carry"}}
    low = obj("ball", 230.0, GROUND - 11.0)
    crouched = person(
        pelvis_y=GROUND - 30.0, lean=0.7, left_hand=(222.0, GROUND - 16.0), right_hand=(225.0, GROUND - 20.0)
    )
    assert verbs(crouched, low) == {(0, 1): {"push"}}


def test_the_foot_kicks_only_when_it_is_stretched_out():
    ball = obj("ball", 241.0, GROUND - 15.0)
    assert verbs(person(left_foot=(229.0, GROUND - 15.0)), ball) == {(0, 1): {"kick"}}
    assert verbs(person(left_foot=(207.0, GROUND - 3.0)), obj("ball", 220.0, GROUND - 11.0)) == {}


def test_ankles_decide_between_sitting_and_riding_the_same_bench():
    bench = obj("bench", 200.0, GROUND - 14.0)
    seat = bench.top[1] - 2.0
    hands = {"left_hand": (212.0, seat - 20.0), "right_hand": (206.0, seat - 20.0)}
    aside = person(pelvis_y=seat, left_foot=(228.0, 297.0), right_foot=(222.0, 297.0), **hands)
    astride = person(pelvis_y=seat, left_foot=(226.0, 297.0), right_foot=(174.0, 297.0), **hands)
    assert verbs(aside, bench) == {(0, 1): {"sit_on"}}
    assert verbs(astride, bench) == {(0, 1): {"ride"}}


def test_feet_on_top_stand_on():
    bench = obj("bench", 200.0, GROUND - 14.0)
    top = bench.top[1]
    upright = person(pelvis_y=top - 45.0, left_foot=(206.0, top - 3.0), right_foot=(194.0, top - 3.0))
    assert verbs(upright, bench) == {(0, 1): {"stand_on"}}


def test_crown_wears_mouth_eats_and_ear_talks():
    idle = person(gaze=(1.0, 0.0))
    hat = obj("hat", idle.crown[0], idle.crown[1] - 5.0)
    assert verbs(idle, hat) == {(0, 1): {"wear"}}
    at_mouth = obj("apple", idle.mouth[0] + 6.0, idle.mouth[1])
    eating = person(gaze=(1.0, 0.0), left_hand=(at_mouth.centre[0] + 2.0, at_mouth.centre[1] + 6.0))
    assert verbs(eating, at_mouth) == {(0, 1): {"eat", "hold"}}
    ear = eating.keypoints[4]
    at_ear = obj("phone", ear[0] - 2.0, ear[1])
    calling = person(gaze=(1.0, 0.0), right_hand=(at_ear.centre[0] - 2.0, at_ear.centre[1] + 8.0))
    assert verbs(calling, at_ear) == {(0, 1): {"talk_on", "hold"}}


def test_a_stretched_arm_points_and_a_bent_one_does_not():
    straight = person(left_hand=(600.0, 230.0))
    shoulder, wrist = straight.keypoints[5], straight.keypoints[9]
    slope = (wrist[1] - shoulder[1]) / (wrist[0] - shoulder[0])
    target = obj("dog", 330.0, shoulder[1] + slope * (330.0 - shoulder[0]))
    assert verbs(straight, target) == {(0, 1): {"point_at"}}
    assert verbs(person(left_hand=(225.0, 222.0)), target) == {}


def test_mutual_looks_talk_and_one_sided_looks_do_not():
    first, second = person(gaze=(1.0, 0.0)), person(280.0, gaze=(-1.0, 0.0), facing=-1)
    both = {"look_at", "talk_to"}
    assert verbs(first, second) == {(0, 1): both, (1, 0): both}
    assert verbs(first, turn_head(second, (1.0, 0.0))) == {(0, 1): {"look_at"}}


def test_an_opponent_on_the_other_side_makes_it_a_contest():
    y = person().head[1]
    ball = obj("ball", 250.0, y)
    left, right = person(200.0, gaze=(1.0, 0.0)), person(300.0, gaze=(-1.0, 0.0), facing=-1)
    both = {"look_at", "compete_for"}
    assert verbs(left, right, ball) == {(0, 2): both, (1, 2): both}
    assert verbs(left, turn_head(right, (1.0, 0.0)), ball) == {(0, 2): {"look_at"}}


def test_a_crew_pushes_the_same_way():
    cart = obj("cart", 270.0, GROUND - 23.0)
    rear = {"left_hand": cart.at((-0.4, -0.2)), "right_hand": cart.at((-0.46, -0.3))}
    front = {"left_hand": cart.at((0.46, -0.1)), "right_hand": cart.at((0.46, -0.2))}
    pusher = person(212.0, gaze=(0.8, 0.6), lean=0.3, **rear)
    helper = person(312.0, gaze=(0.8, 0.6), pelvis_y=GROUND - 30.0, right_foot=(330.0, 297.0), **front)
    both = {"push", "push_together"}
    assert verbs(pusher, cart, helper) == {(0, 1): both, (2, 1): both}
    assert verbs(pusher, cart, turn_head(helper, (-0.8, -0.6))) == {(0, 1): {"push"}, (2, 1): {"push"}}


def test_hugging_is_pushing_from_close_by():
    hands = {"left_hand": (222.0, 240.0), "right_hand": (222.0, 246.0)}
    assert verbs(person(**hands), person(225.0))[(0, 1)] == {"hug"}
    hands = {"left_hand": (234.0, 240.0), "right_hand": (234.0, 246.0)}
    assert verbs(person(lean=0.5, **hands), person(240.0))[(0, 1)] == {"push"}


def test_part_states_name_the_parts_that_touch():
    ball = obj("ball", 240.0, 240.0)
    holder = person(left_hand=(229.0, 240.0))
    assert part_states(holder, ball, "hold") == (0, 0, 0, 0, 0, 0, 0, 0, 0, 1)
    kicker = person(right_foot=(229.0, GROUND - 15.0))
    ground_ball = obj("ball", 241.0, GROUND - 15.0)
    assert part_states(kicker, ground_ball, "kick") == (1, 1, 0, 0, 0, 0, 0, 0, 0, 0)
    assert part_states(kicker, ground_ball, "no_interaction") == (0,) * 10


def test_postures():
    assert postures(person(), frozenset()) == {"stand"}
    stride = {"left_foot": (218.0, 297.0), "right_foot": (182.0, 297.0)}
    assert postures(person(**stride), frozenset()) == {"walk"}
    assert postures(person(**stride), frozenset({"ride"})) == set()
    assert postures(person(left_hand=(215.0, 200.0)), frozenset()) == {"stand", "raise_arm"}


def _mirror(entity, width=128.0):
    def flip(point):
        return (width - point[0], point[1])

    if isinstance(entity, SceneObject):
        return dataclasses.replace(entity, centre=flip(entity.centre), flip=-entity.flip)
    return dataclasses.replace(
        entity, keypoints=tuple(flip(entity.keypoints[i]) for i in KEYPOINT_MIRROR), pelvis=flip(entity.pelvis),
        neck=flip(entity.neck), head=flip(entity.head), gaze=(-entity.gaze[0], entity.gaze[1]),
        facing=-entity.facing,
    )  # fmt: skip


def test_mirrored_scenes_keep_their_labels_and_swap_their_parts():
    seen = 0
    for index in range(TEST_OFFSET, TEST_OFFSET + 170, 2):
        world, _ = sample_world(SceneSettings(), index)
        mirrored = [_mirror(entity) for entity in world.entities]
        found = scene_verbs(world.entities)
        assert scene_verbs(mirrored) == found
        for (i, j), names in found.items():
            for name in names:
                states = part_states(world.entities[i], world.entities[j], name)
                other = part_states(mirrored[i], mirrored[j], name)
                assert tuple(other[part] for part in PART_MIRROR) == states
                seen += 1
    assert seen > 100
