"""Page of sorted images in headless Chromium, at the width of a desktop and of a phone."""

import json
import re
import subprocess
from html import unescape
from pathlib import Path

import pytest
from browser import CHROMIUM, WIDTHS, browse
from learners import checkpoint, pictures
from PIL import Image

from metalearn.predict.__main__ import main

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (Debian: apt-get install chromium)")

COUNT = """<pre id="seen"></pre><script>
addEventListener("load", () => {
  const none = e => getComputedStyle(e).backgroundImage === "none" || e.getBoundingClientRect().height < 10;
  const examples = [...document.querySelectorAll(".examples i")], images = [...document.images];
  images.forEach(image => { image.loading = "eager"; });
  const bad = images.filter(image => image.complete && !image.naturalWidth);
  document.getElementById("seen").textContent = JSON.stringify({
    examples: examples.length, empty: examples.filter(none).length, images: images.length, bad: bad.length});
});
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("sorted")
    for count, folder in ((2, "support"), (3, "query")):
        for number, (image, label) in enumerate(zip(*pictures(count, seed=count), strict=True)):
            path = place / folder / f"{label} {'with-one-very-long-word-' * 5}" / f"{number}-{'x' * 60}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    (place / "query/broken.png").write_text("none")
    words = ["--support", str(place / "support"), "--query", str(place / "query"), "--html", str(place / "page.html")]
    with pytest.raises(SystemExit):
        main([str(checkpoint(place)), *words])
    return (place / "page.html").read_text()


def test_it_fits_and_is_legible_at_every_width(page: str, tmp_path: Path) -> None:
    measured = browse(page, tmp_path)
    assert measured["errors"] == []
    for device, width in WIDTHS.items():
        seen = measured[device]
        assert seen["width"] <= width and seen["scroll"] <= seen["width"] and seen["outside"] == []
        assert seen["smallest_text"] >= 11


def test_images_and_examples_are_drawn(page: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page.replace("</main>", f"</main>{COUNT}"))
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--dump-dom", (tmp_path / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    seen = json.loads(unescape(re.search(r'<pre id="seen">(.+?)</pre>', done.stdout)[1]))
    assert seen == {"examples": 36, "empty": 0, "images": 12, "bad": 0}
