"""Pictures of every page of the rater app, on a desktop and on a phone, in headless Chromium without network.

python tools/rater_screenshots.py [FOLDER]     default folder: docs/images/human
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chromium import chromium
from PIL import Image
from playwright.sync_api import Browser

from compressed_lens.human.design import KINDS
from compressed_lens.human.reading import default_design
from compressed_lens.human.rows import Page, Rater, Step
from compressed_lens.rater_app.pages import Frame, Pages
from compressed_lens.rater_app.progress import Agreement, CellProgress, Progress, RaterProgress
from compressed_lens.statistics.interval import Interval

LARGEST = 100_000
COLOURS = 64
TALLEST = {1280: 1300, 360: 1600}
"""Longer pages are cut."""

QUESTIONNAIRE = default_design().questionnaire.model_copy(
    update={
        "contact": "study@example.org",
        "completion_code": "C1A2B3C4",
        "completion_url": "https://app.example.org/done",
    }
)
LINK = "https://study.example.org/r/k3q7x2m5vd4cyw6hzjt8b9naef"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One page in one window."""

    name: str
    text: str
    width: int = 1280
    scheme: Literal["light", "dark"] = "light"


def pictures() -> Iterator[Picture]:
    """Render every page for both windows, and the rating page in the dark and in German, too."""
    pages = Pages(QUESTIONNAIRE)
    for width, ending in ((1280, ""), (360, "-phone")):
        for name, text in rendered(pages, "en"):
            yield Picture(name=f"{name}{ending}", text=text, width=width)
        for name, text in rendered(pages, "de"):
            if name == "rate-counterfactual":
                yield Picture(name=f"{name}-german{ending}", text=text, width=width)
        for name, text in rendered(pages, "en"):
            if name == "rate-explanation":
                yield Picture(name=f"{name}-dark{ending}", text=text, width=width, scheme="dark")


def rendered(pages: Pages, language: str) -> Iterator[tuple[str, str]]:
    """Render each page; the texts are the worked examples of the default questionnaire."""
    explanation, edit = (example.shown for example in QUESTIONNAIRE.examples)
    saved, other = {"trustworthiness": 2, "coherence": 4}, {"trustworthiness": 3, "coherence": 4}
    start = Frame(language=language, form="form")
    frame = Frame(language=language, form="form", link=LINK, answered=4, pages=16)
    last = Frame(language=language, form="form", answered=16, pages=16)
    text = Page(position=5, shown=explanation, expected=None, values={}, comment="", revisions=0)
    edited = Page(position=5, shown=edit, expected=None, values={}, comment="", revisions=0)
    check = Page(
        position=5, shown=None, expected={"trustworthiness": 4, "coherence": 2}, values={}, comment="", revisions=0
    )
    twice = Page(position=5, shown=explanation, expected=None, values=saved, comment="", revisions=0)
    yield "consent", pages.consent(start)
    yield "instructions", pages.instructions(start)
    yield "comprehension", pages.comprehension(start, chosen={}, wrong=(), left=2)
    yield "comprehension-wrong", pages.comprehension(start, chosen={0: 0, 1: 2, 2: 0}, wrong=(0,), left=1)
    yield "rate-explanation", pages.rate(frame, text, chosen=saved, comment="", missing=(), conflict=False)
    yield "rate-counterfactual", pages.rate(frame, edited, chosen={}, comment="", missing=(), conflict=False)
    yield "rate-check", pages.rate(frame, check, chosen={}, comment="", missing=(), conflict=False)
    chosen = {"trustworthiness": 2}
    yield "rate-missing", pages.rate(frame, text, chosen=chosen, comment="", missing=("coherence",), conflict=False)
    yield "conflict", pages.rate(frame, twice, chosen=other, comment="", missing=(), conflict=True)
    yield "pause", pages.pause(frame)
    yield "comments", pages.comments(last)
    yield "done", pages.done(Frame(language=language))
    yield "declined", pages.declined(start)
    yield "excluded", pages.excluded(start)
    yield "withdraw", pages.withdraw(frame)
    yield "withdrawn", pages.withdrawn(start)
    yield "message", pages.message(start, "session-ended", status=403)
    yield "admin-login", pages.admin_login(Frame(language=language))
    yield "admin", pages.admin(start, progress())


def progress() -> Progress:
    """A study of eight raters after a while."""
    steps: tuple[Step, ...] = ("done", "done", "comments", "rating", "rating", "rating", "comprehension", "consent")
    answered = (16, 16, 16, 11, 7, 2, 0, 0)
    raters = tuple(
        RaterProgress(
            rater=Rater(
                id=f"R{n:02}",
                step=step,
                language="de" if n in {2, 5} else "en",
                attempts=1,
                answered=count,
                pages=16,
                code="",
                comment="",
                opened=None if step == "consent" else 1.0,
                consented=None,
                finished=None,
            ),
            checks=int(count > 6),  # noqa: PLR2004
            failed=int(n == 4),  # noqa: PLR2004
            seconds=20.0 + 3 * n if count else None,
        )
        for n, (step, count) in enumerate(zip(steps, answered, strict=True), start=1)
    )
    alpha = Interval(
        estimate=0.68, low=0.51, high=0.8, n=24, dropped=0, units=24, confidence=0.95, method="studentized"
    )
    return Progress(
        raters=raters,
        cells=tuple(
            CellProgress(cell=f"C{n:02}", kind=KINDS[n % 2], ratings=6 + n % 4, wanted=15) for n in range(1, 9)
        ),
        agreement=tuple(
            Agreement(kind=kind, dimension=one.name, texts=12, alpha=alpha)
            for kind in KINDS
            for one in QUESTIONNAIRE.dimensions
        ),
        incidents=((1_790_000_000.0, "link-unknown", "an unknown link"),),
    )


def take(browser: Browser, picture: Picture, folder: Path) -> Path:
    """Take one picture, with few colours.

    Raises:
        SystemExit: It is larger than a page of documentation should load.
    """
    size = {"width": picture.width, "height": 740}
    context = browser.new_context(viewport=size, color_scheme=picture.scheme, reduced_motion="reduce", locale="en-US")
    page = context.new_page()
    page.set_content(picture.text)
    height = page.evaluate("document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": picture.width, "height": min(height, TALLEST[picture.width])}
    taken = page.screenshot(full_page=True, clip=clip, animations="disabled", caret="hide")
    context.close()
    path = folder / f"{picture.name}.png"
    Image.open(io.BytesIO(taken)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        raise SystemExit(f"{path} has {path.stat().st_size:,} bytes; show less of the page.")
    return path


def main(folder: Path) -> None:
    """Take all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        for picture in pictures():
            print(take(browser, picture, folder))


if __name__ == "__main__":
    if len(sys.argv) > 2:  # noqa: PLR2004
        raise SystemExit(__doc__)
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images/human"))
