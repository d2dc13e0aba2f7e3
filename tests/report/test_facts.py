"""Layer curves, hop mosaics and relation scatters in the report: drawn where the numbers say, and readable without."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pytest
from tests.report.conftest import LAYERS, LOSS
from tests.report.test_page import Page, sections

from compressed_lens import comparison
from compressed_lens.analyses.base import Curve, Metric, Mosaic, Record, Steps
from compressed_lens.cli.main import main
from compressed_lens.comparison.mosaic import COMBINATIONS
from compressed_lens.comparison.series import Series, series_of
from compressed_lens.report import write_report
from compressed_lens.report.curves import CurvePanel, Line, curve_groups, curve_panels
from compressed_lens.report.items import Items
from compressed_lens.report.mosaics import mosaic_panels
from compressed_lens.report.relations import scatter_panels
from compressed_lens.report.run_data import RunData
from compressed_lens.runner import run as execute
from compressed_lens.runner.grid import Question
from compressed_lens.store import Store
from compressed_lens.study.load import from_arguments
from compressed_lens.tasks.base import Item, Task, TaskKind

GATES = {("reference", name): "failed" if name == "rtn-2bit" else "passed" for name in LOSS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, plant_run: Callable, settings: type) -> Path:
    return plant_run(tmp_path_factory.mktemp("facts") / "run", settings(items=60, chains=True))


@pytest.fixture(scope="module")
def run(folder: Path) -> RunData:
    return RunData.read(folder)


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def panels(run: RunData) -> tuple[CurvePanel, ...]:
    return curve_panels(comparison.curves(run.series, GATES))


def of(run: RunData, analysis: str) -> Series:
    return next(one for one in run.series if one.analysis == analysis)


def points(line: Line) -> list[list[tuple[float, float]]]:
    """Return the points of each unbroken part of a line."""
    parts = [part for part in line.path.split("M") if part]
    return [[(float(x), float(y)) for x, y in (p.split() for p in part.split("L"))] for part in parts]


def test_pictures_have_their_sections_and_texts(page: Page, run_folder: Path) -> None:
    assert {"curves", "hops", "relations"} <= sections(page)
    plain = Page(write_report(run_folder).read_text(encoding="utf-8"))
    assert "relations" in sections(plain) and not {"curves", "hops"} & sections(plain)
    pictures = [n for n, (tag, attrs) in enumerate(page.elements) if tag == "svg" and attrs.get("role") == "img"]
    assert pictures and {page.elements[n + 1][0] for n in pictures} == {"title"}, "what a picture shows comes first"
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for table in page.tables:
        assert "rtn-2bit" not in table or re.search(r"rtn-2bit\s*✕ ?\s*failed", table), table[:200]
    classes = [attrs.get("class") or "" for tag, attrs in page.elements if tag == "path"]
    assert sum(name.startswith("line v") for name in classes) == 2 * (8 + 7) + 2 * 8, "means, differences, legend"
    assert sum(attrs.get("class") == "band v0" for _, attrs in page.elements) == 2


def test_lines_lie_where_the_means_are(run: RunData, panels: tuple[CurvePanel, ...]) -> None:
    entity = panels[0]
    series = of(run, "entity_recall")
    for chart, subtract in ((entity.means, False), (entity.changes, True)):
        assert chart is not None
        lists = series.lists(next(one for one in series.pictures if isinstance(one, Curve)))
        drawn, true = [], []
        for line in chart.lines:
            (part,) = points(line)
            assert [x for x, _ in part] == pytest.approx(np.linspace(2, 98, LAYERS), abs=0.01)
            drawn += [y for _, y in part]
            true += np.nanmean(lists[line.variant] - (lists["full"] if subtract else 0), axis=0).tolist()
        slope, start = np.polyfit(true, drawn, 1)
        assert slope < 0 and drawn == pytest.approx(slope * np.array(true) + start, abs=0.02)
        for y, label in chart.ticks:
            assert y == pytest.approx(slope * float(label.replace("−", "-")) + start, abs=0.02)
    assert entity.changes is not None and entity.changes.zero is not None


def test_bands_enclose_their_lines_and_a_failed_variant_sets_no_scale(panels: tuple[CurvePanel, ...]) -> None:
    for chart in (panels[0].means, panels[0].changes):
        assert chart is not None
        for line in chart.lines:
            corners = [tuple(map(float, p.split())) for p in line.band.strip("MZ").split("L")]
            upper, lower = corners[:LAYERS], corners[LAYERS:][::-1]
            for (_, top), (_, y), (_, bottom) in zip(upper, points(line)[0], lower, strict=True):
                assert top - 0.01 <= y <= bottom + 0.01
            if line.gate != "failed":
                assert all(0 <= y <= 100 for _, y in points(line)[0])
    changes = panels[0].changes
    assert changes is not None
    failed = next(line for line in changes.lines if line.gate == "failed")
    assert max(y for _, y in points(failed)[0]) > 100 and failed.mark is None


def test_the_damaged_layer_is_marked_and_named(panels: tuple[CurvePanel, ...], page: Page) -> None:
    entity = panels[0]
    assert entity.changes is not None
    marks = {line.variant: line.mark for line in entity.changes.lines}
    place = 2 + 96 * 20 / (LAYERS - 1)
    assert marks["rtn-3bit"] is not None and marks["rtn-3bit"][0] == pytest.approx(place, abs=96 / 27 + 0.01)
    assert next(row for row in entity.rows if row.curve.variant == "rtn-3bit").worst in {
        "layer 19",
        "layer 20",
        "layer 21",
    }
    text = " ".join("".join(page.text).split())
    assert "rtn-3bit: largest at layer" in text and "failed the integrity gate" in text
    full = next(row for row in entity.rows if row.curve.variant == "full")
    assert full.worst == full.difference == "" and full.key == 0


def test_many_curves_are_folded_by_analysis(panels: tuple[CurvePanel, ...]) -> None:
    (group,) = curve_groups(panels)
    assert group.open and group.panels == panels
    others = [CurvePanel(**{**vars(panels[0]), "where": f"t · {n % 3}"}) for n in range(13)]
    assert [(g.open, len(g.panels)) for g in curve_groups(others)] == [(True, 5), (False, 4), (False, 4)]


def test_a_line_breaks_where_a_layer_has_no_value() -> None:
    curve = Curve(name="c", value="c", unit="nats", direction="higher", summary="")
    lists = [[1.0, None, 2.0, 3.0, None, None]] * 3
    frame = pl.DataFrame(
        {"model": "m", "task": "t", "analysis": "a", "variant": "full", "item": ["a", "b", "c"], "repeat": 0,
         "group": "", "failed": pl.Series([None] * 3, dtype=pl.String), "values": [json.dumps({"c": x}) for x in lists]}
    )  # fmt: skip
    cells = pl.DataFrame(
        {"model": "m", "task": "t", "analysis": "a", "variant": "full", "items": 3, "method": "a", "settings": "{}",
         "metrics": "[{}]", "pictures": json.dumps([{"kind": "curve", **vars(curve)}])}
    )  # fmt: skip
    cells = cells.with_columns(
        metrics=pl.lit('[{"name":"n","value":"n","direction":"higher","unit":"u","summary":""}]')
    )

    @dataclass
    class Frames:
        records: pl.DataFrame
        cells: pl.DataFrame
        variants: pl.DataFrame

    (panel,) = curve_panels(comparison.curves(series_of(Frames(frame, cells, frame)), {}))
    (line,) = panel.means.lines
    assert [[x for x, _ in part] for part in points(line)] == [[2, 2], pytest.approx([40.4, 59.6])]
    assert panel.changes is None and panel.numbers[1][1] == ("–",)


def test_tiles_are_as_large_as_their_counts(run: RunData) -> None:
    tables = comparison.hop_tables(run.series, GATES)
    (panel,) = mosaic_panels(tables)
    assert [figure.table.variant for figure in panel.figures] == list(LOSS)
    for figure in panel.figures:
        counts = [count for count in figure.table.counts if count]
        areas = [tile.width * tile.height / 100 for tile in figure.tiles]
        assert areas == pytest.approx([100 * c / figure.table.total for c in counts], abs=0.05)
        for a in figure.tiles:
            for b in figure.tiles:
                across = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
                down = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
                assert a is b or across < 0.05 or down < 0.05, "tiles overlap"
        texts = [tile.text for tile in figure.tiles if tile.text]
        assert all(int(text) in counts for text in texts)
        assert figure.rest == "failed 1" and str(counts[0]) in figure.title
    assert [row[0] for row in panel.rows] == list(COMBINATIONS)
    assert [sum(counts[v] for _, counts in panel.rows) for v in range(8)] == [59] * 8


def test_marks_lie_where_the_relations_are(run: RunData) -> None:
    saturations = comparison.saturations(run.series, GATES)
    for panel in scatter_panels(saturations):
        for scatter in panel.scatters:
            if scatter.saturation.gate == "failed":
                continue
            for mark, point in zip(scatter.marks, scatter.saturation.points, strict=True):
                assert mark.x == pytest.approx(3 + 94 * point.full, abs=0.01)
                assert (mark.y < panel.zero) == (point.loss > 0) and mark.floor == point.floor
                assert point.group in mark.title and f"n = {point.pairs}" in mark.title
            losses = [point.loss for point in scatter.saturation.points]
            heights = [mark.y for mark in scatter.marks]
            assert len(set(losses)) == 1 or np.corrcoef(losses, heights)[0, 1] < -0.99999


def test_numbers_of_curves_are_exported(
    folder: Path, run: RunData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_report(folder)
    frame = pl.read_csv(folder / "curves.csv")
    assert frame.height == 2 * 8 * LAYERS
    series = of(run, "entity_recall")
    lists = series.lists(next(one for one in series.pictures if isinstance(one, Curve)))
    own = frame.filter(curve="entity_recall", variant="rtn-3bit").sort("place")
    assert own["value"].to_list() == pytest.approx(np.nanmean(lists["rtn-3bit"], axis=0).tolist())
    assert own["n"].to_list() == [59] + [60] * (LAYERS - 1)
    assert (
        main(["compare", str(folder), "--csv", str(tmp_path), "--parquet", str(tmp_path), "--latex", str(tmp_path)])
        == 0
    )
    for name in ("curves", "hops", "saturation", "bottleneck"):
        assert pl.read_parquet(tmp_path / f"{name}.parquet").height == pl.read_csv(tmp_path / f"{name}.csv").height > 0
        assert (tmp_path / f"{name}.tex").stat().st_size
    said = capsys.readouterr().out
    assert "where each variant loses most" in said and "Saturation:" in said and "Bottleneck:" in said


def test_markdown_has_the_same_tables(folder: Path, page: Page) -> None:
    text = folder.with_name("run").joinpath("report.md").read_text(encoding="utf-8")
    for heading in ("## Layer by layer", "## Two hops", "### Is the bridge the bottleneck?", "## What was known well"):
        assert heading in text
    assert re.search(r"\| entity recall \(nats\)[^|]*\| rtn-3bit \| layer (19|20|21) \|", text)
    width = None
    for line in text.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line))
        assert width in (None, cells) or not line.startswith("|"), line[:200]
        width = cells if line.startswith("|") else None


def test_items_carry_their_curves_and_short_lists(run: RunData) -> None:
    series = of(run, "entity_recall")
    first = Items(series=series).told(next(o for o in series.outcomes["full"] if o is not None))
    stored = next(o for o in series.outcomes["full"] if o is not None).values
    assert first.lists[0] == pytest.approx(stored["curve"], rel=0.005)
    assert first.lists[1] == [int(b) for b in stored["beats"]]
    assert set(first.facts) == {"peak"}
    undrawn = Items(series=Series(**{**vars(series), "pictures": ()}))
    told = undrawn.told(next(o for o in series.outcomes["full"] if o is not None))
    assert told.lists == () and told.facts["curve"].endswith(f"] … {LAYERS} values")
    assert told.facts["curve"].count(",") == 7


def test_the_page_stays_light(tmp_path: Path, plant_run: Callable, settings: type) -> None:
    folder = plant_run(tmp_path / "run", settings(items=250, chains=True))
    assert write_report(folder).stat().st_size < 2_500_000


def test_a_run_from_before_there_were_pictures_has_a_report(
    tmp_path: Path, plant_run: Callable, settings: type
) -> None:
    folder = plant_run(tmp_path / "run", settings(items=6, variants=("full", "rtn-3bit"), chains=True))
    with sqlite3.connect(folder / "run.sqlite") as connection:
        connection.execute("ALTER TABLE cells DROP COLUMN pictures")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "curves" not in sections(page) and "measures" in sections(page) and not (folder / "curves.csv").exists()


@dataclass(frozen=True, kw_only=True)
class Pictured:
    """An analysis with both kinds of pictures."""

    name: ClassVar[str] = "pictured"
    kinds: ClassVar[tuple[TaskKind, ...]] = ("recall",)
    metrics: ClassVar[tuple[Metric, ...]] = (Metric(name="n", value="n", direction="higher", unit="rate", summary="N"),)
    pictures: ClassVar[tuple[Curve | Mosaic, ...]] = (
        Curve(name="c", value="c", unit="nats", direction="lower", summary="C", first=1),
        Mosaic(name="m", summary="M", values=("a", "b", "c"), labels=("x", "y", "z")),
    )

    def steps(self, task: Task, item: Item) -> Steps:
        yield []
        return Record(values={})


def test_what_an_analysis_declares_comes_back_from_the_run(tmp_path: Path, run: RunData, folder: Path) -> None:
    question = Question(
        task=None, analysis="p", method="pictured", instance=Pictured(), settings={}, seed=0  # type: ignore[arg-type]
    )  # fmt: skip
    with Store.open(folder) as read:
        study = read.study
    with Store.create(tmp_path / "run", study) as store:
        store.put_grid([("m", "full", "t", "p", 1)])
        store.put_cell(
            "c", ("m", "full", "t", "p"), fingerprint="f", task_fingerprint="t", method="p", settings={}, seed=0,
            items=1, metrics=question.metrics, pictures=question.pictures,
        )  # fmt: skip

        @dataclass
        class Frames:
            records: pl.DataFrame
            cells: pl.DataFrame
            variants: pl.DataFrame

        (series,) = series_of(Frames(store.records_frame(), store.cells(), store.variants_frame()))
    assert series.pictures == Pictured.pictures


def test_the_reference_model_from_chains_to_pictures(tmp_path: Path) -> None:
    study = from_arguments(
        name="chains", model="reference", variants=["rtn-3bit"], tasks=[{"name": "testbed-twohop", "limit": 8}],
        analyses=["two_hop", "entity_recall"], device="cpu", cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    done = execute(study, out=tmp_path / "run", progress=False)
    assert set(done.cells["status"]) == {"done"}
    page = Page(write_report(tmp_path / "run").read_text(encoding="utf-8"))
    assert {"curves", "hops"} <= sections(page)
    frame = pl.read_csv(tmp_path / "run/curves.csv").filter(pl.col("curve") == "entity recall", variant="rtn-3bit")
    stored = [json.loads(v) for v in done.records.filter(variant="rtn-3bit", analysis="entity_recall")["values"]]
    assert frame["value"].to_list() == pytest.approx(np.mean([v["entity_recall"] for v in stored], axis=0).tolist())
    (table,) = [t for t in comparison.hop_tables(series_of(done), {}) if t.variant == "rtn-3bit"]
    told = [json.loads(v) for v in done.records.filter(variant="rtn-3bit", analysis="two_hop")["values"]]
    assert table.counts[0] == sum(all(v[key] for key in table.mosaic.values) for v in told) and table.total == 8
