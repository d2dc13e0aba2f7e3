"""What a study would do, before it does it: cells, what is done already, size, time, and what is missing."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from compressed_lens.errors import LensError
from compressed_lens.lm.folder import check_folder, read_config
from compressed_lens.lm.made_up import CHARACTERS_A_TOKEN, made_up
from compressed_lens.lm.protocol import Ask, Attribute, Embed, Generate, Inspect, Inspector, Read, Request, Score, Trace
from compressed_lens.runner.grid import Question, load_grid
from compressed_lens.runner.judges import Judges
from compressed_lens.runner.speed import estimate
from compressed_lens.runner.variants import Base, cache_folder, on_hub, recipe_of
from compressed_lens.store import Store
from compressed_lens.study.schema import FULL, ModelSpec, Study, VariantSpec
from compressed_lens.templates import using

if TYPE_CHECKING:
    from compressed_lens.lm.protocol import Prompt

_SAMPLED = 16
_MOST_STEPS = 20
# A backward pass costs about twice a forward pass.
_GRADIENT_COST = 3
# While the gate looks at it, the variant, its dense copy and the full-precision model are in memory.
_COPIES = 3
_HEADER_LIMIT = 100_000_000


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """One cell.

    Attributes:
        items: Items of the task.
        done: Items recorded already in the run folder.
        tokens: Forward tokens the rest will take at most, answers at their full length; an estimate.
    """

    model: str
    variant: str
    task: str
    analysis: str
    items: int
    done: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class PlannedVariant:
    """One variant of one model.

    Attributes:
        made: "cached", "to quantize", "as it is" (full and checkpoints), "to fetch" (hub), or "missing".
        parameters: Number of weights; 0 when not known yet.
        bytes_on_disk: Estimate of the weights' size on disk.
        memory_bytes: Estimate of the most memory it takes, during the integrity gate.
        seconds: Estimate of the time in the model; None when its size is not known yet. Quantizing is not in it.
        missing: What must be installed or found first; "" when nothing is.
    """

    model: str
    variant: str
    made: str
    parameters: int
    bytes_on_disk: int
    memory_bytes: int
    seconds: float | None
    missing: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A study's plan.

    Attributes:
        folder: Where the run will be.
        measured: Whether times rest on a measurement on this machine rather than on a guess.
        notes: Sentences worth reading before the run.
    """

    folder: Path
    cells: tuple[PlannedCell, ...]
    variants: tuple[PlannedVariant, ...]
    measured: bool
    notes: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """What must be installed or found first, one sentence each."""
        return tuple(f"{v.model} {v.variant}: {v.missing}" for v in self.variants if v.missing)

    @property
    def seconds(self) -> float | None:
        """Estimate of the whole time in models; None when a size is not known."""
        times = [v.seconds for v in self.variants if not v.missing]
        return None if None in times else sum(t for t in times if t is not None)


def plan(study: Study, *, out: str | Path | None = None) -> Plan:
    """Say what running `study` would do; nothing is written or fetched, and torch is not imported.

    Args:
        study: What to do.
        out: Folder of the run, to see what is done already; default `runs/<name of the study>`.

    Raises:
        StudyError: A setting does not fit.
        DataError: A task's data are missing or malformed.
        ModelError: A model folder is missing or not whole.
        RunError: The run folder holds something that is not a run.
    """
    with using(study.settings.prompts):
        return _plan(study, out)


def _plan(study: Study, out: str | Path | None) -> Plan:
    grid = load_grid(study)
    folder = Path(out).expanduser() if out is not None else Path("runs") / study.name
    store = Store.open(folder) if (folder / "run.sqlite").is_file() else None
    cells: list[PlannedCell] = []
    variants: list[PlannedVariant] = []
    measured = []
    judges = Judges(study)
    try:
        for spec in study.models:
            base = Base(study, spec)
            local = base.folder if spec.path is not None and not on_hub(spec.path) else None
            if local is not None:
                check_folder(local)
            cost = _Cost(count=_counter(local), blocks=_blocks(local))
            costs = {id(q): _tokens_an_item(q, cost) for q in grid.questions}
            for variant in study.variants_of(spec):
                done, made, missing = _state(study, base, variant, judges=judges, questions=grid.questions, store=store)
                tokens = 0
                for q in grid.questions:
                    left = len(q.task.items) - done[id(q)]
                    expected = round(left * costs[id(q)])
                    tokens += expected
                    cells.append(
                        PlannedCell(
                            model=spec.name,
                            variant=variant.name,
                            task=q.task.name,
                            analysis=q.analysis,
                            items=len(q.task.items),
                            done=done[id(q)],
                            tokens=expected,
                        )
                    )
                parameters, size = weights(local) if local is not None else (0, 0)
                recipe = recipe_of(study, variant)
                seconds = None
                if parameters:
                    seconds, known = estimate(
                        cache_folder(study), device=_device(study), parameters=parameters, tokens=tokens
                    )
                    measured.append(known)
                wide = _bytes_a_weight(study, spec, variant)
                variants.append(
                    PlannedVariant(
                        model=spec.name,
                        variant=variant.name,
                        made=made,
                        parameters=parameters,
                        bytes_on_disk=size if recipe is None else parameters * recipe.bits // 8,
                        memory_bytes=parameters * wide * (1 if variant.is_full else _COPIES),
                        seconds=seconds,
                        missing=missing,
                    )
                )
    finally:
        if store is not None:
            store.close()
    return Plan(
        folder=folder,
        cells=tuple(cells),
        variants=tuple(variants),
        measured=bool(measured) and all(measured),
        notes=(*grid.notes, *_notes(study)),
    )


