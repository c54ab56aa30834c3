"""A report with all parts, and a parser that checks the content of a page."""

import math
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from hoi_jax.report.elements import Column, Section, table
from hoi_jax.report.html import (
    ExampleImage,
    Headline,
    ReportInput,
    ScoreRow,
)

VOID = {"meta", "img", "line", "path", "br", "link"}


METRICS = [
    {"step": 1, "loss": 4.0, "loss/human": 2.5, "gradient_norm": 9.0},
    {"step": 2, "loss": 2.0, "loss/human": 1.5, "gradient_norm": 7.0},
    {"step": 2, "evaluation": {"default/full": 0.25, "default/rare": None}},
]


class Page(HTMLParser):
    """Parser that checks nesting and collects elements and text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    def text(self):
        return " ".join(data for tag, data in self.texts if tag not in ("script", "style"))


def make_image(noise=False):
    pixels = np.full((40, 60, 3), 200, np.uint8)
    if noise:
        pixels = np.random.default_rng(0).integers(0, 256, (400, 600, 3), np.uint8)
    return Image.fromarray(pixels)


COLUMNS = (Column("class", words=True), Column("AP", 1, mean=True), "pairs", Column("kind", choose=True))


def rows(name):
    return [(name, 50.0, 3, "rare"), ("b", math.nan, 10, name), ("c", None, 2, "rare")]


def full_report(name="hold cup"):
    return ReportInput(
        title=f"Report {name}",
        summary="What was done.",
        headlines=[Headline(f"mAP {name}", 41.26, "Higher is better.", " %"), Headline("Rare", math.nan, "None.")],
        comparison=[ScoreRow(name, {"Full": 41.0}, "ours"), ScoreRow("baseline", {"Full": 7.0}, name)],
        sections=[Section("classes", f"Classes {name}", table(COLUMNS, rows(name), filtered=True, noun=name))],
        metrics=METRICS,
        examples=[
            ExampleImage("right", name, "caption", make_image(), make_image()),
            ExampleImage("wrong", name, name, make_image(noise=True), make_image()),
        ],
        config={"system": "tin", "note": name},
        versions={"jax": "0.10"},
        notes=[name],
    )
