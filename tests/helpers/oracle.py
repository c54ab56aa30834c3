"""Scalar evaluators in plain Python, written from the protocol text; they share no code with the library."""

import math
import struct
from types import SimpleNamespace


def iou(a, b, plus):
    w = min(a[2], b[2]) - max(a[0], b[0]) + plus
    h = min(a[3], b[3]) - max(a[1], b[1]) + plus
    if not (w > 0 and h > 0):
        return 0.0
    area = (a[2] - a[0] + plus) * (a[3] - a[1] + plus) + (b[2] - b[0] + plus) * (b[3] - b[1] + plus)
    return w * h / (area - w * h)


def thresholds(name):
    if name == "matlab":  # counted from both ends
        return [k * 0.1 if k <= 5 else 1.0 - (10 - k) * 0.1 for k in range(11)]
    if name == "arange":
        return [k * 0.1 for k in range(11)]
    return [k / 10 for k in range(11)]


def preset(thresholds, cap=None, skip=False, strict=False, plus=1, single=False):
    """Options of one published evaluator. All compare 0-based predictions with 1-based annotations."""
    return SimpleNamespace(
        thresholds=thresholds, max_per_image=cap, skip_images_without_gt=skip, strict_iou=strict, plus_one=plus,
        ap="11pt", prediction_shift=1, precision="float32" if single else "float64",
    )  # fmt: skip


PRESETS = {
    "official": preset("matlab"),
    "octave": preset("arange"),
    "ppdm": preset("arange"),
    "qpic": preset("arange", cap=100, skip=True),
    "upt": preset("matlab", skip=True, strict=True),
    "consnet": preset("tenths", plus=0, single=True),
}


def rounded(value, precision):
    return struct.unpack("f", struct.pack("f", value))[0] if precision == "float32" else value


def average_precision(hits, positives, mode, names="matlab", precision="float64"):
    if positives == 0:
        return math.nan
    points, found = [], 0
    for rank, hit in enumerate(hits, 1):
        found += hit
        points.append((rounded(found / positives, precision), rounded(found / rank, precision)))
    if mode == "area":
        total, last = 0.0, 0.0
        for index, (recall, _) in enumerate(points):
            total += (recall - last) * max(p for _, p in points[index:])
            last = recall
        return total
    best = [max([p for r, p in points if r >= rounded(t, precision)], default=0.0) for t in thresholds(names)]
    return sum(best) / 11


def hoi_ap(truth, rows, num_classes, object_of_class, protocol, known_object):
    """AP per class. truth: (image, label, human, object); rows: (image, label, human, object, score)."""
    valid = [(number, row) for number, row in enumerate(rows) if row[1] >= 0 and not math.isnan(row[4])]
    if protocol.max_per_image is not None:
        kept = []
        for image in {row[0] for _, row in valid}:
            own = sorted((r for r in valid if r[1][0] == image), key=lambda r: (-r[1][4], r[0]))
            kept += own[: protocol.max_per_image]
        valid = kept
    if protocol.skip_images_without_gt:
        valid = [r for r in valid if any(t[0] == r[1][0] for t in truth)]
    result = []
    for label in range(num_classes):
        own = sorted((r for r in valid if r[1][1] == label), key=lambda r: (-r[1][4], r[1][0], r[0]))
        used, hits = set(), []
        for _, (image, _, human, obj, _) in own:
            if known_object and not any(
                t[0] == image and object_of_class[t[1]] == object_of_class[label] for t in truth
            ):
                continue
            best, best_overlap = None, -1.0
            for index, (t_image, t_label, t_human, t_obj) in enumerate(truth):
                if (t_image, t_label) != (image, label):
                    continue
                shifted_h = [c + protocol.prediction_shift for c in human]
                shifted_o = [c + protocol.prediction_shift for c in obj]
                overlap = min(iou(shifted_h, t_human, protocol.plus_one), iou(shifted_o, t_obj, protocol.plus_one))
                if overlap > best_overlap:
                    best, best_overlap = index, overlap
            passes = best is not None and (best_overlap > 0.5 if protocol.strict_iou else best_overlap >= 0.5)
            hits.append(bool(passes and best not in used))
            if passes:
                used.add(best)
        positives = sum(t[1] == label for t in truth)
        result.append(average_precision(hits, positives, protocol.ap, protocol.thresholds, protocol.precision))
    return result


