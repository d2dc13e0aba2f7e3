"""The rater app for everybody: axe over every page, narrow windows, large targets, a study with the keyboard only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from tests.human.paper_run import HOSTILE
from tests.human.serving import ServerProcess, serving
from tests.rater_app.every_page import every_page, questionnaire

from compressed_lens.human.design import Shown
from compressed_lens.human.plan import Blinded, Planned
from compressed_lens.human.store import HumanStore
from compressed_lens.rater_app.pages import Pages

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DESKTOP, PHONE = (1280, 900), (360, 740)
NARROW = 320
FINGER = 44
EXAMPLES = tuple(example.shown for example in questionnaire().examples)
LONG = Shown(kind="explanation", fields=(("text", HOSTILE[6]),), label="x" * 90, text=HOSTILE[6])
ANSWERS = tuple(question.correct for question in questionnaire().comprehension)
GOOD = {"trustworthiness": 4, "coherence": 2}

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
EVERYTHING = {"runOnly": {"type": "tag", "values": TAGS}, "rules": {"target-size": {"enabled": True}}}
LOOKS = {
    "runOnly": {
        "type": "rule",
        "values": ["color-contrast", "target-size", "link-in-text-block", "scrollable-region-focusable"],
    }
}
"""What the size of the window and the scheme of colours can change; all else is the same page."""
AXE = """async (options) => (await axe.run(document, {...options, resultTypes: ["violations"]})).violations.map(
  (one) => `${one.id} (${one.impact}): ${one.nodes.map((node) => node.target.join(" ")).join(", ")}`)"""
SMALL = """(least) => [...document.querySelectorAll("button:not(.small), a.button, .choice, summary, nav a, footer a")]
  .filter((one) => one.checkVisibility() && !one.matches("[aria-hidden]") && !one.closest("table"))
  .map((one) => [one.textContent.trim(), one.getBoundingClientRect()])
  .filter(([_, box]) => box.height < least || box.width < 24)
  .map(([name, box]) => `${name} ${box.width}x${box.height}`)"""
# What has the focus is in the window, and a line of two pixels or more is drawn around it.
FOCUS = """() => {
  const one = document.activeElement, drawn = one.closest(".choice") ?? one, style = getComputedStyle(drawn);
  const box = one.getBoundingClientRect();
  const seen = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  return one === document.body || (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 && seen);
}"""


@pytest.fixture(scope="module")
def rendered() -> dict[str, str]:
    """Every page in both languages, by name."""
    pages = Pages(questionnaire())
    texts = (*EXAMPLES, LONG)
    return {f"{name}.{tag}": text for tag in ("en", "de") for name, text in every_page(pages, tag, texts)}


@pytest.fixture(scope="module")
def opened(browser: Browser, rendered: dict[str, str]) -> Iterator[Page]:
    """A window in which `http://study.test/NAME` is a rendered page, under its policy."""
    context = browser.new_context(viewport={"width": DESKTOP[0], "height": DESKTOP[1]}, reduced_motion="reduce")
    headers = {"content-security-policy": Pages(questionnaire()).policy, "content-type": "text/html; charset=utf-8"}
    context.route(
        "http://study.test/**",
        lambda route: route.fulfill(body=rendered[route.request.url.rpartition("/")[2]], headers=headers),
    )
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda one: problems.append(one.text) if one.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    context.close()
    assert problems == []


@pytest.mark.parametrize(
    ("language", "looks"),
    [
        ("en", ((DESKTOP, "light", EVERYTHING), (PHONE, "dark", LOOKS))),
        ("de", ((PHONE, "light", EVERYTHING), (DESKTOP, "dark", LOOKS))),
    ],
)
def test_axe_finds_nothing_on_any_page(
    opened: Page, rendered: dict[str, str], language: str, looks: tuple[tuple[tuple[int, int], str, object], ...]
) -> None:
    found = []
    for name in (name for name in rendered if name.endswith(f".{language}")):
        opened.goto(f"http://study.test/{name}")
        opened.evaluate(AXE_SCRIPT)
        for (width, height), scheme, options in looks:
            opened.set_viewport_size({"width": width, "height": height})
            opened.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            found += [f"{name} {width} {scheme}: {one}" for one in opened.evaluate(AXE, options)]
    assert found == []


def test_axe_would_find_something(opened: Page) -> None:
    opened.emulate_media(color_scheme="light")
    opened.goto("http://study.test/rate-0-explanation.en")
    opened.evaluate("document.querySelector('legend').textContent = ''; document.body.style.color = '#ccc'")
    opened.evaluate(AXE_SCRIPT)
    assert any(one.startswith("color-contrast") for one in opened.evaluate(AXE, EVERYTHING))


def test_nothing_scrolls_sideways_in_narrow_windows_or_large_type(opened: Page, rendered: dict[str, str]) -> None:
    for name in rendered:
        opened.goto(f"http://study.test/{name}")
        opened.set_viewport_size({"width": NARROW, "height": 640})
        width = "document.documentElement.scrollWidth"
        assert opened.evaluate(width) <= NARROW, name
        opened.set_viewport_size({"width": 2 * NARROW, "height": 640})
        opened.evaluate("document.documentElement.style.fontSize = '200%'")
        assert opened.evaluate(width) <= 2 * NARROW, name


def test_targets_are_large_on_phones(opened: Page, rendered: dict[str, str]) -> None:
    opened.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    for name in (name for name in rendered if name.endswith(".de")):
        opened.goto(f"http://study.test/{name}")
        assert opened.evaluate(SMALL, FINGER) == [], name


def test_the_points_are_a_row_on_desktops_and_a_list_on_phones(opened: Page) -> None:
    tops = "[...document.querySelectorAll('.scale')[0].children].map((one) => one.getBoundingClientRect().top)"
    opened.goto("http://study.test/rate-0-explanation.en")
    opened.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    assert len(set(opened.evaluate(tops))) == 1
    opened.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    assert len(set(opened.evaluate(tops))) == 5


def test_a_problem_has_the_focus_and_leads_to_its_field(opened: Page) -> None:
    opened.goto("http://study.test/rate-missing.en")
    assert opened.evaluate("document.activeElement.getAttribute('role')") == "alert"
    opened.keyboard.press("Tab")
    opened.keyboard.press("Enter")
    assert opened.evaluate("document.activeElement.id") == "r-coherence-1"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, str]]:
    """A served study of one rater: an explanation, an attention check and an edited text; with the personal link."""
    folder = tmp_path_factory.mktemp("study")
    database = f"sqlite:///{folder / 'ratings.sqlite'}"
    order = (("t001", None), (None, GOOD), ("t002", None))
    blinded = Blinded(
        questionnaire=questionnaire(),
        texts={f"t{n:03}": (f"C{n:02}", shown) for n, shown in enumerate(EXAMPLES, start=1)},
        pages={
            "R01": tuple(
                Planned(position=n, text=text, expected=expected) for n, (text, expected) in enumerate(order, start=1)
            )
        },
    )
    with HumanStore.create(database, blinded) as store:
        token = store.new_links()["R01"]
    with serving(folder, folder / "server.log", database=database) as server:
        yield server, f"{server.address}/r/{token}"
    with HumanStore.open(database) as store:
        assert [(row["position"], json.loads(row["values"])) for row in store.ratings().to_dicts()] == [
            (n, GOOD) for n in (1, 2, 3)
        ]
        assert [one.comment for one in store.raters()] == ["All clear."]


class Hands:
    """Somebody who uses Tab, arrows, Space, Enter and letters only, and looks at every page with axe."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.headings: list[str] = []

    def look(self) -> None:
        self.page.wait_for_load_state()
        self.headings.append(self.page.inner_text("h1"))
        self.page.evaluate(AXE_SCRIPT)
        assert self.page.evaluate(AXE, EVERYTHING) == [], self.page.url

    def to(self, selector: str) -> None:
        for _ in range(60):
            if self.page.evaluate("(it) => document.activeElement.matches(it)", selector):
                return
            self.page.keyboard.press("Tab")
            assert self.page.evaluate(FOCUS), f"no focus to be seen on {self.page.url} before {selector}"
        raise AssertionError(f"{selector} cannot be reached on {self.page.url}")

    def press(self, selector: str, *, leads: bool = True) -> None:
        self.to(selector)
        if not leads:
            self.page.keyboard.press("Enter")
            return
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")
        self.look()

    def choose(self, name: str, value: int) -> None:
        self.to(f"[name='{name}']")
        self.page.keyboard.press("Space")
        away = value - int(self.page.evaluate("document.activeElement.value"))
        for _ in range(abs(away)):
            self.page.keyboard.press("ArrowRight" if away > 0 else "ArrowLeft")
        assert self.page.eval_on_selector(f"[name='{name}']:checked", "(one) => one.value") == str(value)

    def answer(self, right: Callable[[int], int]) -> None:
        for n, correct in enumerate(ANSWERS):
            self.choose(f"q{n}", right(correct))
        self.press("main button")

    def rate(self, by: str = "main button") -> None:
        for name, point in GOOD.items():
            self.choose(f"r-{name}", point)
        self.press(by)


