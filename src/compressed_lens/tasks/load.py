"""From a name and a few settings to a task: reading, limits, duplicate ids, fingerprint."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from compressed_lens.errors import DataError, StudyError
from compressed_lens.ids import digest
from compressed_lens.registry import nearest
from compressed_lens.tasks.base import Content, Item, Selection, Task, TaskSource, fingerprint


def load_task(
    name: str,
    *,
    source: str | None = None,
    path: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    seed: int | None = 0,
    fields: Mapping[str, str] | None = None,
    labels: Sequence[str] | Mapping[str, str] | None = None,
    instruction: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Task:
    """Load a task.

    Args:
        name: Name in the study.
        source: Name in the registry; default `name`, or "custom" when that is unknown and `fields` are given.
        path: Local file or folder, or a hub data set id ("owner/name", "owner/name@revision").
        split: Split, such as "test"; default: the source's own choice.
        limit: Most items to keep. A smaller limit keeps a subset of what a larger one keeps.
        seed: Draws the items a limit keeps; None keeps the first ones. Order is always that of the data.
        fields: Our field name to the column that holds it.
        labels: Label names in display order (they replace the source's own, one for one), or, as a
            mapping, a value in the data to the label it stands for.
        instruction: First line of the classification prompt; default: the source's own.
        options: Further settings of the source, see `clens list tasks` and docs/tasks.md.

    Raises:
        StudyError: Unknown name or setting.
        DataError: The data are missing or malformed, or hold no usable item.
    """
    from compressed_lens.tasks import REGISTRY

    known = source or ("custom" if fields and name not in REGISTRY.entries else name)
    chosen = REGISTRY.get(known)
    as_mapping = isinstance(labels, Mapping)
    selection = Selection(
        path=path,
        split=split,
        fields=dict(fields or {}),
        labels=() if as_mapping or labels is None else tuple(str(label) for label in labels),
        values={str(k): str(v) for k, v in labels.items()} if isinstance(labels, Mapping) else {},
        options=_settings(known, chosen, options or {}),
    )
    content = chosen.read(selection)
    items, rejected = _distinct(content.items)
    if not items:
        first = content.rejected[0] if content.rejected else ("the data", "no row")
        raise DataError(
            f"Task '{name}': no usable item; {first[0]}: {first[1]}.", fix="Check `path`, `fields` and `labels`."
        )
    task = _task(name, chosen, content, selection, items)
    if instruction is not None:
        task = replace(task, instruction=instruction)
    task = replace(task, items=sample(task.items, limit, seed), rejected=(*content.rejected, *rejected))
    return replace(task, fingerprint=fingerprint(task))


def _settings(name: str, source: TaskSource, given: Mapping[str, Any]) -> dict[str, Any]:
    for key in given:
        if key not in source.options:
            valid = ", ".join(source.options) or "none"
            raise StudyError(
                f"Task '{name}' has no option '{key}'.", fix=nearest(key, source.options) or f"Its options: {valid}."
            )
    return {**source.options, **given}


def _distinct(items: Iterable[Item]) -> tuple[tuple[Item, ...], tuple[tuple[str, str], ...]]:
    kept: dict[str, Item] = {}
    rejected = []
    for item in items:
        if item.id in kept:
            rejected.append((item.id, "duplicate id; the first row with it is kept"))
        else:
            kept[item.id] = item
    return tuple(kept.values()), tuple(rejected)


def _task(name: str, source: TaskSource, content: Content, selection: Selection, items: tuple[Item, ...]) -> Task:
    kind = content.kind or source.kind
    labels = content.labels or source.labels
    targets = source.targets or _next_label(labels)
    if selection.labels and selection.labels != labels:
        if len(selection.labels) != len(labels):
            raise StudyError(
                f"Task '{name}' has {len(labels)} labels ({', '.join(labels) or 'they differ by item'}), "
                f"not {len(selection.labels)}.",
                fix="Give one name for each, in that order, or leave `labels` out.",
            )
        new = dict(zip(labels, selection.labels, strict=True))
        items = tuple(replace(i, answers=tuple(new[a] for a in i.answers)) for i in items)
        labels, targets = selection.labels, {new[a]: new[b] for a, b in targets.items()}
    return Task(
        name=name,
        kind=kind,
        items=items,
        labels=labels,
        instruction=source.instruction,
        edit_field=content.edit_field or source.edit_field,
        targets=targets,
        candidates={} if kind == "classification" else _objects(items),
        notes=content.notes,
    )


def _objects(items: tuple[Item, ...]) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for item in items:
        found[item.group][item.answers[0]] = None
    return {group: tuple(objects) for group, objects in found.items()}


def _next_label(labels: tuple[str, ...]) -> dict[str, str]:
    return {a: labels[(i + 1) % len(labels)] for i, a in enumerate(labels)} if len(labels) > 1 else {}


def sample(items: tuple[Item, ...], limit: int | None, seed: int | None) -> tuple[Item, ...]:
    """Return at most `limit` items in their order, the same ones for the same seed on every machine.

    Items are ranked by a digest of seed and id, so that a smaller limit keeps a subset of a larger one
    and an added row moves no other. Every group keeps its share, and at least one item when the
    limit is at least the number of groups.
    """
    if limit is None or limit >= len(items):
        return items
    if seed is None:
        return items[:limit]
    lots = {item.id: digest([seed, item.id]) for item in items}
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda i: lots[i.id]):
        groups[item.group].append(item)
    ranks = {
        item.id: (position / len(members), lots[item.id])
        for members in groups.values()
        for position, item in enumerate(members)
    }
    kept = set(sorted(ranks, key=ranks.__getitem__)[:limit])
    return tuple(item for item in items if item.id in kept)
