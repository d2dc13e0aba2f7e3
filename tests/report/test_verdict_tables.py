"""The first screen: the table of verdicts, the yardstick, and drawings that say what the tables say."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from compressed_lens.comparison import transitions
from compressed_lens.comparison.uses import use_verdicts
from compressed_lens.report.comparisons import Comparisons
from compressed_lens.report.headline import Labels, anchor_of
from compressed_lens.report.page import html
from compressed_lens.report.panels import panels
from compressed_lens.report.recommendation import recommendation
from compressed_lens.report.run_data import RunData
from compressed_lens.report.transitions import transition_groups
from compressed_lens.report.verdicts import verdict_tables


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, plant_run: Callable, settings: type) -> RunData:
    """A planted run whose bnb-8bit is said to be a placebo."""
    folder = tmp_path_factory.mktemp("verdicts") / "run"
    plant_run(folder, settings(items=60, variants=("full", "bnb-8bit", "gptq-8bit", "rtn-3bit", "rtn-2bit")))
    families = {"accuracy": "task", "nle": "quality", "recall": "knowledge"}
    with sqlite3.connect(folder / "run.sqlite") as connection:
        connection.execute("UPDATE builds SET recipe = '{\"placebo\": \"float64\"}' WHERE build = 'b-bnb-8bit'")
        for cell, method, metrics in connection.execute("SELECT cell, method, metrics FROM cells").fetchall():
            told = [{**metric, "family": families[method]} for metric in json.loads(metrics)]
            connection.execute("UPDATE cells SET metrics = ? WHERE cell = ?", (json.dumps(told), cell))
    return RunData.read(folder)


@pytest.fixture(scope="module")
def page(run: RunData) -> str:
    return html(run, run.figures, Comparisons.of(run, run.figures), footer="")


def test_candidates_and_yardstick_stand_apart(run: RunData) -> None:
    (table,) = verdict_tables(use_verdicts(run.figures, run.variant_list), run.variant_list, Labels(run.figures))
    assert [row.variant for row in table.rows] == ["gptq-8bit", "rtn-3bit", "rtn-2bit", "hqq-4bit"]
    assert [row.variant for row in table.placebos] == ["bnb-8bit"]
    assert table.rows[0].size == "6.30 MB, × 0.57"
    words = {row.variant: {cell.use: cell.verdict for cell in row.cells} for row in table.rows}
    assert "worse" in words["rtn-3bit"].values() and "worse" not in words["gptq-8bit"].values()
    assert set(words["hqq-4bit"].values()) == {"not measured"}
    assert table.uses == ("task performance", "factual knowledge", "quality of explanations")
    assert table.unmeasured == ("faithfulness",)


def test_a_cell_names_the_measure_that_decides(run: RunData) -> None:
    verdicts = use_verdicts(run.figures, run.variant_list)
    (table,) = verdict_tables(verdicts, run.variant_list, Labels(run.figures))
    cells = {(row.variant, cell.use): cell for row in table.rows for cell in row.cells}
    for verdict in verdicts:
        if not verdict.figures or verdict.placebo:
            continue
        first = verdict.figures[0]
        cell = next(c for (name, _), c in cells.items() if name == verdict.variant and c.anchor == anchor_of(first))
        assert first.paired is not None and first.margin is not None
        low, high = (float(x.replace("\u2212", "-")) for x in re.findall(r"\[([^,]+), ([^\]]+)\]", cell.told)[0])
        assert 100 * first.paired.low == pytest.approx(low, abs=0.06) and 100 * first.paired.high == pytest.approx(
            high, abs=0.06
        )
        assert cell.told.endswith(f"margin {100 * first.margin:.1f}")
        assert ("would decide" in cell.more) == (verdict.verdict == "undecided")
        assert cell.more.startswith("leaning") == (verdict.verdict == "undecided" and first.leaning != "")


def test_the_first_screen_says_it(page: str) -> None:
    head = page[page.index('<header id="findings">') : page.index("</header>")]
    assert 'id="verdicts"' in head and 'id="noise-floor"' in head and "placebo" in head
    before, after = head.split('id="noise-floor"')
    assert "bnb-8bit" not in before.split('id="verdicts"')[1] and "bnb-8bit" in after
    ids = set(re.findall(r'\bid="([^"]+)"', page))
    lead = head[head.index('<p class="lead">') : head.index("</p>", head.index('<p class="lead">'))]
    links = re.findall(r'href="#([^"]+)"', lead)
    assert links and set(links) <= ids, "every sentence rests on a table"


def test_a_sentence_leads_to_the_measure_it_names(run: RunData) -> None:
    (variant,) = (v for v in run.variant_list if v.name == "rtn-3bit")
    found = [use for use in use_verdicts(run.figures, [variant]) if use.verdict == "worse"]
    assert len(found) > 1
    for surest in found:
        uses = [
            replace(use, figures=tuple(replace(f, p_adjusted=1e-9 if use is surest else 0.01) for f in use.figures))
            for use in found
        ]
        told = recommendation(uses, run.figures, [variant], margins_moved=False)
        (sentence,) = (one for one in told if "above all" in one.text)
        assert Labels(run.figures).place(surest.figures[0]) in sentence.text
        assert sentence.anchor == anchor_of(surest.figures[0])


def test_a_placebo_that_failed_was_run(run: RunData) -> None:
    variants = [replace(v, status="marked") if v.placebo else v for v in run.variant_list]
    told = recommendation(use_verdicts(run.figures, variants), run.figures, variants, margins_moved=False)
    assert "No placebo variant passed the integrity gate, so" in told[-1].text
    others = [v for v in variants if not v.placebo]
    told = recommendation(use_verdicts(run.figures, others), run.figures, others, margins_moved=False)
    assert "No placebo variant was run, so" in told[-1].text


def test_intervals_are_drawn_over_margin_and_noise_floor(run: RunData, page: str) -> None:
    found = {panel.anchor: panel for panel in panels(run.figures)}
    for panel in found.values():
        first = panel.rows[0].figure
        assert (panel.margin is None) == (first.margin is None)
        for row in panel.rows:
            if row.left is None or row.figure.gate == "failed" or panel.margin is None:
                continue
            inside = panel.margin[0] < row.left and row.right < panel.margin[1]
            assert inside or row.figure.verdict != "equivalent", "a verdict can be checked by eye"
            if row.figure.verdict == "non-inferior":
                bad = row.left > panel.margin[0] if first.measure.direction == "higher" else row.right < panel.margin[1]
                assert bad
        floors = {row.figure.floor for row in panel.rows if row.figure.floor is not None}
        assert (panel.floor is not None) == bool(floors)
        if panel.floor is not None:
            assert any("noise floor" in note for note in panel.notes)
    drawn = re.findall(r'<use href="#(g\d+)"/>', page)
    assert set(drawn) <= set(re.findall(r'<g id="(g\d+)">', page))


def test_areas_of_a_mosaic_are_counts(run: RunData) -> None:
    groups = transition_groups(transitions(run.series, run.figures))
    shown = [mosaic for group in groups for mosaic in group.mosaics]
    assert shown
    for mosaic in shown:
        t = mosaic.transition
        counts = {"preserved": t.preserved, "lost": t.lost, "gained": t.gained, "both-bad": t.both_bad}
        for tile in mosaic.tiles:
            assert tile.width * tile.height / 1e4 * t.pairs == pytest.approx(counts.pop(tile.kind), abs=0.2)
            assert tile.x + tile.width <= 100.2 and tile.y + tile.height <= 100.2
            assert (tile.x == 0) == (tile.kind in {"preserved", "lost"}) or t.preserved + t.lost == 0
        assert not any(counts.values()), "every count has its tile"


def test_what_is_the_same_for_all_variants_is_told_once(tmp_path: Path, plant_run: Callable, settings: type) -> None:
    folder = plant_run(tmp_path / "run", settings(items=12, variants=("full", "gptq-8bit", "bnb-4bit")))
    with sqlite3.connect(folder / "run.sqlite") as connection:
        connection.execute("DELETE FROM grid WHERE variant = 'hqq-4bit'")
        connection.execute("DELETE FROM variants WHERE variant = 'hqq-4bit'")
    run = RunData.read(folder)
    for panel in panels(run.figures):
        merged = panel.told_rows != panel.rows
        others = [row for row in panel.rows if row.figure.verdict != "reference"]
        assert merged == (panel.quiet and len({(r.value, r.interval, r.counts) for r in others}) == 1)
        assert not merged or (len(panel.told_rows) == 2 and panel.told_rows[1].every)
    quiet = [panel for panel in panels(run.figures) if panel.label == "degenerate"]
    assert quiet and quiet[0].told_rows[1].every
    for group in transition_groups(transitions(run.series, run.figures)):
        assert (len(group.told_rows) == 1) == (not group.moved)
