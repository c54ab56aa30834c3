"""Predicted pairs of one image as plain values for JSON and as drawable interactions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hoi_jax.evaluation.analysis.triplets import Interaction
from hoi_jax.vocab import Vocabulary


def pairs_of_image(
    predictions: Mapping[str, np.ndarray],
    row: int,
    scale_xy: np.ndarray,
    vocabulary: Vocabulary,
    *,
    min_score: float,
    top: int,
    per_person: int | None = None,
) -> list[dict[str, Any]]:
    """The pairs of one image as plain JSON values, best first, boxes times `scale_xy` [2].

    The `top` best (pair, verb) rows are taken. With `per_person`, each person (same box) has at most that many, none of
    them "no interaction". Pairs suppressed by the system are left out. Verbs without an object (action style) come from
    the people (`agent_*`) and have object null.
    """
    candidates: list[tuple[float, int, int]] = []
    agents_from = predictions["pair_valid"].shape[1] if "pair_valid" in predictions else 0
    if agents_from:
        used = predictions["pair_valid"][row]
        if "kept" in predictions:
            used = used & predictions["kept"][row]
        candidates += _strong(predictions["verb_scores"][row], used, min_score, 0)
    if "agent_valid" in predictions:
        alone = np.array([role < 0 for role in vocabulary.verb_role] or [False] * len(vocabulary.verbs))
        scores = np.where(alone, predictions["agent_scores"][row], -np.inf)
        candidates += _strong(scores, predictions["agent_valid"][row], min_score, agents_from)
    candidates.sort(key=lambda c: (-c[0], c[1], c[2]))
    if per_person is not None:
        quiet = vocabulary.no_interaction
        candidates = _few_per_person(candidates, predictions, row, agents_from, per_person, quiet)
    groups: dict[int, dict[str, Any]] = {}
    for score, pair, verb in candidates[:top]:
        if pair not in groups:
            groups[pair] = _pair(predictions, row, pair, agents_from, scale_xy, vocabulary)
            groups[pair]["score"] = score
        groups[pair]["verbs"].append({"verb": vocabulary.verbs[verb], "score": score})
    return list(groups.values())


def _few_per_person(
    candidates: list[tuple[float, int, int]],
    predictions: Mapping[str, np.ndarray],
    row: int,
    agents_from: int,
    limit: int,
    quiet: int,
) -> list[tuple[float, int, int]]:
    """The first `limit` candidates of every person, identified by their box, without the no-interaction verb `quiet`.

    Rows of no interaction would otherwise displace the interactions of a person.
    """
    seen: Counter[bytes] = Counter()
    kept = []
    for candidate in candidates:
        pair = candidate[1]
        name, index = ("human_xyxy_px", pair) if pair < agents_from else ("agent_xyxy_px", pair - agents_from)
        person = np.asarray(predictions[name][row, index], np.float32).tobytes()
        if candidate[2] == quiet:
            continue
        seen[person] += 1
        if seen[person] <= limit:
            kept.append(candidate)
    return kept


def _strong(scores: np.ndarray, used: np.ndarray, min_score: float, offset: int) -> list[tuple[float, int, int]]:
    """(score, row + offset, verb) of every score in used rows that is at least `min_score`."""
    good = np.isfinite(scores) & (scores >= min_score) & used[:, None]
    return [(float(scores[r, v]), int(r) + offset, int(v)) for r, v in np.argwhere(good)]


def _pair(
    predictions: Mapping[str, np.ndarray],
    row: int,
    pair: int,
    agents_from: int,
    scale_xy: np.ndarray,
    vocabulary: Vocabulary,
) -> dict[str, Any]:
    def box(name: str, index: int) -> list[float] | None:
        corners = predictions[name][row, index] * np.tile(scale_xy, 2)
        return [round(float(c), 2) for c in corners] if np.isfinite(corners).all() else None

    def number(name: str) -> float | None:
        value = float(predictions[name][row, pair]) if name in predictions else np.nan
        return value if np.isfinite(value) else None

    empty = {"object": None, "object_xyxy_px": None, "object_score": None, "interactiveness": None}
    if pair >= agents_from:
        human = box("agent_xyxy_px", pair - agents_from)
        return {"human_xyxy_px": human, "human_score": None, **empty, "verbs": []}
    obj = box("object_xyxy_px", pair)
    values = {"human_xyxy_px": box("human_xyxy_px", pair), "human_score": number("human_score"), **empty}
    values["interactiveness"] = number("interactiveness")
    if obj is not None:
        name = vocabulary.objects[int(predictions["object_class"][row, pair])]
        values |= {"object": name, "object_xyxy_px": obj, "object_score": number("object_score")}
    return {**values, "verbs": []}


def interactions_of(pairs: Sequence[Mapping[str, Any]], vocabulary: Vocabulary) -> list[Interaction]:
    """Drawable interactions of one image; the no-interaction verb is not drawn."""
    words = {name: vocabulary.verb_words(verb) for verb, name in enumerate(vocabulary.verbs)}
    if vocabulary.no_interaction >= 0:
        del words[vocabulary.verbs[vocabulary.no_interaction]]
    drawn = []
    for pair in pairs:
        verbs = tuple((words[v["verb"]], v["score"]) for v in pair["verbs"] if v["verb"] in words)
        if verbs:
            obj = tuple(pair["object_xyxy_px"]) if pair["object_xyxy_px"] else None
            drawn.append(Interaction(tuple(pair["human_xyxy_px"]), obj, pair["object"] or "", verbs))
    return drawn
