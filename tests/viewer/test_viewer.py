"""The viewer: what is asked for is found, answers stay on this machine, and only images of the split are given."""

import json
import subprocess
import threading
import urllib.error
import urllib.request
from http.client import HTTPConnection
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from hoi_jax.annotations import Annotations
from hoi_jax.data.records import ImageReader, RecordFiles, read_at, record_places
from hoi_jax.io import CorruptFileError
from hoi_jax.predictions import Predictions
from hoi_jax.schema import empty_record
from hoi_jax.viewer.index import Query, build_index, facets, select
from hoi_jax.viewer.server import Viewer, answer, make_server
from hoi_jax.vocab import get_vocabulary
from tests.helpers.browser import NAMES, program

WORDS = get_vocabulary("hoi_scenes")
PERSON, BALL, CUP = (WORDS.objects.index(n) for n in ("person", "ball", "cup"))
KICK, HOLD, LOOK, NONE = (WORDS.verbs.index(n) for n in ("kick", "hold", "look_at", "no_interaction"))
BOXES = {PERSON: (10, 10, 50, 90), BALL: (60, 60, 80, 80), CUP: (5, 92, 30, 99)}


def record(number, classes, pairs):
    """An image with instances of these classes; `pairs` are (human, object, verb)."""
    row = empty_record(0)
    count = len(classes)
    columns = {"xyxy_px": [BOXES[c] for c in classes], "class": classes, "annotation_id": np.zeros(count)}
    columns |= {name: np.zeros((count, *shape)) for name, shape in _EMPTY.items()}
    for name, values in columns.items():
        row[f"instances_{name}"] = np.array(values, row[f"instances_{name}"].dtype)
    human, obj, verb = np.array(pairs, np.int32).reshape(-1, 3).T
    row |= {"pairs_human": human, "pairs_object": obj, "pairs_verb": verb}
    row["pairs_part_states"] = np.full((len(pairs), 10), -1, np.int32)
    return row | {
        "image_id": np.int64(number),
        "file_name": f"{number}.png".encode(),
        "original_hw_px": np.array([100, 120], np.int32),
    }


_EMPTY = {"keypoints_px": (17, 3), "face_xyxy_px": (4,), "parts_xyxy_px": (10, 4)}
TRUTH = Annotations.from_records(
    [
        record(100, [PERSON, BALL], [(0, 1, KICK)]),
        record(101, [PERSON, PERSON, CUP], [(0, 2, HOLD), (1, 2, HOLD)]),
        record(102, [PERSON, CUP], [(0, 1, NONE)]),
        record(103, [PERSON] * 7 + [BALL, CUP], [(0, 7, HOLD), (0, 8, HOLD), (0, 7, KICK)]),
    ],
    "hoi_scenes",
)


def predictions(weak=0):
    """Right on the first and the last image, with a wrong verb at 0.6 and 0.9; right, but weak, on the second.

    `weak` wrong ones at 0.05 and less are added.
    """
    rows = [
        (0, PERSON, BALL, KICK, 0.8),
        (0, PERSON, BALL, HOLD, 0.6),
        (1, PERSON, CUP, HOLD, 0.1),
        (3, PERSON, BALL, LOOK, 0.9),
        (3, PERSON, BALL, KICK, 0.7),
        *((0, PERSON, CUP, HOLD, 0.05 - 0.001 * i) for i in range(weak)),
    ]
    image, human, obj, verb, score = zip(*rows, strict=True)
    pairs, nan = len(rows), np.full(len(rows), np.nan, np.float32)
    return Predictions(
        {"vocabulary": "hoi_scenes"},
        TRUTH.image_id, np.full((4, 2), 100), np.array(image),
        np.array([BOXES[c] for c in human], np.float32), np.array([BOXES[c] for c in obj], np.float32),
        np.array(obj), nan, nan, nan, np.full((pairs, 6), np.nan, np.float32), np.ones(pairs, bool),
        np.arange(pairs), np.array(verb), np.array(score, np.float32),
        np.zeros(0, int), np.zeros((0, 4), np.float32), np.zeros((0, len(WORDS.verbs)), np.float32),
        np.zeros((4, 0), np.float32),
    )  # fmt: skip


