"""Presets and their settings; calibration text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compressed_lens.errors import DataError, StudyError
from compressed_lens.quantization import RECIPES, Calibration, resolve
from compressed_lens.quantization.calibration import calibration_texts, read_texts, texts_digest, tokenize


def test_every_preset_says_what_it_is_and_costs() -> None:
    for name in RECIPES.names():
        entry = RECIPES.entries[name]
        assert entry.summary and entry.cost and entry.source, name
        assert f"{resolve(name).bits}bit" in name


def test_settings_override_a_preset_and_leave_the_rest() -> None:
    plain: Any = resolve("gptq-4bit")
    changed: Any = resolve({"recipe": "gptq-4bit", "group_size": 64, "calibration": {"samples": 7}})
    assert (changed.group_size, changed.calibration.samples) == (64, 7)
    assert changed.model_copy(update={"group_size": 128, "calibration": plain.calibration}) == plain
    assert changed.calibration.tokens == plain.calibration.tokens
    assert resolve(changed) is changed


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gptq-4bits", "Unknown recipe 'gptq-4bits'. Did you mean 'gptq-4bit'?"),
        ({"group_size": 64}, "needs the key 'recipe'"),
        ({"recipe": "rtn-5bit"}, "Did you mean 'rtn-"),
        ({"recipe": "gptq-4bit", "groupsize": 64}, "no setting 'groupsize'. Did you mean 'group_size'?"),
        (
            {"recipe": "gptq-4bit", "calibration": {"sample": 3}},
            "no setting 'calibration.sample'. Did you mean 'samples'?",
        ),
        ({"recipe": "rtn-4bit", "calibration": {"samples": 3}}, "no setting 'calibration'"),
        ({"recipe": "bnb-8bit", "group_size": 64}, "no setting 'group_size'"),
        ({"recipe": "rtn-4bit", "bits": 1}, "'bits' of recipe 'rtn-4bit' does not fit"),
        ({"recipe": "rtn-4bit", "bits": 9}, "less than or equal to 8"),
        ({"recipe": "rtn-4bit", "group_size": 3}, "use -1, auto, or at least 8"),
        ({"recipe": "rtn-4bit", "group_size": "many"}, "'group_size"),
        ({"recipe": "bnb-4bit", "data_type": "nf5"}, "'nf4' or 'fp4'"),
        ({"recipe": "bnb-8bit", "double_quantization": True}, "neither data_type nor double_quantization"),
        ({"recipe": "gptq-4bit", "dampening": 2}, "less than 1"),
        ({"recipe": "gptq-4bit", "method": "awq"}, "'method'"),
    ],
)
def test_a_wrong_recipe_is_one_clear_sentence(spec: Any, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        resolve(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_calibration_text_comes_from_the_file_then_the_model_then_the_package(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    packaged, source = calibration_texts(Calibration(), model)
    assert source == "the package's English text"
    assert len(packaged) > 20
    (model / "calibration.txt").write_text("one text\nof two lines\n\n\nanother\n", encoding="utf-8")
    assert calibration_texts(Calibration(), model)[0] == ("one text\nof two lines", "another")
    mine = tmp_path / "mine.jsonl"
    mine.write_text('{"text": "a\\n\\nb"}\n\n{"text": "c", "label": 1}\n', encoding="utf-8")
    assert calibration_texts(Calibration(path=str(mine)), model) == (("a\n\nb", "c"), "mine.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.txt", None, "cannot be read"),
        ("empty.txt", b" \n\n ", "is empty"),
        ("latin.txt", b"\xe9t\xe9", "UTF-8"),
        ("bad.jsonl", b'{"text": "a"}\n{"txt": "b"}', "Line 2 of"),
        ("list.jsonl", b"[1]", "Line 1 of"),
        ("number.jsonl", b'{"text": 3}', "is not a string"),
    ],
)
def test_calibration_files_that_cannot_be_used(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_texts(tmp_path / name)


def test_sequences_are_cut_not_glued_and_chosen_by_seed(stories_folder: Path) -> None:
    from compressed_lens.lm.load import load_tokenizer

    tokenizer = load_tokenizer(stories_folder)
    texts = [f"The {word} went to the park and played with the ball. " * 6 for word in ("dog", "cat", "bird", "frog")]
    every = tokenize(texts, "test", Calibration(samples=1000, tokens=32), tokenizer, seed=0)
    whole = [tuple(tokenizer(text)["input_ids"]) for text in texts]
    cut = [text[start : start + 32] for text in whole for start in range(0, len(text), 32)]
    assert list(every.ids) == [piece for piece in cut if len(piece) >= 8]
    few = [tokenize(texts, "test", Calibration(samples=3, tokens=32), tokenizer, seed=seed).ids for seed in (0, 0, 1)]
    assert few[0] == few[1] != few[2]
    assert set(few[0]) <= set(every.ids)
    assert every.facts()["tokens"] == sum(map(len, every.ids))
    assert every.sha256 == texts_digest(texts) != texts_digest(texts[:-1])
    with pytest.raises(DataError, match="no sequence of 8 tokens"):
        tokenize(["Hi."], "test", Calibration(), tokenizer, seed=0)


def test_a_start_token_in_the_text_is_not_doubled(chat_tokenizer: Any) -> None:
    bos = chat_tokenizer.bos_token_id
    text = "the capital of France is Paris and the river runs to the sea"
    spelled, plain = tokenize(
        [f"{chat_tokenizer.bos_token}{text}", text], "test", Calibration(), chat_tokenizer, seed=0
    ).ids
    assert spelled == plain
    assert spelled.count(bos) == 1


def test_the_digest_depends_on_where_one_text_ends() -> None:
    assert texts_digest(["ab", "c"]) != texts_digest(["a", "bc"])
    assert json.loads(json.dumps(texts_digest(["\ud800"]))) == texts_digest(["\ud800"])
