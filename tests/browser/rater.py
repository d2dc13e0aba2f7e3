"""A person in a browser who takes part in a human study, with what goes wrong on the way."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from playwright.async_api import Error
from tests.human.line import SLOW, Fault

from compressed_lens.human.design import POINTS, Questionnaire

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page
    from tests.human.line import Line

Points = Mapping[str, int]
Outcome = Literal["accepted", "shown again", "no answer"]

PATIENCE_S = 90
"""How long a person keeps trying to reach a server that does not answer."""
WAIT_MS = 10_000
CLICK_MS = 3_000
TRICKS = (
    "reload_before",
    "reload_after",
    "back_same",
    "back_changed",
    "earlier",
    "double_click",
    "two_tabs",
    "tab_left_open",
    "tabs_at_once",
    "offline",
    "lost_request",
    "lost_answer",
    "sent_again",
    "stopped_and_changed",
    "other_device",
    "pause",
    "language",
    "cookies_cleared",
    "missing",
    "comment",
)
"""What may happen at a page, beside `withdraw`: each is a method of `Person`."""


@dataclass(kw_only=True)
class Study:
    """What all raters of a study share.

    Attributes:
        replace: Gives the next person in the place of a rater who withdrew a new personal link (its path).
        submitting: How many are sending a rating right now.
        confirmed: Ratings accepted so far, attention checks included.
        troubles: Every time that a person got no page.
    """

    browser: Browser
    address: str
    questionnaire: Questionnaire
    replace: Callable[[str], Awaitable[str]]
    submitting: int = 0
    confirmed: int = 0
    troubles: list[str] = field(default_factory=list)


class Person:
    """Takes part as one rater and remembers what the pages confirmed.

    Attributes:
        ledger: Points by position, as the person last saw them accepted.
        comments: Comments by position, the same.
        revised: Positions that were answered with more than one form; the others cannot have been revised.
        changed: Positions whose points were changed after they had been accepted.
        conflicts: How often a page asked which of two answers counts.
    """

    def __init__(
        self, study: Study, line: Line, *, rater: str, link: str, tricks: Mapping[int, str], seed: int
    ) -> None:
        self.rater = rater
        self.ledger: dict[int, Points] = {}
        self.comments: dict[int, str] = {}
        self.revised: set[int] = set()
        self.changed: set[int] = set()
        self.conflicts = 0
        self._study = study
        self._line = line
        self._link = link
        self._tricks = dict(tricks)
        self._wrong_first = seed % 4 == 0  # some fail the first attempt at the comprehension check
        self._random = random.Random(seed)
        self._scripts = seed % 2 == 0  # the pages have none, so half of the people allow none
        self._late: dict[int, tuple[Page, int]] = {}
        self._page: Page
        self._titles = {one.name: tuple(one.title.values()) for one in study.questionnaire.dimensions}

    async def take_part(self) -> None:
        """Go from the personal link to the last page."""
        self._page = await self._device()
        await self._return()
        while (step := self._path.split("/")[1]) != "done":
            try:
                await self._do(step)
            except Error as error:  # not the page that it seemed to be
                self._trouble(error)
                await self._return()
        await self._page.context.close()

    # the way

    async def _do(self, step: str) -> None:
        if step == "rate":
            await self._rate(int(self._path.split("/")[2]))
        elif step in {"consent", "instructions", "comprehension", "comments"}:
            await getattr(self, f"_{step}")()
        else:
            await self._return()

    async def _consent(self) -> None:
        await self._press('button[name="answer"][value="agree"]')

    async def _instructions(self) -> None:
        await self._press('main form[action="/instructions"] button')

    async def _comprehension(self) -> None:
        for place, question in enumerate(self._study.questionnaire.comprehension):
            wrong = self._wrong_first and place == 0
            option = (question.correct + 1) % len(question.options) if wrong else question.correct
            await self._page.check(f'input[name="q{place}"][value="{option}"]')
        self._wrong_first = False
        await self._press('form[action="/comprehension"] button')

    async def _comments(self) -> None:
        await self._page.fill('textarea[name="comment"]', f"All in all, {self.rater}.")
        await self._press('form[action="/comments"] button')

    async def _rate(self, position: int) -> None:
        points = await self._asked() or self._chosen()
        await getattr(self, f"_{self._tricks.pop(position, 'plain')}")(position, points)
        if (late := self._late.pop(position, None)) is not None:
            await self._answer_late(*late)
        if self._path == f"/rate/{position}":
            await self._visit("/")

    # what may happen at a page; each ends with the points in the ledger

    async def _plain(self, position: int, points: Points) -> None:
        await self._answer(position, points)

    async def _reload_before(self, position: int, points: Points) -> None:
        await self._fill(self._page, points)
        await self._reload()
        await self._answer(position, points)

    async def _reload_after(self, position: int, points: Points) -> None:
        await self._answer(position, points)
        await self._reload()

    async def _back_same(self, position: int, points: Points) -> None:
        await self._answer(position, points)
        if await self._back(position):
            assert await self._shown() == points, "a page that was answered shows the answer"
            await self._answer(position, points)

    async def _back_changed(self, position: int, points: Points) -> None:
        await self._answer(position, points)
        await self._back(position)
        await self._answer(position, self._other(points))

    async def _earlier(self, position: int, points: Points) -> None:
        await self._answer(position, points)
        earlier = self._random.choice(sorted(self.ledger))
        await self._visit(f"/rate/{earlier}")
        await self._answer(earlier, self._other(self.ledger[earlier]))

    async def _double_click(self, position: int, points: Points) -> None:
        await self._fill(self._page, points)
        self._line.arm("slow answer")
        await self._click(position)
        await asyncio.sleep(0.2)
        outcome = await self._submit(self._page, position)
        if self._path == f"/rate/{position + 1}":  # on a slow machine there was no second click
            outcome = "accepted"
        await self._note(position, points, outcome)

    async def _two_tabs(self, position: int, points: Points) -> None:
        tab = await self._tab(position)
        await self._answer(position, points)
        await self._answer_late(tab, position)

    async def _tab_left_open(self, position: int, points: Points) -> None:
        self._late[position + 2] = await self._tab(position), position
        await self._answer(position, points)

    async def _tabs_at_once(self, position: int, points: Points) -> None:
        tab = await self._tab(position)
        await self._fill(tab, self._other(points))
        await self._fill(self._page, points)
        await asyncio.gather(self._submit(self._page, position), self._submit(tab, position))
        await tab.close()
        self.revised.add(position)
        await self._note(position, points, "no answer")  # whichever came second counts: look, and decide

    async def _offline(self, position: int, points: Points) -> None:
        await self._fill(self._page, points)
        await self._page.context.set_offline(True)
        outcome = await self._submit(self._page, position)
        await self._page.context.set_offline(False)
        assert outcome == "no answer"
        await self._note(position, points, outcome)

    async def _lost_request(self, position: int, points: Points) -> None:
        await self._lose("lose request", 2, position, points)

    async def _lost_answer(self, position: int, points: Points) -> None:
        await self._lose("lose answer", 2, position, points)

    async def _sent_again(self, position: int, points: Points) -> None:
        await self._lose("lose answer", 1, position, points)

    async def _stopped_and_changed(self, position: int, points: Points) -> None:
        await self._fill(self._page, points)
        self._line.arm("slow answer")
        await self._click(position)
        await asyncio.sleep(SLOW / 2)
        with suppress(Error):
            await (await self._page.context.new_cdp_session(self._page)).send("Page.stopLoading")
        self.revised.add(position)
        other = self._other(points)
        outcome = await self._send(self._page, position, other)
        if outcome == "shown again":  # the first points are saved: which ones count?
            self.conflicts += 1
            outcome = await self._submit(self._page, position)
        await self._note(position, other, outcome)

    async def _other_device(self, position: int, points: Points) -> None:
        await self._answer(position, points)
        await self._page.context.close()
        self._page = await self._device()
        await self._return()

    async def _pause(self, position: int, points: Points) -> None:
        await self._press('a[href="/pause"]')
        if self._path == "/pause":
            assert self._link in await self._page.content(), "the personal link is there to copy"
        await self._visit(f"/rate/{position}")
        await self._answer(position, points)

    async def _language(self, position: int, points: Points) -> None:
        await self._fill(self._page, points)
        for language in self._study.questionnaire.languages[::-1]:
            if await self._press(f'nav [lang="{language}"]') == "accepted":
                assert await self._page.get_attribute("html", "lang") == language
                assert await self._shown() == points, "what was chosen is still there"
        await self._answer(position, points)

    async def _cookies_cleared(self, position: int, points: Points) -> None:
        await self._fill(self._page, points)
        await self._page.context.clear_cookies()
        outcome = await self._submit(self._page, position)
        assert outcome != "accepted"
        await self._note(position, points, "no answer")

    async def _missing(self, position: int, points: Points) -> None:
        first = next(iter(points))
        await self._fill(self._page, {first: points[first]})
        if await self._submit(self._page, position) == "shown again":
            assert await self._page.locator('[role="alert"]').count() == 1
            assert await self._shown() == {first: points[first]}, "what was chosen is still there"
        await self._answer(position, points)

    async def _comment(self, position: int, points: Points) -> None:
        text = f"Hard to say <b>{self.rater}</b> & 'so' – ü\nfor {position}"
        await self._answer(position, points, comment=text)
        self.comments[position] = text

    async def _withdraw(self, position: int, points: Points) -> None:
        await self._answer(position, points)
        await self._visit("/withdraw")
        await self._press('form[action="/withdraw"] button')
        self._study.confirmed -= len(self.ledger)
        self.ledger, self.comments, self.revised, self.changed, self._late = {}, {}, set(), set(), {}
        self._link = await self._study.replace(self.rater)
        await self._page.context.clear_cookies()
        await self._return()

    # answering

    async def _answer(self, position: int, points: Points, *, comment: str = "") -> None:
        """Answer the page that is open, and see to it that the answer is taken."""
        if position in self.ledger:
            self.revised.add(position)
        await self._note(position, points, await self._send(self._page, position, points, comment), comment)

    async def _answer_late(self, tab: Page, position: int) -> None:
        """Answer a page a second time in a tab that was opened before the first."""
        self.revised.add(position)
        other = self._other(self.ledger[position])
        outcome = await self._send(tab, position, other)
        await tab.close()
        await self._note(position, other, outcome)

    async def _note(self, position: int, points: Points, outcome: Outcome, comment: str = "") -> None:
        """Write down what was accepted; else look what is saved, and answer again until it is what was meant."""
        tries = 0
        while outcome != "accepted":
            tries += 1
            assert tries < 10, f"{self.rater} cannot answer page {position}: {await self._page.inner_text('body')}"  # noqa: PLR2004
            await self._return()
            await self._visit(f"/rate/{position}")
            if self._path != f"/rate/{position}":
                continue
            shown = await self._shown()
            if shown == points and not comment:
                break
            if shown:
                self.revised.add(position)
            outcome = await self._send(self._page, position, points, comment)
        if position not in self.ledger:
            self._study.confirmed += 1
        elif self.ledger[position] != points:
            self.changed.add(position)
        self.ledger[position] = points

    async def _lose(self, fault: Fault, times: int, position: int, points: Points) -> None:
        await self._fill(self._page, points)
        self._line.arm(fault, times)
        outcome = await self._submit(self._page, position)
        self._line.disarm()
        if outcome == "no answer":
            outcome = await self._reload()  # with which a browser sends the form once more
            if self._path == f"/rate/{position}":
                outcome = "no answer"
        await self._note(position, points, outcome)

    async def _send(self, page: Page, position: int, points: Points, comment: str = "") -> Outcome:
        return await self._submit(page, position) if await self._fill(page, points, comment) else "no answer"

    async def _submit(self, page: Page, position: int) -> Outcome:
        self._study.submitting += 1
        try:
            outcome = await self._press(self._button(position), page)
        finally:
            self._study.submitting -= 1
        return "shown again" if outcome == "accepted" and _path(page) == f"/rate/{position}" else outcome

    async def _fill(self, page: Page, points: Points, comment: str = "") -> bool:
        """Choose points; return whether they are chosen now, which they cannot be on another page or none."""
        try:
            await page.bring_to_front()
            for name, point in points.items():
                await page.check(f'input[name="r-{name}"][value="{point}"]', timeout=CLICK_MS)
            if comment:
                field = page.locator('textarea[name="comment"]')
                if not await field.is_visible():
                    await page.locator("details", has=field).locator("summary").click(timeout=CLICK_MS)
                await field.fill(comment)
        except Error as error:
            self._trouble(error)
            return False
        return True

    async def _click(self, position: int) -> None:
        with suppress(Error):
            await self._page.click(self._button(position), no_wait_after=True, timeout=CLICK_MS)

    # what the page says

    @property
    def _path(self) -> str:
        return _path(self._page)

    def _button(self, position: int) -> str:
        return f'form[action="/rate/{position}"] button'

    def _chosen(self) -> Points:
        return {name: self._random.choice(POINTS) for name in self._titles}

    def _other(self, points: Points) -> Points:
        return {name: self._random.choice([one for one in POINTS if one != point]) for name, point in points.items()}

    async def _asked(self) -> Points | None:
        """Return the points that an attention check asks for, as its page tells them; None for a text."""
        words = await self._page.inner_text("main")
        found = {
            name: re.search(rf"^({'|'.join(map(re.escape, titles))}): ([1-5])", words, re.MULTILINE)
            for name, titles in self._titles.items()
        }
        return {name: int(match[2]) for name, match in found.items() if match} or None

    async def _shown(self) -> Points:
        """Return the points that are chosen on the page."""
        chosen = await self._page.locator("input[type=radio]:checked").evaluate_all(
            "all => all.map(one => [one.name, one.value])"
        )
        return {name.removeprefix("r-"): int(value) for name, value in chosen}

    # moving about

    async def _device(self) -> Page:
        context = await self._study.browser.new_context(
            proxy={"server": self._line.address}, java_script_enabled=self._scripts
        )
        context.set_default_timeout(WAIT_MS)
        return await context.new_page()

    async def _tab(self, position: int) -> Page:
        tab = await self._page.context.new_page()
        with suppress(Error):
            await tab.goto(f"{self._study.address}/rate/{position}")
        return tab

    async def _return(self) -> None:
        """Open the personal link until there is a page."""
        ends = time.monotonic() + PATIENCE_S
        while await self._goes(self._page.goto, self._study.address + self._link) != "accepted":
            assert time.monotonic() < ends, f"{self.rater} cannot return: {await self._page.inner_text('body')}"
            await asyncio.sleep(0.5)

    async def _visit(self, path: str) -> None:
        if await self._goes(self._page.goto, self._study.address + path) != "accepted":
            await self._return()

    async def _back(self, position: int) -> bool:
        """Go back to a page, as the browser does it; return whether that led there."""
        await self._goes(self._page.go_back)
        if self._path != f"/rate/{position}":
            await self._visit(f"/rate/{position}")
        return self._path == f"/rate/{position}"

    async def _reload(self) -> Outcome:
        outcome = await self._goes(self._page.reload)
        if outcome == "no answer":
            await self._return()
        return outcome

    async def _press(self, button: str, page: Page | None = None) -> Outcome:
        page = page or self._page

        async def press() -> Any:
            async with page.expect_navigation(wait_until="domcontentloaded") as navigation:
                await page.locator(button).first.click(no_wait_after=True, timeout=CLICK_MS)
            return await navigation.value

        return await self._goes(press)

    async def _goes(self, move: Callable[..., Awaitable[Any]], *arguments: str) -> Outcome:
        """Return what came of going somewhere; status 4xx is a page of ours that refuses."""
        try:
            response = await move(*arguments)
        except Error as error:
            self._trouble(error)
            await asyncio.sleep(0.2)  # the browser's own page for errors is on its way
            return "no answer"
        if response is None or response.status >= 500:  # noqa: PLR2004
            self._trouble(response and response.status)
            return "no answer"
        if response.status == 429:  # noqa: PLR2004
            self._trouble("too many pages")
            await asyncio.sleep(5)
        return "accepted" if response.ok else "shown again"

    def _trouble(self, what: object) -> None:
        self._study.troubles.append(f"{self.rater} {self._path}: {str(what).splitlines()[0]}")


def _path(page: Page) -> str:
    return urlsplit(page.url).path or "/"
