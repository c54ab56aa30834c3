"""A real browser for tests, controlled over the DevTools protocol: opens pages, clicks and types.

The protocol runs over two pipes (`--remote-debugging-pipe`), so that no port is opened and nothing but the browser has
to be installed: that of HOI_JAX_BROWSER, else Chromium or Chrome on the PATH.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe")
# The browser reads commands from file 3 and writes answers to file 4.
_START = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for target, pipe in zip((3, 4), pipes):
    os.dup2(pipe, target)
os.execvp(sys.argv[3], sys.argv[3:])
"""
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, "")}


def program(variable: str, names: tuple[str, ...]) -> str:
    """The program in an environment variable, or the first of `names` on the PATH.

    Without any the test is skipped, or fails in CI, where the program is expected.
    """
    found = os.environ.get(variable) or next(filter(None, map(shutil.which, names)), None)
    if found:
        return found
    message = f"none of {', '.join(names)} is on the PATH, and {variable} names none"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    return pytest.skip(message)


class Browser:
    """One page in a headless browser, for use in a `with` statement."""

    def __init__(self, folder: Path, address: str, size: tuple[int, int] = (1200, 900)):
        to_browser, from_browser = os.pipe(), os.pipe()
        flags = [*FLAGS, f"--user-data-dir={folder}", f"--window-size={size[0]},{size[1]}"]
        ends = (to_browser[0], from_browser[1])
        command = [sys.executable, "-c", _START, *map(str, ends), program("HOI_JAX_BROWSER", NAMES), *flags]
        self._log = (folder.parent / "browser.log").open("wb")
        self._process = subprocess.Popen(command, pass_fds=ends, stdout=self._log, stderr=self._log)
        for end in ends:
            os.close(end)
        self._out, self._in = os.fdopen(to_browser[1], "wb"), os.fdopen(from_browser[0], "rb")
        self._number, self._rest, self._session = 0, b"", None
        target = self.ask("Target.createTarget", url=address)["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        while not self.run("location.href !== 'about:blank' && document.readyState === 'complete'"):
            pass

    def ask(self, method: str, **values):
        """Result of one protocol command; events are skipped."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": values}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            answer = json.loads(self._next())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self) -> bytes:
        while b"\0" not in self._rest:
            data = os.read(self._in.fileno(), 1 << 16)
            assert data, "the browser ended"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return message

    def run(self, expression: str):
        """Value of a JavaScript expression."""
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def click(self, selector: str) -> None:
        """Click on the centre of the first element that matches a CSS selector."""
        box = self.run(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)}); "
            "one.scrollIntoView({block: 'center'}); const r = one.getBoundingClientRect(); "
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press a key: one character, or a name of `KEYS`."""
        code, text = KEYS.get(key, (ord(key.upper()[0]), key))
        values = {"key": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", text=text, **values)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **values)

    def type(self, text: str) -> None:
        """Type characters into the focused element."""
        for character in text:
            self.press(character)

    def image(self, path: Path) -> None:
        """Write the whole page, including parts out of view, as a PNG."""
        self.run("for (const one of document.images) one.loading = 'eager'")
        while not self.run("[...document.images].every((one) => one.complete)"):
            pass
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """Close the browser."""
        self._session = None
        self._number += 1
        self._out.write(json.dumps({"id": self._number, "method": "Browser.close"}).encode() + b"\0")
        self._out.close()
        self._process.wait(timeout=60)
        self._in.close()
        self._log.close()

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_) -> None:
        self.close()
