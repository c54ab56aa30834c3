"""Read-only HTTP server for the viewer; binds to localhost and serves images by index only.

No part of a request becomes a file name. Pages of other sites cannot read the answers, as requests must name this
machine as their host.
"""

import functools
import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any, Protocol, runtime_checkable
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import Image

from hoi_jax.io import DataError
from hoi_jax.viewer.index import MANY, Index, Query, annotated, details, facets, predicted, select
from hoi_jax.viewer.page import PAGE
from hoi_jax.visualization.interactions import draw_interactions

ADDRESS = "127.0.0.1"
THUMB_PX = 240
LARGEST_PX = 1280
_KEPT_THUMBS, _KEPT_IMAGES = 8192, 64
_HOSTS = (ADDRESS, "localhost")
_JPEG, _JSON, _HTML = "image/jpeg", "application/json", "text/html; charset=utf-8"
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "style-src 'unsafe-inline'",
        "script-src 'unsafe-inline'",
    )
)


@runtime_checkable
class Images(Protocol):
    """Image source by row: (image_id, [H, W, 3] uint8 or None if missing), such as `data.records.ImageReader`."""

    def image(self, row: int) -> tuple[int, np.ndarray | None]: ...


class Viewer:
    """State of the server: an index, an image source and a title."""

    def __init__(self, index: Index, images: Images, title: str):
        self._index, self._images, self._title = index, images, title
        self.thumb: Callable[[int], bytes] = functools.lru_cache(_KEPT_THUMBS)(self._thumb)
        self.drawing: Callable[[int, str], bytes] = functools.lru_cache(_KEPT_IMAGES)(self._drawing)

    def facets(self) -> dict[str, Any]:
        """Filter values of the index (`index.facets`)."""
        return {"title": self._title, **facets(self._index)}

    def rows(self, values: dict[str, str]) -> list[int]:
        """Rows of the requested images. Raises ValueError for unknown names."""
        people = values.get("people", "")
        if people and not (people.isascii() and people.isdigit() and len(people) < 4):
            raise ValueError(f"people is {people[:60]!r}, expected a number from 0 to {MANY}")
        query = Query(values.get("verb", ""), values.get("object", ""), int(people) if people else None)
        query = Query(query.verb, query.object, query.people, values.get("errors", ""))
        return select(self._index, query).tolist()

    def details(self, row: int) -> Any:
        """Description of the image at a row (`index.details`)."""
        return details(self._index, row)

    def _read(self, row: int) -> np.ndarray:
        """The image, or grey pixels of its size if missing. Raises IndexError or DataError."""
        if not 0 <= row < self._index.num_images:
            raise IndexError(f"row {row} of {self._index.num_images}")
        number, image = self._images.image(row)
        if number != self._index.annotations.image_id[row]:
            raise DataError(f"row {row} has image {number}, expected {self._index.annotations.image_id[row]}")
        if image is None:
            height, width = np.maximum(self._index.annotations.original_hw_px[row], 1).tolist()
            image = np.full((height, width, 3), 200, np.uint8)
        return image

    def _thumb(self, row: int) -> bytes:
        image = Image.fromarray(self._read(row))
        image.thumbnail((THUMB_PX, THUMB_PX))
        return _jpeg(image, 80)

    def _drawing(self, row: int, show: str) -> bytes:
        interactions = []
        if show == "truth":
            interactions = annotated(self._index, row, with_none=False)
        elif show == "predictions":
            interactions = predicted(self._index, row)
        image = draw_interactions(self._read(row), interactions)
        image.thumbnail((LARGEST_PX, LARGEST_PX))
        return _jpeg(image, 88)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    data = BytesIO()
    image.convert("RGB").save(data, "JPEG", quality=quality)
    return data.getvalue()


def answer(viewer: Viewer, target: str) -> tuple[int, str, bytes]:
    """(status, type, body) of the answer to a request target such as "/images?verb=hold"."""
    address = urlsplit(target)
    values = {name: found[-1] for name, found in parse_qs(address.query).items()}
    try:
        match address.path.strip("/").split("/"):
            case [""]:
                return 200, _HTML, PAGE.encode()
            case ["facets"]:
                return 200, _JSON, _json(viewer.facets())
            case ["images"]:
                return 200, _JSON, _json(viewer.rows(values))
            case ["details", row]:
                return 200, _JSON, _json(viewer.details(_row(row)))
            case ["thumb", row]:
                return 200, _JPEG, viewer.thumb(_row(row))
            case ["image", row]:
                return 200, _JPEG, viewer.drawing(_row(row), values.get("show", ""))
    except IndexError as error:
        return 404, _JSON, _json({"error": str(error)})
    except ValueError as error:  # DataError too
        return 400, _JSON, _json({"error": str(error)})
    return 404, _JSON, _json({"error": "no such page"})


def _row(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"{text[:60]!r} is not an image number")
    return int(text)


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode()


def make_server(viewer: Viewer, port: int = 0) -> ThreadingHTTPServer:
    """A server on this machine, not yet serving; port 0 = any free port. Raises OSError if the port is in use."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def do_GET(self) -> None:
            host = urlsplit(f"//{self.headers.get('Host', '')}").hostname
            if host in _HOSTS:
                self._send(*answer(viewer, self.path))
            else:
                self._send(403, _JSON, _json({"error": f"ask for {ADDRESS}"}))

        def _send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "max-age=3600" if kind == _JPEG else "no-store")
            self.send_header("Content-Security-Policy", _POLICY)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing, since a line per thumbnail would hide the address in the terminal."""

    return ThreadingHTTPServer((ADDRESS, port), Handler)
