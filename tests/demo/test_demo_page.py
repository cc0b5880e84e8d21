"""Page of the demo in Chromium, drawn on by a real mouse and by a real finger."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM
from demo_server import serving
from devtools import Tab, chromium
from learners import learner

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (Debian: apt-get install chromium)")

CROSS = [[(0.2, 0.2), (0.5, 0.5), (0.8, 0.8)], [(0.8, 0.2), (0.5, 0.5), (0.2, 0.8)]]
LINE = [[(0.5, 0.1), (0.5, 0.5), (0.5, 0.9)]]
OUTSIDE = (
    "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1).length"
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(learner(tmp_path_factory.mktemp("run"))) as address:
        yield address


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def draw(tab: Tab, drawing, move) -> None:
    left, top, width, height = tab.box("#pad")
    for stroke in drawing:
        move([(left + x * width, top + y * height) for x, y in stroke])


def text(tab: Tab, selector: str) -> str:
    return tab.value(f"document.querySelector({selector!r}).innerText")


def count(tab: Tab, selector: str) -> int:
    return tab.value(f"document.querySelectorAll({selector!r}).length")


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_a_character_drawn_five_times_is_seen_again(tab: Tab, address: str, device: str) -> None:
    width, move = (1100, tab.mouse) if device == "desktop" else (360, tab.finger)
    tab.show(address, width, 780, touch=device == "phone")
    tab.until("document.getElementById('run').textContent.includes('prototypical on conv4')")
    for number in range(5):
        assert "Draw" in text(tab, "#answer")
        draw(tab, CROSS, move)
        assert text(tab, "#keep") == ("Add to A" if number else "New character A")
        tab.click("#keep")
    assert text(tab, "#answer") == "Now draw another character."
    for _ in range(2):
        draw(tab, LINE, move)
        tab.click("#keep")
    assert [count(tab, f"#classes li:nth-child({row}) canvas") for row in (1, 2)] == [5, 2]
    for drawing, name in ((LINE, "B"), (CROSS, "A")):
        draw(tab, drawing, move)
        tab.until(f"document.querySelector('#answer b')?.innerText === {name!r}")
        percents = [int(tab.value(f"document.querySelectorAll('.percent')[{row}].textContent")[:-2]) for row in (0, 1)]
        assert sum(percents) in (99, 100, 101) and percents["AB".index(name)] == max(percents)
        assert count(tab, "li.first") == 1 and tab.value("document.querySelector('#seen img').naturalWidth") == 28
        tab.click("#wipe")
        assert count(tab, "#answer b") == 0 and count(tab, "li.first") == 0
    assert tab.value("document.documentElement.scrollWidth <= innerWidth") and tab.value(OUTSIDE) == 0
    assert tab.errors == []


def test_drawings_and_characters_can_be_taken_back(tab: Tab, address: str) -> None:
    tab.show(address, 1100, 780)
    draw(tab, CROSS, tab.mouse)
    tab.click("#undo")
    assert tab.value("strokes.length") == 1
    tab.click("#new")
    draw(tab, LINE, tab.mouse)
    tab.click("#new")
    draw(tab, LINE, tab.mouse)
    tab.click("li:nth-child(1) .add")
    assert [count(tab, f"li:nth-child({row}) canvas") for row in (1, 2)] == [2, 1]
    tab.click("li:nth-child(2) .drawings button")
    assert count(tab, "#classes li") == 1
    tab.click("#forget")
    assert count(tab, "#classes li") == 0 and tab.errors == []


def test_names_are_texts_and_faults_are_shown(tab: Tab, address: str) -> None:
    tab.show(address, 1100, 780)
    for drawing in (CROSS, LINE):
        draw(tab, drawing, tab.mouse)
        tab.click("#new")
    tab.value("const name = document.querySelector('.name'); name.value = '<img src=x>'; name.oninput()")
    draw(tab, CROSS, tab.mouse)
    tab.until("document.querySelector('#answer b')?.innerText === '<img src=x>'")
    tab.value("limits.most_strokes = strokes.push(...Array(41).fill([[0, 0]])); changed()")
    tab.until("document.getElementById('answer').className === 'wrong'")
    assert text(tab, "#answer") == "strokes of a drawing: 1 to 40 are possible, not 43"
    assert len(tab.errors) == 1 and "400" in tab.errors.pop()  # the console's note of the refusal


def test_a_server_that_has_ended_is_reported(tab: Tab, tmp_path: Path) -> None:
    with serving(learner(tmp_path)) as address:
        tab.show(address, 1100, 780)
        for drawing in (CROSS, LINE):
            draw(tab, drawing, tab.mouse)
            tab.click("#new")
    draw(tab, CROSS, tab.mouse)
    tab.until("document.getElementById('answer').innerText.startsWith('The server does not answer')")
    tab.errors.clear()
