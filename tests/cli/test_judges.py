"""`clens judges` on a run whose ratings are known."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from compressed_lens.cli.main import main
from compressed_lens.runner import load_run, run
from compressed_lens.study.load import from_arguments

ITEMS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the reference model rated by two real judges."""
    study = from_arguments(
        name="rated",
        model="reference",
        variants=["rtn-3bit"],
        tasks=["testbed-reviews"],
        limit=ITEMS,
        analyses=[{"name": "rating", "settings": {"judges": ["critic", "honest"], "least_mass": 0.0}}],
        judges=[{"name": "critic", "path": "planted-critic"}, {"name": "honest", "path": "planted-honest"}],
        device="cpu",
    )
    out = tmp_path_factory.mktemp("runs") / "rated"
    run(study, out=out, progress=False)
    return out


def test_tables_are_printed_and_exported(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["item,variant,model,dimension,rater,rating"]
    items = load_run(folder).records["item"].unique().sort().to_list()
    rows += [f"{item},full,reference,trustworthiness,anna,{1 + n % 5}" for n, item in enumerate(items)]
    people = tmp_path / "people.csv"
    people.write_text("\n".join(rows) + "\n")
    assert main(["judges", str(folder), "--ratings", str(people), "--csv", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "Krippendorff" in said and "Judges and people" in said
    alphas = pl.read_csv(tmp_path / "out" / "agreement.csv")
    assert set(alphas["dimension"]) == {"trustworthiness", "coherence"}
    assert set(alphas["units"]) == {2 * ITEMS}
    shifts = pl.read_csv(tmp_path / "out" / "shifts.csv")
    assert set(shifts["judge"]) == {"critic", "honest"}
    assert shifts["n"].to_list() == [ITEMS] * 4
    assert pl.read_csv(tmp_path / "out" / "people.csv")["n"].to_list() == [ITEMS] * 2
    trusted = pl.read_csv(tmp_path / "out" / "trust.csv")
    assert trusted["items"].to_list() == [ITEMS] * 2 and "trusted" not in set(trusted["verdict"])
    assert "May a judge stand in for people?" in said and "What people would say" in said
    estimates = pl.read_csv(tmp_path / "out" / "estimates.csv")
    rated = estimates.filter(variant="full", dimension="trustworthiness")
    assert rated["people_mean"].to_list() == pytest.approx([(1 + 2 + 3 + 4 + 5 + 1) / 6] * 2)


def test_a_run_without_ratings_is_one_sentence(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judges", str(finished)]) == 3
    assert "The run has no ratings." in capsys.readouterr().err
