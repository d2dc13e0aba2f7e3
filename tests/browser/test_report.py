"""The report in a real browser: quick, silent, drawn, usable by keyboard, and safe with hostile texts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from tests.browser.big_run import HOSTILE, REASONS
from tests.browser.conftest import PHONE, Watched, explore

from compressed_lens.report import write_report
from compressed_lens.runner import load_run
from compressed_lens.store.frames import with_values
from compressed_lens.store.store import plain
from compressed_lens.terminal import visible

if TYPE_CHECKING:
    from playwright.sync_api import Page

Visit = Callable[..., Watched]
OPENS_IN = 3.0
FILTERS_IN = 0.2
VARIANT = "rtn-3bit"

# Time from an input event to the frame after the list was drawn anew.
FILTERING = """([id, value]) => new Promise((done) => {
  const field = document.getElementById(id), start = performance.now();
  new MutationObserver((_, observer) => {
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
  }).observe(document.getElementById("rows"), { childList: true });
  field.value = value;
  field.dispatchEvent(new Event(id === "search" ? "input" : "change", { bubbles: true }));
})"""
# Every drawing except the one that only holds patterns for others.
DRAWINGS = """() => {
  for (const one of document.querySelectorAll("details")) one.open = true;
  const outer = [...document.querySelectorAll("svg:not(.patterns)")].filter((svg) => !svg.parentElement.closest("svg"));
  return outer.map((svg) => {
    const nodes = [...svg.querySelectorAll("*"), svg], box = svg.getBoundingClientRect();
    const values = nodes.flatMap((node) => [...node.attributes]).map((one) => one.value);
    return {
      name: svg.getAttribute("class"), width: box.width, height: box.height,
      parts: svg.querySelectorAll("path,line,rect,circle,text").length,
      bad: values.filter((value) => /NaN|Infinity|undefined|None/.test(value)),
    };
  });
}"""
NAMELESS = """() => [...document.querySelectorAll("#explorer select, #explorer input, #explorer button")]
  .filter((one) => !(one.labels?.[0]?.innerText || one.textContent || "").trim()).map((one) => one.id)"""


@pytest.fixture(scope="module")
def big(big_folder: Path) -> str:
    return big_folder.joinpath("report.html").as_uri()


@pytest.fixture(scope="module")
def small(small_folder: Path) -> str:
    return write_report(small_folder).as_uri()


@pytest.fixture(scope="module")
def pairs(big_folder: Path) -> pl.DataFrame:
    """The explanations of full precision and of one variant, an item a row."""
    frame = with_values(
        load_run(big_folder).records.filter(pl.col("analysis") == "nle"),
        ["names_evidence", "refused", "tokens", "explanation"],
    )
    own = frame.filter(pl.col("variant") == VARIANT)
    return frame.filter(pl.col("variant") == "full").join(own, on="item", suffix="_v", maintain_order="left")


def shown(page: Page) -> int:
    return int(page.inner_text("#shown").split()[0].replace(",", ""))


def choose(page: Page, what: str) -> int:
    """Choose what is shown and return how many items the list then has."""
    page.check(f"input[name=show][value={what}]")
    return shown(page)


def test_a_large_report_opens_in_three_seconds_and_asks_for_nothing(visit: Visit, big: str) -> None:
    times = []
    for _ in range(3):
        watched = visit("about:blank")
        page = watched.page
        start = page.evaluate("Date.now()")
        page.goto(big + "#texts")
        page.wait_for_selector(".side-card")
        times.append(page.evaluate("Date.now()") - start)
        assert watched.requests == [big] and watched.complaints == []
    assert min(times) / 1000 < OPENS_IN, times


def test_filtering_ten_thousand_items_takes_less_than_a_fifth_of_a_second(visit: Visit, big: str) -> None:
    page = explore(visit(big))
    page.select_option("#pick-variant", "")
    assert shown(page) == 10_000
    for field, values in {
        "search": ("garden", "a", "no such words at all"),
        "pick-measure": ("length", "named", ""),
        "pick-group": ("about a lamp", ""),
        "pick-variant": ("bnb-8bit", "rtn-2bit", ""),
    }.items():
        times = []
        for _ in range(3):
            times += [page.evaluate(FILTERING, [field, value]) for value in values]
            if field == "search":
                times.append(page.evaluate(FILTERING, [field, ""]))
        # The best of three rounds for each value: other programs share the machine.
        best = [min(times[k :: len(times) // 3]) for k in range(len(times) // 3)]
        assert max(best) / 1000 < FILTERS_IN, (field, times)


def test_filters_give_the_counts_of_the_records(visit: Visit, big: str, pairs: pl.DataFrame) -> None:
    page = explore(visit(big))
    page.select_option("#pick-variant", VARIANT)
    # A failed record counts as not having named the evidence, and has no say about refusals.
    named, named_v = (pl.col(f"names_evidence{s}").fill_null(value=False) for s in ("", "_v"))
    refused, refused_v = pl.col("refused"), pl.col("refused_v")
    worse, better = (named & ~named_v, refused_v & ~refused), (named_v & ~named, refused & ~refused_v)
    failed = pl.col("failed").is_not_null() | pl.col("failed_v").is_not_null()

    def count(which: pl.Expr) -> int:
        return pairs.filter(which).height

    assert choose(page, "lost") == count(pl.any_horizontal(*worse)) > 0
    assert choose(page, "gained") == count(pl.any_horizontal(*better)) > 0
    assert choose(page, "failed") == count(failed) > 0
    page.select_option("#pick-reason", REASONS[0])
    assert shown(page) == count((pl.col("failed") == REASONS[0]) | (pl.col("failed_v") == REASONS[0])) > 0
    page.select_option("#pick-reason", "")
    choose(page, "all")
    page.select_option("#pick-group", "about a film")
    assert shown(page) == count(pl.col("group") == "about a film") > 0
    counts = [int(text.replace(",", "")) for text in page.locator("#show small").all_inner_texts()]
    film = pl.col("group") == "about a film"
    assert counts[:3] == [
        count(film),
        count(film & pl.any_horizontal(*worse)),
        count(film & pl.any_horizontal(*better)),
    ]
    page.select_option("#pick-group", "")
    page.select_option("#pick-measure", "refused")
    assert choose(page, "lost") == count(worse[1]) and choose(page, "gained") == count(better[1])
    page.select_option("#pick-measure", "length")
    assert choose(page, "gained") == count(pl.col("tokens_v") > pl.col("tokens")) > 0
    largest = pairs.select((pl.col("tokens_v") - pl.col("tokens")).abs().max()).item()
    assert page.locator("#row-0 small").inner_text().startswith(f"Δ {largest:g} · ")
    choose(page, "all")
    page.fill("#search", "NUMBER 4321.")
    assert shown(page) == 1 and "reviews-04321" in page.inner_text("#rows")


def test_every_chart_is_drawn(visit: Visit, big: str) -> None:
    watched = visit(big)
    drawings = watched.page.evaluate(DRAWINGS)
    assert len(drawings) > 100
    names = " ".join(one["name"] or "" for one in drawings)
    assert {"forest", "stack", "lines"} <= set(names.split())
    for one in drawings:
        assert one["parts"] and one["width"] > 0 and one["height"] > 0 and not one["bad"], one
    assert watched.complaints == []


def test_hostile_texts_are_shown_as_texts(visit: Visit, small: str) -> None:
    watched = visit(small)
    page = explore(watched)
    page.select_option("#pick-variant", VARIANT)
    for number, text in enumerate(HOSTILE):
        page.fill("#search", f"reviews-{number:05d}")
        page.wait_for_selector(f"text=reviews-{number:05d} ·")
        full = page.locator(".side-card").first
        if full.locator(".text").count() < 2:  # this one failed, and says why
            assert "✕" in full.inner_text()
            continue
        expected = visible(plain(text))
        head = full.locator(".text").first.evaluate("(node) => node.textContent")
        assert head == expected[:6000]
        if len(expected) > 6000:
            full.get_by_role("button", name="Show all").click()
            whole = full.locator(".text").first.evaluate("(node) => node.textContent")
            assert whole.startswith(expected[:20_000]) and len(whole) >= 20_000
        width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert width == 0, "a text must not widen the page"
    assert page.title() == "big · Compressed Lens"
    assert page.locator("#detail img, #detail script, #detail a[href^=javascript]").count() == 0
    assert watched.complaints == [] and len(watched.requests) == 1


def test_differences_are_marked_by_more_than_colour(visit: Visit, small: str) -> None:
    page = explore(visit(small))
    page.select_option("#pick-variant", VARIANT)
    choose(page, "lost")
    page.keyboard.press("j")
    for number in range(shown(page)):
        if page.locator(".side-card ins").count():
            break
        page.locator(f"#row-{number}").click()
    styles = [
        page.locator(tag).first.evaluate("(n) => getComputedStyle(n).textDecorationLine") for tag in ("ins", "del")
    ]
    assert styles == ["underline", "line-through"]
    assert re.search("[▼▲]", page.inner_text(".chips >> nth=1")), "the flipped value carries a sign"


def test_keyboard(visit: Visit, small: str) -> None:
    page = explore(visit(small))
    first = page.inner_text(".source .key >> nth=0")
    page.keyboard.press("j")
    page.wait_for_function("(old) => document.querySelector('.source .key').textContent !== old", arg=first)
    page.keyboard.press("k")
    page.wait_for_function("(old) => document.querySelector('.source .key').textContent === old", arg=first)
    for key, what in (("f", "lost"), ("f", "gained"), ("f", "all"), ("x", "failed"), ("w", "changed"), ("a", "all")):
        page.keyboard.press(key)
        assert page.locator("input[name=show]:checked").get_attribute("value") == what
    variant = page.input_value("#pick-variant")
    page.keyboard.press("]")
    assert page.input_value("#pick-variant") != variant
    page.keyboard.press("[")
    page.keyboard.press("?")
    assert page.is_visible("#keys") and page.get_attribute("#help", "aria-expanded") == "true"
    page.keyboard.press("/")
    page.keyboard.type("f j?")
    assert page.input_value("#search") == "f j?", "what is typed into the search is text"
    page.fill("#search", "")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "list"
    page.keyboard.press("End")
    page.wait_for_selector("#row-199[aria-selected=true]")
    assert page.get_attribute("#list", "aria-activedescendant") == "row-199"
    assert page.get_attribute("#row-199", "aria-setsize") == "200"
    page.keyboard.press("Home")
    page.wait_for_selector("#row-0[aria-selected=true]")


def test_the_address_leads_a_colleague_to_the_same_item(visit: Visit, small: str) -> None:
    page = explore(visit(small))
    page.select_option("#pick-series", label="small · rating")
    page.wait_for_selector("table.ratings")
    page.select_option("#pick-variant", VARIANT)
    page.keyboard.press("j")
    page.wait_for_url("**item=small-00001&**")
    there = visit(page.url).page
    there.wait_for_selector("table.ratings")
    assert there.inner_text(".source .key >> nth=0") == page.inner_text(".source .key >> nth=0")
    assert there.input_value("#pick-variant") == VARIANT
    table = there.inner_text("table.ratings >> nth=0")
    assert re.search(r"critic\s+trustworthiness\s+\d\s+Rating: \d\. It is", table)
    # The same item under another analysis is a link away.
    there.click(".also a >> text=accuracy")
    there.wait_for_function("document.getElementById('pick-series').selectedOptions[0].text === 'small · accuracy'")
    there.wait_for_selector("text=small-00001 ·")


def test_an_item_can_be_copied_as_json(visit: Visit, small: str) -> None:
    page = explore(visit(small, permissions=["clipboard-read", "clipboard-write"]))
    page.select_option("#pick-series", label="facts · layers")
    page.wait_for_selector(".spark svg path")
    assert page.locator(".spark").count() == 2, "one of full precision and one of the variant"
    said = page.inner_text(".spark figcaption >> nth=0")
    assert re.fullmatch(r"entity recall: from −1\d.* to −.*, highest −.* at layer \d+", said)
    page.click("#copy-item")
    page.wait_for_selector("text=Copied")
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert copied["item"] == "facts-00000" and copied["task"] == "facts"
    assert len(copied["outcomes"]["full"]["entity_recall"]) == 12


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(visit: Visit, small: str, scheme: str) -> None:
    watched = visit(small, viewport=PHONE, color_scheme=scheme)
    page = explore(watched)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, re.findall(r"\d+", background)[:3])) > 3 * 128
    assert light == (scheme == "light") and watched.complaints == []


def test_print_and_no_script(visit: Visit, small: str, browser: object) -> None:
    page = explore(visit(small))
    page.emulate_media(media="print")
    assert not page.is_visible("#explorer") and page.is_visible("#texts .print-only")
    quiet = visit(small, java_script_enabled=False).page
    assert quiet.is_visible("#texts noscript") and quiet.locator("svg.forest").count() > 10
    assert not quiet.is_visible("#explorer")


def test_names_and_order_for_those_who_cannot_see_it(visit: Visit, small: str) -> None:
    page = explore(visit(small))
    assert page.evaluate(NAMELESS) == []
    assert (
        page.get_by_role("listbox", name="Items").count() == 1 and page.get_by_role("region", name="Item").count() == 1
    )
    page.focus("#pick-series")
    seen = []
    for _ in range(11):
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.name"))
        page.keyboard.press("Tab")
    assert seen == ["pick-series", "pick-variant", "pick-measure", "pick-group", "pick-reason", "search", "show",
                    "copy-link", "copy-item", "help", "list"]  # fmt: skip


def test_an_old_browser_is_told(visit: Visit, small: str) -> None:
    watched = visit("about:blank")
    watched.page.add_init_script("delete window.DecompressionStream")
    watched.page.goto(small)
    watched.page.wait_for_selector("#trouble:not([hidden])", state="attached")
    assert "clens view" in watched.page.text_content("#trouble")