class FakeImages:
    """A colour per row; the third image is not there, and the fourth belongs to another image."""

    def __init__(self):
        self.read = []

    def image(self, row):
        self.read.append(row)
        image = None if row == 2 else np.full((100, 120, 3), 40 * row, np.uint8)
        return (999 if row == 3 else 100 + row), image


@pytest.fixture(scope="module")
def index():
    return build_index(TRUTH, WORDS, predictions(), min_score=0.3)


@pytest.fixture
def viewer(index):
    return Viewer(index, FakeImages(), "a <b>set</b>")


def test_images_are_found_by_verb_object_and_people(index):
    ask = lambda **query: select(index, Query(**query)).tolist()  # noqa: E731
    assert ask() == [0, 1, 2, 3]
    assert ask(verb="kick") == [0, 3] and ask(verb="hold") == [1, 3]
    assert ask(object="cup") == [1, 2, 3] and ask(verb="kick", object="cup") == [3]
    assert ask(people=1) == [0, 2] and ask(people=2) == [1] and ask(people=5) == []
    assert ask(people=6) == [3]  # six or more
    with pytest.raises(ValueError, match="unknown verb 'fly'"):
        ask(verb="fly")


def test_errors_are_those_of_the_evaluators_matching(index):
    # Missed: both holds of the second image, both holds of the last.
    assert index.missed.tolist() == [0, 2, 0, 2]
    assert index.wrong_score.round(3).tolist() == [0.6, 0, 0, 0.9]
    assert select(index, Query(errors="wrong")).tolist() == [3, 0]  # the most confident first
    assert select(index, Query(errors="missed")).tolist() == [1, 3]
    assert select(index, Query(errors="none")).tolist() == [2]
    assert select(index, Query(errors="missed", people=2)).tolist() == [1]


def test_without_a_limit_the_best_stay_as_many_as_are_annotated():
    # Six interactions are annotated: five predictions all stay, of nine the six best.
    assert len(build_index(TRUTH, WORDS, predictions()).hit) == 5
    best = build_index(TRUTH, WORDS, predictions(weak=4))
    assert best.predicted.score.round(3).tolist() == [0.8, 0.6, 0.1, 0.9, 0.7, 0.05]
    assert best.missed.tolist() == [0, 1, 0, 2]


def test_counts_are_of_images(index):
    found = facets(index)
    assert {v["name"]: v["count"] for v in found["verbs"]} == {"hold": 2, "kick": 2, "no_interaction": 1}
    assert {p["name"]: p["count"] for p in found["people"]} == {"1": 2, "2": 1, "6": 1}
    assert {e["name"]: e["count"] for e in found["errors"]} == {"wrong": 2, "missed": 2, "none": 1}
    assert facets(build_index(TRUTH, WORDS))["errors"] == []


def test_predictions_of_another_vocabulary_are_refused():
    with pytest.raises(ValueError, match="predictions use vocabulary 'hoi_scenes'"):
        build_index(TRUTH, get_vocabulary("hico_det"), predictions())


def content(viewer, target):
    status, kind, body = answer(viewer, target)
    return status, (json.loads(body) if kind == "application/json" else body)


def test_an_image_is_told_and_shown(viewer):
    status, about = content(viewer, "/details/0")
    assert (status, about["image_id"], about["size"], about["people"]) == (200, 100, [120, 100], 1)
    assert about["truth"] == [{"text": "kick: ball", "correct": True}]
    assert about["predicted"] == [
        {"text": "kick 0.80: ball", "correct": True},
        {"text": "hold 0.60: ball", "correct": False},
    ]
    assert content(viewer, "/details/2")[1]["truth"] == [{"text": "no interaction: cup", "correct": None}]
    plain, drawn = (Image.open(BytesIO(answer(viewer, f"/image/0?show={show}")[2])) for show in ("", "truth"))
    assert plain.size == drawn.size and not np.array_equal(plain, drawn)
    assert max(Image.open(BytesIO(answer(viewer, "/thumb/1")[2])).size) == 120


