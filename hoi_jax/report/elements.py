"""HTML elements of pages: tables, images, bars. All text is escaped here."""

import base64
import dataclasses
import html
import io
import math
from collections.abc import Sequence

from PIL import Image

Cell = str | int | float | None
"""A table value; None and NaN print as "n/a"."""


@dataclasses.dataclass(frozen=True)
class Column:
    """Format and behaviour of a table column.

    Attributes:
      title: heading of the column.
      digits: decimal places of floats.
      signed: whether positive numbers get a plus sign.
      words: whether the word filter searches the column (`table(filtered=True)`).
      choose: whether a filter offers the column's values (`table(filtered=True)`).
      mean: whether the mean of the rows in view is shown under the table (`table(filtered=True)`).
    """

    title: str
    digits: int = 2
    signed: bool = False
    words: bool = False
    choose: bool = False
    mean: bool = False


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of a page: anchor, title and finished HTML."""

    anchor: str
    title: str
    body: str


def is_number(value: Cell) -> bool:
    """Whether a cell is a number; booleans are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def cell_text(value: Cell, column: Column) -> str:
    """Printed form of a cell."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "n/a"
    if isinstance(value, str):
        return value
    sign = "+" if column.signed else ""
    return f"{value:{sign}.{column.digits}f}" if isinstance(value, float) else f"{value:{sign}d}"


def table(
    columns: Sequence[str | Column],
    rows: Sequence[Sequence[Cell]],
    *,
    sortable: bool = False,
    filtered: bool = False,
    noun: str = "rows",
) -> str:
    """A table in a scrolling frame; columns with only numbers are right-aligned.

    Args:
      sortable: a click on a column title sorts by the unrounded values; missing values stay at the end.
      filtered: words and choices filter the rows in view (`script.TABLE_SCRIPT`); implies `sortable`.
      noun: name of the rows, for "12 of 99 classes".
    """
    kinds = [Column(one) if isinstance(one, str) else one for one in columns]
    numeric = [
        any(is_number(r[i]) for r in rows) and all(r[i] is None or is_number(r[i]) for r in rows)
        for i in range(len(kinds))
    ]
    sortable = sortable or filtered
    head = "".join(_head(kind, number, sortable) for kind, number in zip(kinds, numeric, strict=True))
    body = []
    for row in rows:
        cells = (_cell(*one, sortable) for one in zip(row, kinds, numeric, strict=True))
        body.append(f"<tr>{''.join(cells)}</tr>")
    kind = f' class="sortable{" filtered" if filtered else ""}" data-noun="{html.escape(noun)}"' if sortable else ""
    return (
        f'<div class="scroll" tabindex="0"><table{kind}><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _head(column: Column, number: bool, sortable: bool) -> str:
    text = html.escape(column.title)
    text = f'<button type="button">{text}</button>' if sortable else text
    marks = (" data-words" if column.words else "") + (" data-choose" if column.choose else "")
    if column.mean:
        marks += f' data-mean="{column.digits}"' + (" data-signed" if column.signed else "")
    return f'<th scope="col"{_number_class(number)}{marks}>{text}</th>'


def _cell(value: Cell, column: Column, number: bool, sortable: bool) -> str:
    text = cell_text(value, column)
    key = "" if number and text == "n/a" else str(value) if number else text
    data = f' data-value="{html.escape(key)}"' if sortable else ""
    return f"<td{_number_class(number)}{data}>{html.escape(text)}</td>"


def _number_class(number: bool) -> str:
    return ' class="number"' if number else ""


def image_element(image: Image.Image, alt: str) -> str:
    """An <img> with the image inline: PNG if that is small (drawn scenes), else JPEG (photographs)."""
    png = io.BytesIO()
    image.save(png, "PNG")  # its best compression takes four times as long for 3 % less
    kind, data = "png", png.getvalue()
    if len(data) > 155_000:
        jpeg = io.BytesIO()
        image.save(jpeg, "JPEG", quality=85, subsampling=0)
        kind, data = "jpeg", jpeg.getvalue()
    encoded = base64.b64encode(data).decode()
    return (
        f'<img loading="lazy" width="{image.width}" height="{image.height}" alt="{html.escape(alt)}"'
        f' src="data:image/{kind};base64,{encoded}">'
    )


def case(tone: str, title: str, caption: str, panels: Sequence[tuple[str, Image.Image]]) -> str:
    """Images side by side under a title and a caption.

    Args:
      tone: "right", "wrong", "missed" or "plain", which sets the colour of the border.
      panels: (text below the image, image).
    """
    figures = "".join(
        f"<figure>{image_element(image, f'{name}: {title}. {caption}')}"
        f"<figcaption>{html.escape(name)}</figcaption></figure>"
        for name, image in panels
    )
    return (
        f'<section class="example {tone}"><h3>{html.escape(title)}</h3><p>{html.escape(caption)}</p>'
        f'<div class="pair">{figures}</div></section>'
    )


def paragraph(text: str) -> str:
    """A text as an HTML paragraph."""
    return f"<p>{html.escape(text)}</p>"
