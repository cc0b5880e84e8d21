"""Pages in headless Chromium, measured at desktop and phone width."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

WIDTHS = {"desktop": 1280, "phone": 360}

# A frame can have the width of a phone; the window of a browser cannot.
FRAME = '<iframe id="{name}" width="{width}" height="2000" style="border:0" srcdoc="{page}"></iframe>'
WATCH = "<script>parent.errors = parent.errors || []; onerror = message => parent.errors.push(message)</script>"
MEASURE = """
<pre id="measured"></pre>
<script>
function measure(frame) {
  const page = frame.contentDocument, root = page.documentElement, view = frame.contentWindow;
  const box = element => element.getBoundingClientRect();
  const pixels = element => parseFloat(view.getComputedStyle(element).fontSize);
  const outside = [...page.querySelectorAll("body *")].filter(e =>
    !e.closest(".scroll *") && !e.closest("svg *") && (box(e).right > root.clientWidth + 0.5 || box(e).left < -0.5));
  const plots = [...page.querySelectorAll("figure")].map(figure => {
    const paths = [...figure.querySelectorAll("svg.plot path:not(.grid)")];
    const inside = path => {
      const svg = box(path.closest("svg")), own = box(path);
      const [across, down] = [own.left >= svg.left - 9 && own.right <= svg.right + 9, own.top >= svg.top - 9];
      return across && down && own.bottom <= svg.bottom + 9;  // 9: half of the widest stroke, and more
    };
    const sizes = [...figure.querySelectorAll("svg.plot")].map(svg => Math.min(box(svg).width, box(svg).height));
    const labels = [...figure.querySelectorAll("i")];
    const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
    const overlap = (a, b) => a.parentElement === b.parentElement && meet(box(a), box(b));
    return {
      title: figure.querySelector("figcaption").textContent,
      smallest: Math.min(...sizes),
      paths: paths.length,
      lengths: paths.reduce((sum, path) => sum + path.getTotalLength(), 0),
      unseen: paths.filter(path => ["none", "rgba(0, 0, 0, 0)"].includes(view.getComputedStyle(path).stroke)).length,
      outside: paths.filter(path => !inside(path)).length,
      labels: labels.length,
      overlaps: labels.filter((a, i) => labels.slice(i + 1).some(b => overlap(a, b))).length,
    };
  });
  return {
    width: root.clientWidth,
    scroll: root.scrollWidth,
    outside: outside.map(e => e.outerHTML.slice(0, 80)),
    paper: view.getComputedStyle(page.body).backgroundColor,
    smallest_text: Math.min(...[...page.querySelectorAll("td, th, li, i, span")].map(pixels)),
    plots,
  };
}
addEventListener("load", () => {
  const frames = [...document.querySelectorAll("iframe")];
  const found = Object.fromEntries(frames.map(frame => [frame.id, measure(frame)]));
  document.getElementById("measured").textContent = JSON.stringify({errors: window.errors || [], ...found});
});
</script>
"""


def browse(page: str, folder: Path, *options: str) -> dict[str, Any]:
    """Returns the measurements in a frame of each width."""
    watched = page.replace("<head>", f"<head>{WATCH}")
    frames = [FRAME.format(name=name, width=width, page=html.escape(watched)) for name, width in WIDTHS.items()]
    (folder / "frames.html").write_text(f"<!doctype html><body>{''.join(frames)}{MEASURE}")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += ["--window-size=1400,900", "--enable-logging=stderr", *options, "--dump-dom"]
    done = subprocess.run(
        [*command, (folder / "frames.html").as_uri()], capture_output=True, text=True, check=True, timeout=300
    )
    assert "CONSOLE" not in done.stderr
    measured = re.search(r'<pre id="measured">(.+?)</pre>', done.stdout, re.DOTALL)
    assert measured, done.stderr
    return json.loads(html.unescape(measured[1]))
