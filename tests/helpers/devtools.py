"""Chromium under the DevTools protocol, through a pipe: real clicks, touches, screenshots."""

import base64
import fcntl
import itertools
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from browser import CHROMIUM

ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe")
Point = tuple[float, float]


class Tab:
    """A page in a browser of its own."""

    def __init__(self, commands: int, replies: int) -> None:
        self.commands, self.replies, self.numbers = commands, os.fdopen(replies, "rb"), itertools.count(1)
        self.session: str | None = None
        self.errors: list[str] = []  # exceptions, and refused or failed loads
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._reply()
            if reply.get("id") == number:
                assert "error" not in reply, f"{method}: {reply['error']}"
                return reply["result"]

    def _reply(self) -> dict[str, Any]:
        content = b"".join(iter(lambda: self.replies.read(1), b"\0"))
        reply: dict[str, Any] = json.loads(content)
        if reply.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.errors.append(json.dumps(reply["params"]))
        return reply

    def show(self, url: str, width: int, height: int, *, scale: float = 1, touch: bool = False) -> None:
        """Opens an address in a window of this size, with a mouse or with a touch screen."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=touch
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, expression: str, seconds: float = 30) -> None:
        """Waits until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.value(expression):
            assert time.monotonic() < deadline, f"never true: {expression}; {self.errors}"
            time.sleep(0.02)

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Returns left, top, width and height of an element, scrolled into view."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.value(f"{element}.scrollIntoView({{block: 'nearest'}})")
        box = self.value(f"(({{x, y, width, height}}) => [x, y, width, height])({element}.getBoundingClientRect())")
        return tuple(box)

    def click(self, selector: str) -> None:
        left, top, width, height = self.box(selector)
        self.mouse([(left + width / 2, top + height / 2)])

    def mouse(self, path: Sequence[Point]) -> None:
        """Moves the pressed mouse along a path."""
        self._mouse("mouseMoved", path[0], buttons=0)
        self._mouse("mousePressed", path[0], button="left", buttons=1, clickCount=1)
        for point in path[1:]:
            self._mouse("mouseMoved", point, button="left", buttons=1)
        self._mouse("mouseReleased", path[-1], button="left", buttons=0, clickCount=1)

    def _mouse(self, kind: str, point: Point, **params: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=point[0], y=point[1], **params)

    def finger(self, path: Sequence[Point]) -> None:
        """Moves a finger along a path."""
        for kind, point in zip(itertools.chain(["touchStart"], itertools.repeat("touchMove")), path, strict=False):
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": point[0], "y": point[1]}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def chromium(profile: Path) -> Iterator[Tab]:
    """Starts a browser, and ends it."""
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in itertools.chain(os.pipe(), os.pipe())]
    commands_out, commands_in, replies_out, replies_in = ends
    silence = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    places = [(commands_out, 3), (replies_in, 4), (silence, 1), (silence, 2)]  # 3 and 4 are the protocol's
    actions = [(os.POSIX_SPAWN_DUP2, end, place) for end, place in places]
    words = [str(CHROMIUM), *ARGUMENTS, f"--user-data-dir={profile}", "about:blank"]
    process = os.posix_spawn(str(CHROMIUM), words, dict(os.environ), file_actions=actions)
    for end in (commands_out, replies_in, silence):
        os.close(end)
    tab = None
    try:
        tab = Tab(commands_in, replies_out)
        yield tab
    finally:
        if tab:
            tab.session = None
            tab.call("Browser.close")
            tab.replies.close()
        os.close(commands_in)
        os.waitpid(process, 0)
