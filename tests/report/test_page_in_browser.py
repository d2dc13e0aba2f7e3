"""The page in a real browser: narrow screens, keys, folds, paper, and what the drawings cover."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compressed_lens.report import write_report


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, plant_run: Callable, settings: type) -> Path:
    folder = tmp_path_factory.mktemp("browser") / "run"
    return write_report(plant_run(folder, settings(items=30, chains=True)))


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    told: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: told.append(request.url) if not request.url.startswith("file:") else None)
    page.goto(report.as_uri())
    yield page
    page.close()
    assert not told, "nothing on the console, no error, no request"


def test_nothing_is_wider_than_a_phone(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.add_style_tag(content="main>section{content-visibility:visible!important}")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    wide = page.evaluate("""[...document.querySelectorAll('table')].filter((t) =>
        t.getBoundingClientRect().right > 391 && !t.closest('.scroll')).map((t) => t.className)""")
    assert wide == []


def test_arrow_keys_walk_the_heat_map_and_enter_opens_the_measure(page: Any) -> None:
    first = page.locator("table.heat.grid td").first
    assert page.locator("table.heat.grid td[tabindex='0']").count() == page.locator("table.heat.grid").count()
    first.focus()
    told = "document.activeElement.cellIndex + ',' + document.activeElement.parentElement.rowIndex"
    before = page.evaluate(told)
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    column, row = (int(part) for part in page.evaluate(told).split(","))
    assert (column, row) == (int(before.split(",")[0]) + 1, int(before.split(",")[1]) + 1)
    anchor = page.evaluate("document.activeElement.parentElement.querySelector('a').hash")
    page.keyboard.press("Enter")
    page.wait_for_timeout(100)
    assert anchor.startswith("#m-") and page.evaluate("location.hash") == anchor
    assert page.locator(f"[id='{anchor[1:]}']").is_visible()


def test_a_link_opens_what_it_leads_into(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = false; })")
    anchor = page.locator("details.panel[id]").first.get_attribute("id")
    assert not page.locator(f"[id='{anchor}'] table").first.is_visible()
    page.evaluate("(anchor) => { location.hash = anchor; }", anchor)
    page.wait_for_timeout(100)
    assert page.locator(f"[id='{anchor}'] table").first.is_visible()
    page.evaluate("location.hash = '#100%'")  # no escape sequence, and no place
    page.wait_for_timeout(50)


def test_paper_shows_everything_once(page: Any) -> None:
    folded = page.locator("details:not([open])").count()
    assert folded > 2
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(
        "[...document.querySelectorAll('details:not([open])')].every((d) => d.closest('.screen-only'))"
    )
    assert page.locator("nav").is_hidden() and page.locator(".screen-only").first.is_hidden()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() == folded


def test_names_in_the_charts_do_not_collide(page: Any) -> None:
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.locator("#cost").scroll_into_view_if_needed()
        clashes = page.evaluate("""[...document.querySelectorAll('.pareto .points')].flatMap((chart) => {
            const boxes = [...chart.querySelectorAll('.dot-name')].map((name) => name.getBoundingClientRect());
            return boxes.filter((a, n) => boxes.slice(n + 1).some((b) =>
                a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3));
        }).length""")
        assert clashes == 0
    assert page.locator(".pareto .dot-name").count() > 5


def test_margin_bands_lie_behind_their_intervals(page: Any) -> None:
    """What is called equivalent lies inside the band as drawn."""
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.add_style_tag(content="main>section{content-visibility:visible!important}")
    outside = page.evaluate("""[...document.querySelectorAll('tr.equivalent')].filter((row) => {
        const line = row.querySelector('line.range').getBoundingClientRect();
        const svg = row.querySelector('svg.forest').getBoundingClientRect();
        const band = document.querySelector(row.querySelector('use').getAttribute('href') + ' .margin');
        const left = svg.left + svg.width * parseFloat(band.getAttribute('x')) / 100;
        const right = left + svg.width * parseFloat(band.getAttribute('width')) / 100;
        return line.left < left - 1 || line.right > right + 1;
    }).length""")
    assert page.locator("tr.equivalent").count() > 0 and outside == 0


CONTRAST = """(chosen) => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const bytes = (color) => {
    pen.clearRect(0, 0, 1, 1); pen.fillStyle = color; pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const linear = (v) => v / 255 <= 0.04045 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const color = bytes(getComputedStyle(one).backgroundColor);
      if (color[3] > 250) return color;
    }
  };
  return [...document.querySelectorAll(chosen)].map((node) => {
    const own = light(bytes(getComputedStyle(node).color)), behind = light(ground(node));
    return (Math.max(own, behind) + 0.05) / (Math.min(own, behind) + 0.05);
  });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_on_shades_can_be_read(page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    found = page.evaluate(CONTRAST, ".heat td, .heat td small, .verdicts td b, .verdicts td small")
    assert len(found) > 50 and min(found) >= 4.5, "WCAG 2.2, 1.4.3"
    assert page.evaluate(
        "[...document.querySelectorAll('.heat td small')].every((n) => getComputedStyle(n).opacity === '1')"
    )