def test_a_study_with_the_keyboard_only(browser: Browser, study: tuple[ServerProcess, str], tmp_path: Path) -> None:
    _, link = study
    context = browser.new_context(viewport={"width": DESKTOP[0], "height": DESKTOP[1]}, locale="en-GB")
    page = context.new_page()
    problems: list[str] = []
    # Chromium says of every answer that is not 200 that it failed to load; forms with something missing are 422.
    page.on("console", lambda one: problems.append(one.text) if "status of 422" not in one.text else None)
    try:
        page.goto(link)
        hands = Hands(page)
        hands.look()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        hands.press("button[value=agree]")
        hands.press("main button")
        hands.answer(lambda correct: (correct + 1) % 3)
        hands.answer(lambda correct: correct)
        hands.choose("r-trustworthiness", GOOD["trustworthiness"])
        hands.press("main button")
        assert page.title().startswith("Error: Rate the explanation")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        hands.choose("r-coherence", GOOD["coherence"])
        hands.press(".comment summary", leads=False)
        hands.to("textarea")
        page.keyboard.type("A comment.")
        hands.press("main button")
        hands.choose("r-coherence", GOOD["coherence"])
        hands.press("nav [lang=de]")
        assert page.is_checked(f"[name='r-coherence'][value='{GOOD['coherence']}']"), "the language lost a choice"
        hands.press("[href='/pause']")
        hands.press("main a.button")
        hands.press("nav [lang=en]")
        hands.rate()
        hands.press("[href='/rate/2']")
        hands.press("main button")
        hands.rate(by="[name='r-coherence']:checked")  # Enter in a choice is the button of the page, not a language
        hands.to("textarea")
        page.keyboard.type("All clear.")
        hands.press("main button")
        assert page.inner_text("code") == questionnaire().completion_code
    finally:
        context.close()
    assert problems == []
    assert hands.headings == [
        "Before you begin",
        "Instructions",
        "A few questions first",
        "A few questions first",
        "Rate the explanation",
        "Rate the explanation",
        "Rate this text",
        "Bewerten Sie diesen Text",
        "Alles ist gespeichert",
        "Bewerten Sie diesen Text",
        "Rate this text",
        "Rate the edited text",
        "Rate this text",
        "Rate the edited text",
        "All pages are answered",
        "Thank you",
    ]