def test_thumbnails_are_read_once_and_only_when_asked_for(viewer):
    answer(viewer, "/images?verb=hold")
    assert viewer._images.read == []
    for _ in range(3):
        answer(viewer, "/thumb/1")
    assert viewer._images.read == [1]


def test_a_dataset_without_images_shows_grey(viewer):
    image = np.asarray(Image.open(BytesIO(answer(viewer, "/image/2")[2])))
    assert np.ptp(image.astype(int)) <= 2


@pytest.mark.parametrize(
    ("target", "status", "message"),
    [
        ("/thumb/4", 404, "row 4 of 4"),
        ("/details/99", 404, "row 99 of 4"),
        ("/thumb/3", 400, "has image 999, expected 103"),
        ("/thumb/-1", 400, "not an image number"),
        ("/thumb/%2e%2e", 400, "not an image number"),
        ("/thumb/٣", 400, "not an image number"),
        ("/thumb/99999999999999999999", 400, "not an image number"),
        ("/thumb/../../etc/passwd", 404, "no such page"),
        ("/../../../etc/passwd", 404, "no such page"),
        ("/images?people=many", 400, "people is 'many'"),
        ("/images?verb=../x", 400, "unknown verb"),
        ("/images?errors=x", 400, "unknown kind of error"),
    ],
)
def test_nothing_else_is_given(viewer, target, status, message):
    found, body = content(viewer, target)
    assert found == status and message in body["error"]


@pytest.fixture
def server(viewer):
    server = make_server(viewer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_server_listens_on_this_machine_and_only_reads(server):
    host, port = server.server_address[:2]
    assert host == "127.0.0.1"
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert b"<title>hoi_jax</title>" in page.read()
    with urllib.request.urlopen(f"http://localhost:{port}/facets") as found:
        assert json.loads(found.read())["title"] == "a <b>set</b>"  # the page sets it as text
    for method in ("POST", "PUT", "DELETE"):
        with pytest.raises(urllib.error.HTTPError, match="501") as caught:
            urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/", b"x", method=method))
        caught.value.close()


def test_pages_of_other_sites_are_turned_away(server):
    for host, status in (("evil.example", 403), ("127.0.0.1.evil.example:80", 403), ("localhost:1", 200)):
        connection = HTTPConnection("127.0.0.1", server.server_address[1])
        connection.request("GET", "/facets", headers={"Host": host})
        assert connection.getresponse().status == status
        connection.close()


def test_records_are_found_by_their_place(tmp_path):
    """As tf.data reads them, of two files, an empty record among them."""
    import tensorflow as tf

    records = [b"one", b"", b"three" * 1000, b"four"]
    paths = [str(tmp_path / "a"), str(tmp_path / "b")]
    for path, part in zip(paths, (records[:3], records[3:]), strict=True):
        with tf.io.TFRecordWriter(path) as writer:
            for data in part:
                writer.write(data)
    file, byte = record_places(paths)
    places = tf.data.Dataset.from_tensor_slices((np.array(paths)[file], byte))
    assert list(places.flat_map(read_at).as_numpy_iterator()) == records
    assert [x.numpy() for x in tf.data.TFRecordDataset(paths)] == records
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:-1])
    with pytest.raises(CorruptFileError, match="a: ends within the record at byte"):
        record_places(paths)


def test_a_reader_that_counts_other_records_than_the_dataset_is_refused(tmp_path):
    class Files(RecordFiles):
        def __init__(self):
            self.paths, self.base_examples, self.directory, self.positions = [], 3, tmp_path, None

    with pytest.raises(ValueError, match="0 records, expected 3"):
        ImageReader(Files())


@pytest.mark.slow
def test_a_real_browser_fills_the_page(server, tmp_path):
    browser = program("HOI_JAX_BROWSER", NAMES)
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    address = f"http://127.0.0.1:{server.server_address[1]}/#verb=hold"
    command = [browser, *flags, "--virtual-time-budget=10000", "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert '<h1 id="title">a &lt;b&gt;set&lt;/b&gt;</h1>' in done.stdout  # names are text, never markup
    assert ">2 images</span>" in done.stdout
    assert [f'src="/thumb/{row}"' in done.stdout for row in range(4)] == [False, True, False, True]
