"""Runs a study: for every variant in turn make, check, ask, record. Killed at any moment, it goes on where it was."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressed_lens.errors import LensError, RunError
from compressed_lens.lm.folder import check_folder
from compressed_lens.runner import speed
from compressed_lens.runner.environment import environment, torch_environment
from compressed_lens.runner.grid import Grid, Question, load_grid
from compressed_lens.runner.judges import Judges
from compressed_lens.runner.progress import Reporter
from compressed_lens.runner.results import Run, load_run
from compressed_lens.runner.variants import Base, cache_folder, describe, free_memory, on_hub, recipe_of
from compressed_lens.store import Store, plain
from compressed_lens.store.store import VariantStatus
from compressed_lens.study.load import to_yaml
from compressed_lens.study.schema import FULL, Study, VariantSpec
from compressed_lens.templates import using

if TYPE_CHECKING:
    from compressed_lens.analyses.base import Record
    from compressed_lens.engine import Job
    from compressed_lens.lm.hf import HFModel
    from compressed_lens.lm.protocol import Prompt

_PROBES = 8


def run(study: Study, *, out: str | Path | None = None, progress: bool = True) -> Run:
    """Run a study, or what is left of it, and return the run.

    Args:
        study: What to do.
        out: Folder of the run; default `runs/<name of the study>` in the working directory. A folder that
            holds an earlier form of the study is continued: only cells that changed are run.
        progress: Show progress on standard error where that is a terminal.

    Raises:
        StudyError: A setting does not fit; nothing was written.
        DataError: A task's data are missing; nothing was written.
        ModelError: A model folder is missing or not whole; nothing was written.
        RunError: The folder cannot be written, is in use, or the disk is full.
        LensError: No variant of any model could be loaded; the run folder says why.
    """
    with using(study.settings.prompts):
        return _run(study, out, progress=progress)


def _run(study: Study, out: str | Path | None, *, progress: bool) -> Run:
    grid = load_grid(study)
    for variant in study.variants:
        recipe_of(study, variant)
    bases = [Base(study, spec) for spec in study.models]
    for base in bases:
        if base.spec.path is not None and not on_hub(base.spec.path):
            check_folder(base.folder)
    folder = Path(out).expanduser() if out is not None else Path("runs") / study.name
    with Store.create(folder, study) as store:
        _Session(study, grid, store, progress=progress).work(bases)
    return load_run(folder)


def resume(folder: str | Path, *, progress: bool = True) -> Run:
    """Finish an interrupted run; a finished one is left as it is and no model is loaded.

    Raises:
        RunError: No run there, a damaged one, or one that another process is working on.
    """
    path = Path(folder).expanduser()
    with Store.open(path) as store:
        study = store.study
    return run(study, out=path, progress=progress)


class _Session:
    """One process at work on a run whose store it holds."""

    def __init__(self, study: Study, grid: Grid, store: Store, *, progress: bool) -> None:
        self._study = study
        self._grid = grid
        self._store = store
        self._judges = Judges(study)
        self._environment = {**environment(seed=study.seed), "margins": dict(study.margins)}
        self._session = store.begin_session(self._environment)
        _replace(store.folder / "study.yaml", to_yaml(study))
        self._write_environment({})
        for task in grid.tasks:
            store.put_task(
                task.name,
                fingerprint=task.fingerprint,
                kind=task.kind,
                info={
                    "labels": task.labels,
                    "instruction": task.instruction,
                    "fields": tuple(dict.fromkeys(name for item in task.items for name in item.fields)),
                    "rejected": task.rejected,
                    "notes": task.notes,
                },
                items=[(item.id, _content(asdict(item))) for item in task.items],
            )
        places = list(grid.places(study))
        store.put_grid(places)
        self._reporter = Reporter(sum(place[4] for place in places), show=progress)

    def work(self, bases: list[Base]) -> None:
        """Go through all variants of all models."""
        first: LensError | None = None
        alive = False
        with self._reporter:
            for note in self._grid.notes:
                self._reporter.say(note)
            position = 0
            for base in bases:
                for variant in self._study.variants_of(base.spec):
                    try:
                        self._variant(base, variant, position)
                        alive = True
                    except RunError:
                        raise
                    except LensError as error:
                        # An error holds on to what was in memory when it was raised: kept only while it may be needed.
                        first = None if alive else first or error
                        self._unavailable(base, variant, position, error)
                    position += 1
                    free_memory()
                base.release()
        if first is not None and not alive:
            raise first

    def _unavailable(self, base: Base, variant: VariantSpec, position: int, error: LensError) -> None:
        self._store.put_variant(
            base.spec.name, variant.name, position=position, status="unavailable", reason=str(error)
        )
        self._reporter.say(f"{base.spec.name} {variant.name}: unavailable. {error}")
        self._reporter.add(sum(len(q.task.items) for q in self._grid.questions))

    def _variant(self, base: Base, variant: VariantSpec, position: int) -> None:
        name = f"{base.spec.name} {variant.name}"
        self._reporter.stage(f"{name}: reading")
        build = base.build(variant)
        known = self._store.build(build)
        if known is not None and self._finished(base, variant, position, build, known):
            return
        loaded = base.load(variant, lambda text: self._reporter.stage(f"{name}: {text}"))
        self._write_environment(torch_environment())
        model = loaded.model
        amounts = {"prepare_seconds": loaded.prepare_seconds, "load_seconds": loaded.load_seconds}
        if known is None or known["fingerprint"] != model.fingerprint:
            self._reporter.stage(f"{name}: integrity gate")
            integrity = base.gate(variant, loaded, self._probes())
            amounts["gate_seconds"] = integrity.seconds
            known = {"fingerprint": model.fingerprint, "integrity": integrity.to_json()}
            self._store.put_build(
                build,
                fingerprint=model.fingerprint,
                recipe=describe(self._study, variant),
                audit=None if loaded.audit is None else loaded.audit.to_dict(),
                integrity=known["integrity"],
                bytes_on_disk=loaded.bytes_on_disk,
                memory_bytes=model.memory_bytes,
                loaded={
                    "device": str(model.device),
                    "dtype": str(model.dtype).removeprefix("torch."),
                    "kernel": model.kernel,
                    "attention": model.attention,
                    "method": model.method,
                    "batch_rule": model.batch_rule,
                    "trust_remote_code": base.spec.trust_remote_code,
                    "parameters": _parameters(model),
                },
            )
        self._store.put_work(self._session, build, amounts)
        if self._place(base, variant, position, build, known) != "refused":
            self._ask(base, model, variant, build, amounts)

    def _place(
        self, base: Base, variant: VariantSpec, position: int, build: str, known: dict[str, Any]
    ) -> VariantStatus:
        """Note the verdict on a variant and the cells it leads to; return its status."""
        broken = [f["message"] for f in known["integrity"]["findings"] if not f["passed"]]
        sound = bool(known["integrity"]["passed"])
        status: VariantStatus = "passed" if sound else "refused" if self._study.settings.gate == "strict" else "marked"
        for q in self._grid.questions:
            self._store.put_cell(
                q.cell(known["fingerprint"], self._identify(base)),
                (base.spec.name, variant.name, q.task.name, q.analysis),
                fingerprint=known["fingerprint"],
                task_fingerprint=q.task.fingerprint,
                method=q.method,
                settings=q.settings,
                seed=q.seed,
                items=len(q.task.items),
                metrics=q.metrics,
                pictures=q.pictures,
            )
        self._store.put_variant(
            base.spec.name, variant.name, position=position, status=status, reason=" ".join(broken), build=build
        )
        if not sound:
            self._reporter.say(f"{base.spec.name} {variant.name}: failed the integrity gate. {' '.join(broken)}")
        return status

    def _finished(self, base: Base, variant: VariantSpec, position: int, build: str, known: dict[str, Any]) -> bool:
        """Whether a variant that was loaded before needs no more asking; its places are then set."""
        refused = self._study.settings.gate == "strict" and not known["integrity"]["passed"]
        identify = self._identify(base)
        cells = [(q, self._store.done(q.cell(known["fingerprint"], identify))) for q in self._grid.questions]
        if not refused and any(len(done) < len(q.task.items) for q, done in cells):
            return False
        self._place(base, variant, position, build, known)
        self._reporter.add(sum(len(q.task.items) for q in self._grid.questions))
        return True

    def _identify(self, base: Base) -> Callable[[str], str]:
        return lambda role: base.digest if role == FULL else self._judges.identity(role)

    def _ask(self, base: Base, model: HFModel, variant: VariantSpec, build: str, amounts: dict[str, float]) -> None:
        from compressed_lens.engine import Engine, Job
        from compressed_lens.lm.protocol import Answering

        def others(role: str) -> Answering:
            if role != FULL:
                return self._judges.get(role)
            return model if variant.is_full else base.full()

        name = f"{base.spec.name} {variant.name}"
        identify = self._identify(base)
        size = variant.placebo.batch_tokens if variant.placebo is not None else None
        engine = Engine(
            model,
            batch_tokens=size or self._study.settings.batch_tokens,
            cache=self._store.responses,
            others=others,
        )
        written = 0
        for q in self._grid.questions:
            cell = q.cell(model.fingerprint, identify)
            done = self._store.done(cell)
            self._reporter.stage(f"{name}: {q.analysis} on {q.task.name}")
            if len(done) >= len(q.task.items):
                self._reporter.add(len(q.task.items))
                continue

            def keep(job: Job, record: Record, cell: str = cell) -> None:
                nonlocal written
                self._store.write_record(cell, job.item.id, 0, record, group=job.item.group)
                written += 1

            shown = 0

            def tick(ended: int, total: int) -> None:
                nonlocal shown
                self._reporter.add(ended - shown)
                shown = ended
                spent = {**amounts, **asdict(engine.ledger), "records": written}
                self._store.put_work(self._session, build, spent)

            jobs = [Job(key=(plain(item.id), 0), analysis=q.instance, task=q.task, item=item) for item in q.task.items]
            keys: set[Hashable] = set(done)
            engine.run(jobs, keep, done=keys, progress=tick)
        if variant.placebo is not None:
            return  # in another dtype or batch it says little of the speed of the other variants
        speed.remember(
            cache_folder(self._study),
            device=model.device.type,
            parameters=sum(p.numel() for p in model.module.parameters()),
            tokens=engine.ledger.executed_tokens,
            seconds=engine.ledger.seconds,
        )

    def _probes(self) -> list[Prompt]:
        """Return a few prompts of the study, for the gate to try next to its own."""
        return [prompt for q in self._grid.questions for prompt in _first_prompts(q)][:_PROBES]

    def _write_environment(self, more: dict[str, Any]) -> None:
        self._environment = {**self._environment, **more}
        self._store.put_environment(self._session, self._environment)
        _replace(self._store.folder / "environment.json", json.dumps(self._environment, indent=2) + "\n")


def _parameters(model: HFModel) -> int:
    """Count the weights of a model, each element of a packed layer as one."""
    states = [(p, getattr(p, "quant_state", None)) for p in model.module.parameters()]
    return sum(math.prod(p.shape if state is None else state.shape) for p, state in states)


def _first_prompts(question: Question) -> list[Prompt]:
    from compressed_lens.lm.protocol import Generate, Score

    prompts = []
    for item in islice(question.task.items, 2):
        steps = question.instance.steps(question.task, item)
        try:
            prompts += [request.prompt for request in next(steps) if isinstance(request, Generate | Score)]
        except StopIteration:
            continue
        finally:
            steps.close()
    return prompts


def _content(item: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key != "id"}


def _replace(path: Path, text: str) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error.strerror}.", fix="Check disk and permissions.") from error