def _state(
    study: Study,
    base: Base,
    variant: VariantSpec,
    *,
    judges: Judges,
    questions: tuple[Question, ...],
    store: Store | None,
) -> tuple[Counter[int], str, str]:
    """Return the items done of each question (by id), how the variant is made, and what is missing."""
    done: Counter[int] = Counter()
    origin = variant.checkpoint or base.spec.path
    if origin is not None and on_hub(origin):
        return done, "to fetch", ""
    try:
        made = "as it is"
        if variant.recipe_name is not None:
            cached = (cache_folder(study) / base.origin(variant)).is_dir()
            made = "cached" if cached else "to quantize"
        elif variant.checkpoint is not None:
            base.checkpoint(variant)
        known = store.build(base.build(variant)) if store is not None else None
    except LensError as error:
        return done, "missing", str(error)
    if store is not None and known is not None:
        for q in questions:
            cell = q.cell(known["fingerprint"], lambda role: base.digest if role == FULL else judges.identity(role))
            done[id(q)] = len(store.done(cell))
    return done, made, ""


def weights(folder: Path) -> tuple[int, int]:
    """Return the number of weights in a folder's safetensors files and the bytes of these files; no weight is read."""
    parameters = size = 0
    for file in sorted(folder.glob("*.safetensors")):
        size += file.stat().st_size
        with file.open("rb") as handle:
            head = handle.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0  # noqa: PLR2004 (the format's own width)
            if not 0 < length <= _HEADER_LIMIT:
                continue
            header = json.loads(handle.read(length))
        for name, tensor in header.items():
            if name != "__metadata__":
                count = 1
                for extent in tensor["shape"]:
                    count *= extent
                parameters += count
    return parameters, size


def _counter(folder: Path | None) -> Callable[[str], int]:
    """Return a function that counts the tokens of a text, by the model's own tokenizer where it is at hand."""
    file = folder / "tokenizer.json" if folder is not None else None
    if file is None or not file.is_file():
        return lambda text: len(text) // CHARACTERS_A_TOKEN + 1
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    return lambda text: len(tokenizer.encode(text).ids)


def _blocks(folder: Path | None) -> int | None:
    """Return how many blocks a model has, where its configuration is at hand."""
    if folder is None:
        return None
    config = read_config(folder)
    text = config.get("text_config", config)
    return next((text[name] for name in ("num_hidden_layers", "n_layer") if isinstance(text.get(name), int)), None)


def _tokens_an_item(question: Question, cost: _Cost) -> float:
    """Return the forward tokens an item takes on average, from a sample driven with made-up answers."""
    sample = list(islice(question.task.items, _SAMPLED))
    total = 0
    for item in sample:
        steps = question.instance.steps(question.task, item)
        try:
            asked = next(steps)
            for _ in range(_MOST_STEPS):
                requests = [request.request if isinstance(request, Ask) else request for request in asked]
                total += sum(map(cost.of, requests))
                asked = steps.send([made_up(request) for request in requests])
        except (StopIteration, LensError):
            pass
        finally:
            steps.close()
    return total / len(sample)


@dataclass(frozen=True, kw_only=True)
class _Cost:
    """Forward tokens of a request, at most.

    Attributes:
        count: Tokens of a text.
        blocks: How many the model has; None where that is not known.
    """

    count: Callable[[str], int]
    blocks: int | None

    def of(self, request: Request) -> int:
        if isinstance(request, Read | Embed):
            return self.count(request.text)
        prompt = self.count(_text(request.prompt))
        match request:
            case Generate():
                return prompt + request.max_new_tokens
            case Score():
                return prompt + sum(map(self.count, request.continuations))
            case Trace():
                return prompt + self.count(request.continuation)
            case Attribute():
                steps = request.steps if request.method == "integrated_gradients" else 1
                return _GRADIENT_COST * steps * prompt
            case Inspect():
                return self._passes(request.by) * prompt

    def _passes(self, by: Inspector) -> int:
        passes_in: Callable[[int], int] | None = getattr(by, "passes_in", None)
        return by.passes if passes_in is None or self.blocks is None else passes_in(self.blocks)


def _text(prompt: Prompt) -> str:
    return (
        prompt.text if prompt.text is not None else "\n".join([*(m.content for m in prompt.messages), prompt.prefill])
    )


def _device(study: Study) -> str:
    """Return the kind of device a run would use, as far as can be told without torch."""
    asked = study.settings.device.partition(":")[0]
    return ("cuda" if Path("/dev/nvidia0").exists() else "cpu") if asked == "auto" else asked


def _bytes_a_weight(study: Study, model: ModelSpec, variant: VariantSpec) -> int:
    """Return the bytes of a weight in memory, as far as can be told without torch."""
    dtype = (variant.placebo and variant.placebo.dtype) or model.dtype
    return 4 if dtype == "float32" or (dtype == "auto" and _device(study) == "cpu") else 2


def _notes(study: Study) -> list[str]:
    notes = []
    for variant in study.variants:
        if variant.placebo is not None and variant.placebo.batch_tokens is not None:
            notes.append(f"Variant '{variant.name}' runs in small batches and takes longer than estimated.")
    if study.settings.device.startswith("cuda") and not Path("/dev/nvidia0").exists():
        notes.append("The study asks for a GPU, and this machine shows none.")
    for model in study.models:
        if model.path is not None and on_hub(model.path):
            notes.append(f"Model '{model.name}' will be fetched from the hub.")
        if model.trust_remote_code:
            notes.append(f"Model '{model.name}' may run Python code of its own (trust_remote_code).")
        if model.path is None:
            notes.append(f"Model '{model.name}' has no path: there is no full-precision baseline to compare with.")
    return notes