def _ranked_ap(entries, positives):
    """entries: (score, image, row, hit)."""
    order = sorted(entries, key=lambda e: (-e[0], e[1], e[2]))
    return average_precision([e[3] for e in order], positives, "area")


def _nearest(people, image, box):
    best, best_overlap = None, -1.0
    for index, person in enumerate(people):
        if person["image"] == image:
            overlap = iou(box, person["box"], 1)
            if overlap > best_overlap:
                best, best_overlap = index, overlap
    return best, best_overlap


def agent_ap(people, detections, action):
    """people: dicts image, box, labels; detections: dicts image, box, agent."""
    entries, used = [], set()
    rows = [(d["agent"][action], d["image"], n, d) for n, d in enumerate(detections)]
    rows = [r for r in rows if not math.isnan(r[0])]
    for score, image, number, detection in sorted(rows, key=lambda r: (-r[0], r[1], r[2])):
        person, overlap = _nearest(people, image, detection["box"])
        if person is not None and people[person]["labels"][action] == -1:
            continue
        hit = person is not None and people[person]["labels"][action] == 1 and overlap >= 0.5 and person not in used
        if hit:
            used.add(person)
        entries.append((score, image, number, hit))
    return _ranked_ap(entries, sum(p["labels"][action] == 1 for p in people))


def role_ap(people, detections, roles, action, slot, scenario):
    """roles: dicts detection, action, slot, box, score, in row order."""
    entries, used = [], set()
    rows = []
    for number, role in enumerate(roles):
        if (role["action"], role["slot"]) == (action, slot) and not math.isnan(role["score"]):
            rows.append((role["score"], detections[role["detection"]]["image"], number, role))
    for score, image, number, role in sorted(rows, key=lambda r: (-r[0], r[1], r[2])):
        person, overlap = _nearest(people, image, detections[role["detection"]]["box"])
        hit = False
        if person is not None:
            labels, target = people[person]["labels"], people[person]["roles"].get((action, slot))
            if labels[action] == -1:
                continue
            if target is None:
                empty = all(c == 0 for c in role["box"]) or all(math.isnan(c) for c in role["box"])
                right = empty or scenario == 2
            else:
                right = not any(math.isnan(c) for c in role["box"]) and iou(role["box"], target, 1) >= 0.5
            hit = labels[action] == 1 and overlap >= 0.5 and right and person not in used
        if hit:
            used.add(person)
        entries.append((score, image, number, hit))
    return _ranked_ap(entries, sum(p["labels"][action] == 1 for p in people))


def error_kind(truth, object_of_class, row, passes_same_class, protocol):
    """Kind of one false positive, by the definitions; row: (image, label, human, object).

    passes_same_class: whether its best pair of the same class fits (and a better detection has found it).
    """
    image, label, human, obj = row
    human = [c + protocol.prediction_shift for c in human]
    obj = [c + protocol.prediction_shift for c in obj]

    def fits(value):
        return value > 0.5 if protocol.strict_iou else value >= 0.5

    own, wanted = object_of_class[label], [t for t in truth if t[0] == image]
    ious = [(t[1], iou(human, t[2], protocol.plus_one), iou(obj, t[3], protocol.plus_one)) for t in wanted]
    if passes_same_class:
        return "duplicate"
    if any(fits(h) and fits(o) and object_of_class[c] == own for c, h, o in ious):
        return "wrong_verb"
    if any(fits(h) and fits(o) for _, h, o in ious):
        return "wrong_object"
    if any(fits(h) for _, h, _ in ious) and any(fits(o) and object_of_class[c] == own for c, _, o in ious):
        return "wrong_pairing"
    best = None
    for c, h, o in ious:
        if c == label and (best is None or min(h, o) > min(best)):
            best = (h, o)
    if best is not None and min(best) >= 0.1:
        return "bad_human_box" if best[0] < best[1] else "bad_object_box"
    return "background"
