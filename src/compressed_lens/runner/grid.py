"""The grid of a study: its tasks and analyses loaded, and which of them go together. No model is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from compressed_lens.analyses.base import roles_of
from compressed_lens.errors import StudyError
from compressed_lens.ids import digest
from compressed_lens.runner.judges import check_roles
from compressed_lens.study.margins import check_margins
from compressed_lens.study.schema import Study, TaskSpec

if TYPE_CHECKING:
    from compressed_lens.analyses.base import Analysis
    from compressed_lens.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class Question:
    """One analysis of one task: a column of the grid, to be asked of every variant.

    Attributes:
        analysis: Name in the study.
        method: Name in the registry.
        settings: Every setting of the analysis, defaults included.
        seed: The study's.
    """

    task: Task
    analysis: str
    method: str
    instance: Analysis
    settings: Mapping[str, Any]
    seed: int

    def cell(self, fingerprint: str, identify: Callable[[str], str]) -> str:
        """Return the identity of this question asked of the model with `fingerprint`; no names are in it.

        Args:
            fingerprint: Of the model under study.
            identify: Gives the digest of another model that the analysis asks, by the name the analysis has for it.
        """
        asked = [identify(role) for role in roles_of(self.instance)]
        settings = {**self.settings, "": asked} if asked else self.settings
        return digest([fingerprint, self.task.fingerprint, self.method, settings, self.seed], length=24)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The metrics over its records, as JSON types."""
        from compressed_lens.analyses.base import declared_metrics

        return [asdict(metric) for metric in declared_metrics(self.instance)]

    @property
    def pictures(self) -> list[dict[str, Any]]:
        """What the report draws of its records beyond metrics, as JSON types; `kind` says what."""
        from compressed_lens.analyses.base import pictures_of

        return [{"kind": type(one).__name__.lower(), **asdict(one)} for one in pictures_of(self.instance)]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What a study asks of every variant."""

    tasks: tuple[Task, ...]
    questions: tuple[Question, ...]
    notes: tuple[str, ...]

    def places(self, study: Study) -> Iterator[tuple[str, str, str, str, int]]:
        """Yield (model, variant, task, analysis, items) in the order of the run."""
        for model in study.models:
            for variant in study.variants_of(model):
                for q in self.questions:
                    yield model.name, variant.name, q.task.name, q.analysis, len(q.task.items)


def load_grid(study: Study) -> Grid:
    """Load the tasks and analyses of `study`.

    Raises:
        StudyError: A setting is wrong, or no analysis fits any task.
        DataError: A task's data are missing or malformed.
    """
    from compressed_lens.analyses import create

    tasks = tuple(_task(spec, study.seed) for spec in study.tasks)
    questions, notes = [], []
    for spec in study.analyses:
        instance = create(spec.analysis_name, spec.settings)
        check_roles(study, spec.name, instance)
        fitting = [t for t in tasks if t.kind in instance.kinds and (spec.tasks is None or t.name in spec.tasks)]
        if not fitting:
            notes.append(f"Analysis '{spec.name}' fits no task of this study (it wants {' or '.join(instance.kinds)}).")
        for task in fitting:
            questions.append(
                Question(
                    task=task,
                    analysis=spec.name,
                    method=spec.analysis_name,
                    instance=instance,
                    settings=asdict(instance),  # type: ignore[call-overload]
                    seed=study.seed,
                )
            )
    if not questions:
        raise StudyError("No analysis of this study fits any of its tasks.", fix="See `clens list analyses`.")
    check_margins(
        study.margins,
        ((q.analysis, metric["name"], metric["family"]) for q in questions for metric in q.metrics),
        where=f"Study '{study.name}'",
    )
    order = {task.name: position for position, task in enumerate(tasks)}
    questions.sort(key=lambda q: order[q.task.name])
    return Grid(tasks=tasks, questions=tuple(questions), notes=tuple(notes))


def _task(spec: TaskSpec, seed: int) -> Task:
    from compressed_lens.tasks import load_task

    return load_task(
        spec.name,
        source=spec.source,
        path=spec.path,
        split=spec.split,
        limit=spec.limit,
        seed=seed,
        fields=spec.fields or None,
        labels=spec.labels or None,
        instruction=spec.instruction,
        options=spec.options,
    )
