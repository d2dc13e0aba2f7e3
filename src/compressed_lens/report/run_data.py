"""A run as the report reads it: frames from the database, and what is computed of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressed_lens.comparison.measures import Figure, figures
from compressed_lens.comparison.series import Gate, Series, Variant, gates_of, series_of, variant_list
from compressed_lens.human.findings import HumanAnalysis, read_analyses

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, kw_only=True)
class RunData:
    """Everything a report shows, read from a run's database.

    Attributes:
        study: The study as it was last run, in JSON types.
        environments: One mapping a session, oldest first.
    """

    folder: Path
    study: Mapping[str, Any]
    environments: tuple[Mapping[str, Any], ...]
    records: pl.DataFrame
    cells: pl.DataFrame
    variants: pl.DataFrame
    tasks: pl.DataFrame
    items: pl.DataFrame

    @classmethod
    def read(cls, folder: Path) -> RunData:
        """Read a run folder; a run that is still going is read as far as it got.

        Raises:
            RunError: No run there, or a damaged or foreign file.
        """
        from compressed_lens.store import Store

        with Store.open(folder) as store:
            return cls(
                folder=folder,
                study=store.study.model_dump(mode="json"),
                environments=tuple(store.environments()),
                records=store.records_frame(),
                cells=store.cells(),
                variants=store.variants_frame(),
                tasks=store.tasks_frame(),
                items=store.items_frame(),
            )

    @cached_property
    def variant_list(self) -> tuple[Variant, ...]:
        """The variants, in study order."""
        return variant_list(self.variants)

    @cached_property
    def gates(self) -> Mapping[tuple[str, str], Gate]:
        """How each (model, variant) stands at the integrity gate."""
        return gates_of(self.variant_list)

    @property
    def margins(self) -> Mapping[str, float]:
        """How large a loss would matter, as the study says now."""
        margins: Mapping[str, float] = self.study.get("margins") or {}
        return margins

    @property
    def margins_moved(self) -> bool:
        """Whether the margins are others than when the run began, and so were set after records could be seen."""
        return any(session.get("margins", self.margins) != self.margins for session in self.environments)

    @cached_property
    def figures(self) -> tuple[Figure, ...]:
        """Every figure, with its verdict."""
        return figures(self.series, self.variant_list, margins=self.margins)

    @cached_property
    def series(self) -> tuple[Series, ...]:
        """The outcomes, lined up."""
        return series_of(self)

    @cached_property
    def people(self) -> Mapping[str, HumanAnalysis | str]:
        """What the run's human studies found, by name; of a file that cannot be read, why."""
        return read_analyses(self.folder)
