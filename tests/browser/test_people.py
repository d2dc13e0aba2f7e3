"""The section People of the report in a real browser: drawn, accessible, complete without scripts, silent."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from tests.browser.conftest import PHONE, Watched
from tests.human.paper_run import build_run
from tests.human.population import KINDS, TEXTS, VARIANTS, Population, assigned, simulate

from compressed_lens.human.analysis import analyze
from compressed_lens.human.judges import judged_texts
from compressed_lens.human.ratings import HumanRatings
from compressed_lens.human.reading import default_design
from compressed_lens.report import write_report
from compressed_lens.runner import load_run

pl = pytest.importorskip("polars")
Visit = Callable[..., Watched]
ITEMS = 6
AXE = """async () => (await axe.run("#people", {resultTypes: ["violations"]})).violations
  .map((one) => `${one.impact}: ${one.id} ${one.nodes[0].html}`)"""
OPEN = """() => [...document.querySelectorAll("#people details:not([open])")].forEach((one) => one.open = true)"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an analyzed human study, one rater in ten careless."""
    out = build_run(tmp_path_factory.mktemp("runs") / "paper", models=2, items=30)
    run = load_run(out)
    items = run.items["item"].to_list()
    rows: list[tuple[str, ...]] = []
    for place, (kind, analysis) in enumerate(KINDS.items()):
        for item in items[8 + place * ITEMS : 8 + (place + 1) * ITEMS]:
            for model in run.records["model"].unique().sort():
                rows += [(f"t{len(rows) + n}", kind, model, v, "esnli", analysis, item) for n, v in enumerate(VARIANTS)]
    texts = pl.DataFrame(rows, schema=list(TEXTS), orient="row")
    population = Population(effects={"gptq-4bit": -4.0}, careless=0.1)
    simulated = simulate(assigned(texts, raters=24, seed=1), population, seed=1)
    ratings = HumanRatings(long=simulated.long, checks=simulated.checks, design=default_design())
    found = analyze(ratings, judged=judged_texts(run.records, run.cells, simulated.long))
    kept = out / "human" / "main"
    kept.mkdir(parents=True)
    (kept / "analysis.json").write_text(found.to_json())
    return out


@pytest.fixture(scope="module")
def address(folder: Path) -> str:
    return write_report(folder).as_uri()


def test_people_are_drawn_and_told(visit: Visit, address: str) -> None:
    watched = visit(address)
    page = watched.page
    assert page.locator("nav a[href='#people']").count() == 1
    assert page.locator("#people > details.panel").count() == 4
    said = page.locator("#people").text_content() or ""
    assert re.search(r"\d+ of 24 raters failed an attention check and (is|are) left out: R\d\d", said)
    page.evaluate(OPEN)
    for bar in page.locator("#people .likert-bar").all():
        title = bar.locator("title").text_content() or ""
        shares = [int(share) for share in re.findall(r"(\d+) % chose", title)]
        assert len(shares) == 5 and abs(sum(shares) - 100) <= 2
        widths = bar.locator("rect").evaluate_all("all => all.map((one) => parseFloat(one.getAttribute('width')))")
        starts = bar.locator("rect").evaluate_all("all => all.map((one) => parseFloat(one.getAttribute('x')))")
        assert len(widths) == sum(share > 0 for share in shares) or 0 in shares
        assert min(starts) > -0.1 and starts[-1] + widths[-1] < 100.1
    worse = page.locator("#people > details.panel tr.worse th").all_text_contents()
    assert worse and all("gptq-4bit" in one for one in worse)
    assert (
        page.locator("#people svg").evaluate_all(
            "all => all.flatMap((svg) => [svg, ...svg.querySelectorAll('*')]).flatMap((one) => [...one.attributes])"
            ".filter((one) => /NaN|None|undefined/.test(one.value)).length"
        )
        == 0
    )
    assert watched.complaints == [] and len(watched.requests) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 900}, PHONE])
def test_axe_finds_nothing_serious(visit: Visit, address: str, viewport: dict[str, int], scheme: str) -> None:
    watched = visit(address, viewport=viewport, color_scheme=scheme, bypass_csp=True)
    watched.page.evaluate("document.getElementById('people').scrollIntoView()")
    watched.page.evaluate(OPEN)
    watched.page.evaluate(AXE_SCRIPT)
    assert [one for one in watched.page.evaluate(AXE) if one.startswith(("serious", "critical"))] == []
    assert watched.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_people_are_told_without_scripts(visit: Visit, address: str) -> None:
    page = visit(address, java_script_enabled=False).page
    assert page.locator("#people .likert-bar").count() >= 16
    assert "Krippendorff" in (page.locator("#people").text_content() or "")


def test_a_run_without_a_human_study_has_no_such_section(visit: Visit, folder: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(folder, tmp_path / "bare", ignore=shutil.ignore_patterns("human"))
    page = visit(write_report(bare).as_uri()).page
    assert page.locator("#people, nav a[href='#people']").count() == 0
