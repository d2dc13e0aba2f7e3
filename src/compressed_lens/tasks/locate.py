"""The one door for data: a local file or folder, or a data set on the hub."""

from __future__ import annotations

import re
from pathlib import Path

from compressed_lens.errors import DataError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
_HUB_ID = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?")
_NOT_DATA = {"dataset_info.json", "dataset_infos.json", "state.json", "dataset_dict.json"}
_SAME_SPLIT = {"val": "validation", "dev": "validation", "valid": "validation"}
_PREFERRED = ("test", "validation", "train")
_CONVERTED = "refs/convert/parquet"


def locate_data(path: str | None, *, hub: str = "", home: str = "") -> Path:
    """Return the local file or folder that holds a data set, downloading it if it is only on the hub.

    A local path always wins. What is not one, and has the form "owner/name" or "owner/name@revision",
    is looked up on the Hugging Face hub. Only data files are fetched and nothing from the hub is run.

    Args:
        path: What the user gave; None for the data set's own place on the hub.
        hub: The data set's own hub id, "" when there is none.
        home: Where a person gets the data, for the message.

    Raises:
        DataError: Nothing is there, or the hub cannot be reached.
    """
    if path is None and not hub:
        raise DataError("This data set is not on the hub.", fix=f"Get it from {home} and give its `path`.")
    wanted = hub if path is None else path
    local = Path(wanted).expanduser()
    if path is not None and local.exists():
        return local
    match = _HUB_ID.fullmatch(wanted)
    if match is None or local.suffix.lower() in SUFFIXES:
        raise DataError(f"There is no file or folder '{wanted}'.", fix="Correct the `path` of the task.")
    return _from_hub(match["id"], match["revision"])


def _from_hub(name: str, revision: str | None) -> Path:
    problem: Exception | None = None
    for version in [revision] if revision else [None, _CONVERTED]:
        try:
            folder = _snapshot(name, version)
        except _problems() as error:
            problem = problem or error
            continue
        if _data_files(folder):
            return folder
    if problem is None:
        raise DataError(
            f"The hub data set '{name}' holds no data file ({', '.join(SUFFIXES)}).",
            fix="Download the data and give their `path`; data sets that need a script to load are not run.",
        )
    raise DataError(
        f"'{name}' is neither a local path nor a data set that can be fetched from the hub ({type(problem).__name__}).",
        fix="Give the `path` of a local copy, or check the name, the network and HF_HUB_OFFLINE.",
    ) from problem


def _problems() -> tuple[type[Exception], ...]:
    from httpx import HTTPError

    return (OSError, ValueError, HTTPError)


def _snapshot(name: str, revision: str | None) -> Path:
    """Return the folder with the data files of a hub data set, from the hub or, where it fails, from its cache."""
    from huggingface_hub import snapshot_download

    patterns = [f"*{suffix}" for suffix in SUFFIXES]
    try:
        return Path(snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns=patterns))
    except _problems():
        return Path(
            snapshot_download(
                name, repo_type="dataset", revision=revision, allow_patterns=patterns, local_files_only=True
            )
        )


def _data_files(folder: Path) -> list[Path]:
    return sorted(
        p
        for p in folder.rglob("*")
        if p.is_file() and p.suffix.lower() in SUFFIXES and p.name not in _NOT_DATA and not p.name.startswith(".")
    )


def _words(name: str) -> list[str]:
    found = re.findall(r"[a-z]+", name.lower())
    return [_SAME_SPLIT.get(word, word) for word in found]


def choose_files(place: Path, split: str | None = None) -> list[Path]:
    """Return the data files of `place` (a file or a folder) that belong to `split`, in name order.

    A file belongs to a split when its path below `place` has the split's name as a word ("test-00000-of-00001.parquet",
    "esnli_test.csv", "plain_text/test/0000.parquet"); "a/b" asks for both words, for data sets with
    several configurations. Without a split: test, else validation, else train, else everything.

    Raises:
        DataError: No data file, no such split, or several different tables and no way to tell which.
    """
    files = [place] if place.is_file() else _data_files(place)
    if not files:
        raise DataError(f"'{place}' holds no data file ({', '.join(SUFFIXES)}).", fix="Correct the `path` of the task.")
    base = place.parent if place.is_file() else place
    words = {file: _words(file.relative_to(base).as_posix()) for file in files}
    if split is not None:
        chosen = [f for f in files if set(_words(split)) <= set(words[f])]
        if not chosen:
            raise DataError(
                f"'{place}' has no split '{split}'.", fix=f"Its files: {', '.join(f.name for f in files[:10])}."
            )
    else:
        found = ([f for f in files if name in words[f]] for name in _PREFERRED)
        chosen = next((some for some in found if some), files)
    tables = {" ".join(words[f]) for f in chosen}
    if len(tables) > 1:
        raise DataError(
            f"'{place}' holds several tables: {', '.join(f.name for f in chosen[:10])}.",
            fix="Give the path of one file, or a `split` that names one.",
        )
    return chosen
