"""Small copies of every dataset in its exact layout on disk, with noise images and a few labels."""

import json
from io import BytesIO

import numpy as np
import scipy.io
from PIL import Image

from hoi_jax.vocab import get_vocabulary
from hoi_jax.vocab.datasets import OBJECTS_ALPHABETICAL

HW = (48, 64)
COUNT = 4


def jpeg(path, seed=0, hw=HW):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    Image.fromarray(pixels).resize((hw[1], hw[0])).save(path, "JPEG")


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def struct(rows, column=False):
    """A MATLAB struct array."""
    table = np.zeros((1, len(rows)), [(name, object) for name in rows[0]]) if rows else np.zeros((1, 0))
    for place, row in enumerate(rows):
        for name, value in row.items():
            table[name][0, place] = value
    return table.T if column else table


def hico_det(folder):
    """anno_bbox.mat and images; the last test image has no pair, and every image has an invisible entry."""
    names = {s: [f"HICO_{s}2015_{n:08d}.jpg" for n in range(1, 2 * COUNT, 2)] for s in ("train", "test")}
    variables = {}
    for split, listed in names.items():
        images = []
        for place, name in enumerate(listed):
            jpeg(folder / "images" / f"{split}2015" / name, place)
            hidden = {
                "id": 5, "bboxhuman": np.zeros((0, 0)), "bboxobject": np.zeros((0, 0)), "connection": np.zeros((0, 2)),
                "invis": 1,
            }  # fmt: skip
            box = lambda x1, y1, x2, y2: struct([{"x1": x1, "x2": x2, "y1": y1, "y2": y2}])  # noqa: E731
            seen = {
                "id": place + 1, "bboxhuman": box(1.0, 2.0, 20.0, 40.0), "bboxobject": box(11.0, 5.0, 64.0, 48.0),
                "connection": np.array([[1, 1]]), "invis": 0,
            }  # fmt: skip
            hois = [hidden] if split == "test" and place == COUNT - 1 else [seen, hidden]
            size = struct([{"width": HW[1], "height": HW[0], "depth": 3}])
            images.append({"filename": name, "size": size, "hoi": struct(hois)})
        variables[f"bbox_{split}"] = struct(images)
    folder.mkdir(exist_ok=True)
    scipy.io.savemat(folder / "anno_bbox.mat", variables, do_compression=True)
    return {"train": folder / "anno_bbox.mat", "test": folder / "anno_bbox.mat"}


def hico_json(path, count=COUNT):
    """fredzzhang's label file for the test images of `hico_det`."""
    vocabulary = get_vocabulary("hico_det")
    alphabetical = [OBJECTS_ALPHABETICAL.index(name) for name in vocabulary.objects]
    rows = [
        {"boxes_h": [[1, 2, 20, 40]], "boxes_o": [[11, 5, 64, 48]], "hoi": [n], "verb": [vocabulary.hois[n][0]],
         "object": [alphabetical[vocabulary.hois[n][1]]]}
        for n in range(count)
    ]  # fmt: skip
    correspondence = [[hoi, alphabetical[obj], verb] for hoi, (verb, obj) in enumerate(vocabulary.hois)]
    return write_json(
        path,
        {
            "filenames": [f"HICO_test2015_{2 * n + 1:08d}.jpg" for n in range(count)],
            "size": [[HW[1], HW[0]]] * count,
            "annotation": rows,
            "correspondence": correspondence,
            "objects": list(OBJECTS_ALPHABETICAL),
            "verbs": list(vocabulary.verbs),
        },
    )


def vcoco(folder):
    """The 26 action tables per split and COCO's instances; one person holds a cup, one stands, one is unlabelled."""
    vocabulary = get_vocabulary("vcoco")
    files, images, boxes = {}, [], []
    for at, split in enumerate(("train", "val", "test")):
        numbers = [100 * (at + 1) + n for n in range(COUNT)]
        for number in numbers:
            name = f"COCO_{'val' if split == 'test' else 'train'}2014_{number:012d}.jpg"
            jpeg(folder / "mscoco2014" / name[5:-17] / name, number)
            images.append({"id": number, "file_name": name, "height": HW[0], "width": HW[1]})
            rows = [([1, 2, 10, 20], 1), ([20, 2, 10.5, 20], 1), ([8, 2, 5, 5.25], 47), ([40, 1, 5, 9], 1)]
            boxes += [
                {"id": 10 * number + k, "image_id": number, "bbox": box, "category_id": category}
                for k, (box, category) in enumerate(rows)
            ]
        tables = []
        for action, roles in zip(vocabulary.actions, vocabulary.action_roles, strict=True):
            ids = [10 * number + k for number in numbers for k in (0, 1)]
            label = [int(action == "hold" and k % 10 == 0 or action == "stand") for k in ids]
            objects = [[i + 2 if action == "hold" and i % 10 == 0 else 0 for i in ids] for _ in roles]
            tables.append(
                {
                    "action_name": action,
                    "role_name": ["agent", *roles],
                    "include": [[]] * (1 + len(roles)),
                    "image_id": [i // 10 for i in ids],
                    "ann_id": ids,
                    "label": label,
                    "role_object_id": ids + [i for row in objects for i in row],
                }  # fmt: skip
            )
        files[split] = write_json(folder / "data" / "vcoco" / f"vcoco_{split}.json", tables)
    write_json(folder / "data" / "instances_vcoco_all_2014.json", {"images": images, "annotations": boxes})
    return files


def hico(folder):
    """anno.mat with certain, ambiguous and unknown labels."""
    variables = {}
    for split in ("train", "test"):
        names = [f"HICO_{split}2015_{n + 1:08d}.jpg" for n in range(COUNT)]
        labels = np.full((600, COUNT), np.nan)
        labels[:3], labels[range(COUNT), range(COUNT)] = -1, 1
        labels[5, 0] = 0
        variables |= {f"anno_{split}": labels, f"list_{split}": np.array(names, object)[:, None]}
        for place, name in enumerate(names):
            jpeg(folder / "images" / f"{split}2015" / name, place)
    scipy.io.savemat(folder / "anno.mat", variables, do_compression=True)
    return {"": folder / "anno.mat"}


def mpii(folder):
    """RELEASE with two activities and an unlabelled test part."""
    rows = [(f"{n:09d}.jpg", n < COUNT, ("curling", "golf")[n % 2], n % 2 + 3) for n in range(COUNT + 1)]
    for place, (name, *_) in enumerate(rows):
        jpeg(folder / "images" / name, place)
    acts = [{"cat_name": "sports", "act_name": t, "act_id": i} if k else {"cat_name": [], "act_name": [], "act_id": -1}
            for _, k, t, i in rows]  # fmt: skip
    release = {
        "annolist": struct([{"image": struct([{"name": row[0]}]), "annorect": []} for row in rows]),
        "img_train": np.array([[int(row[1]) for row in rows]], np.uint8),
        "act": struct(acts, column=True),
    }
    scipy.io.savemat(folder / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": struct([release])}, do_compression=True)
    return {"": folder / "mpii_human_pose_v1_u12_1.mat"}


def hoi_w(folder):
    """Labels with numbers as strings with blanks, one verb 0 and one missing box."""
    files = {}
    for split in ("train", "test"):
        table = []
        for n in range(COUNT):
            name = f"{split}_{n:06d}.png"
            (folder / "images").mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((*HW, 3), 40 * n, np.uint8)).save(folder / "images" / name)
            objects = [{"bbox": [1, 2, 20, 40], "category_id": "1"}, {"bbox": [10, 5, 60, 45], "category_id": "2\n"}]
            relations = [{"subject_id": 0, "object_id": 1, "category_id": "2\n"}]
            if n == 0:
                relations += [
                    {"subject_id": 0, "object_id": 7, "category_id": 1},
                    {"subject_id": 0, "object_id": 1, "category_id": 0},
                ]
            table.append({"file_name": name, "annotations": objects, "hoi_annotation": relations})
        files[split] = write_json(folder / f"{split}_2019.json", table)
    return files


def pic(folder):
    """Label maps of two instances; one relation refers to a missing instance."""
    files = {}
    for split in ("train", "val"):
        table = []
        for n in range(COUNT):
            name = f"{split}{n}.jpg"
            jpeg(folder / "image" / split / name, n)
            semantic, instance = np.zeros(HW, np.uint8), np.zeros(HW, np.uint8)
            semantic[5:40, 4:20], instance[5:40, 4:20] = 1, 3
            semantic[10:30, 30:60], instance[10:30, 30:60] = 26, 9
            for kind, values in (("semantic", semantic), ("instance", instance)):
                path = folder / "segmentation" / split / kind / f"{split}{n}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(path)
            relations = [{"subject": 3, "object": 9, "relation": 21}, {"subject": 3, "object": 77, "relation": 1}]
            table.append({"name": name, "image_id": n, "relations": relations})
        files[split] = write_json(folder / "relation" / f"relations_{split}.json", table)
    return files


def own(folder):
    """COCO plus pairs, with a pose, a polygon and a pair without object."""
    files = {}
    for split in ("train", "test"):
        images, objects, pairs = [], [], []
        for n in range(COUNT):
            name = f"{split}_{n}.jpg"
            jpeg(folder / "images" / name, n)
            images.append({"id": n, "file_name": name, "height": HW[0], "width": HW[1]})
            pose = [v for k in range(17) for v in (5 + k % 4, 5 + 2 * k, 2 if k % 3 else 0)]
            objects.append({"id": 2 * n, "image_id": n, "category_id": 7, "bbox": [1, 2, 19, 38], "keypoints": pose})
            outline = [[11, 5, 60, 5, 60, 40, 11, 40]]
            objects.append(
                {
                    "id": 2 * n + 1,
                    "image_id": n,
                    "category_id": 9,
                    "bbox": [10, 4, 51.5, 37.25],
                    "segmentation": outline,
                }
            )
            pairs.append({"image_id": n, "human": 2 * n, "object": 2 * n + 1, "verbs": ["hold", "wave"][: 1 + n % 2]})
        pairs.append({"image_id": 0, "human": 0, "object": None, "verbs": ["wave"]})
        files[split] = write_json(
            folder / f"{split}.json",
            {
                "format": "hoi_jax", "categories": [{"id": 7, "name": "person"}, {"id": 9, "name": "flag"}],
                "verbs": ["hold", "wave"], "hois": [["hold", "flag"], ["wave", "flag"]],
                "images": images, "annotations": objects, "pairs": pairs,
            },
        )  # fmt: skip
    return files


def make_image(image, kind="PNG", **options):
    """An image as encoded bytes."""
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
