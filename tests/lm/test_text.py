"""Rendering, BOS and the seam, on real tokenizers of both families."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressed_lens.errors import ModelError
from compressed_lens.lm.protocol import Message, Prompt
from compressed_lens.lm.text import answer_text, encode_plain, join, render, uses_bos

CHAT = Prompt(messages=(Message(role="user", content="Is the film good or bad?"),))
LLAMA_2 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }}{{ eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
ODD = (
    "yes",
    " yes",
    "\n",
    "\n\nyes",
    "  two spaces",
    "é",
    "\u0301combining",
    "naïve café",
    "日本語",
    "🙂👩‍👩‍👧",
    "\u200b",
    "\u00a0nbsp",
    "İstanbul",
    "ﬁ",
    "<new>",
    ".",
    "\t",
    "\u202eright",
)
PROMPTS = ("Answer:", "Answer: ", "The film is", "e", "日本", "🙂", "tab\t", "line\n", "a  ", "<new>", "ends. ")


@pytest.fixture(params=["byte level, chat", "byte level", "sentencepiece"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    if request.param == "byte level, chat":
        return request.getfixturevalue("chat_tokenizer")
    from transformers import AutoTokenizer

    folder: Path = request.getfixturevalue("tiny_gpt2_folder" if request.param == "byte level" else "stories_folder")
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def inst_tokenizer(chat_tokenizer: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    named = {"bos_token": "<|bos|>", "eos_token": "<|end|>"}
    twin = PreTrainedTokenizerFast(tokenizer_object=chat_tokenizer.backend_tokenizer, **named)
    twin.chat_template = LLAMA_2
    return twin


@pytest.mark.parametrize(
    "prompt",
    [
        CHAT,
        Prompt(messages=CHAT.messages, prefill="<new>"),
        Prompt(text="The film is"),
        Prompt(text="The film is", prefill="good"),
    ],
)
def test_exactly_one_bos_where_the_model_uses_one(tokenizer: Any, prompt: Prompt) -> None:
    ids = render(tokenizer, prompt).ids
    if uses_bos(tokenizer):
        assert ids[0] == tokenizer.bos_token_id
        assert ids.count(tokenizer.bos_token_id) == 1
    else:
        assert tokenizer.bos_token_id not in ids


def test_a_bos_that_is_written_out_is_not_doubled(chat_tokenizer: Any) -> None:
    plain = render(chat_tokenizer, Prompt(text="The film"))
    assert render(chat_tokenizer, Prompt(text="<|bos|>The film")) == plain


def test_a_template_alone_can_tell_that_there_is_a_bos(chat_tokenizer: Any, tiny_gpt2_folder: Path) -> None:
    from transformers import AutoTokenizer

    silent = AutoTokenizer.from_pretrained(tiny_gpt2_folder)
    assert not uses_bos(silent)
    spoken = AutoTokenizer.from_pretrained(tiny_gpt2_folder)
    spoken.chat_template = chat_tokenizer.chat_template
    assert render(spoken, Prompt(text="a")).ids[0] == spoken.bos_token_id


def test_the_chat_template_is_the_tokenizers_own(chat_tokenizer: Any) -> None:
    rendered = render(chat_tokenizer, Prompt(messages=CHAT.messages, prefill="Well"))
    expected = "<|user|>\nIs the film good or bad?<|end|>\n<|assistant|>\nWell"
    assert rendered.text == expected
    assert list(rendered.ids) == list(chat_tokenizer(expected)["input_ids"])


def test_a_conversation_without_a_template_is_a_document(stories_folder: Path) -> None:
    from transformers import AutoTokenizer

    turns = (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Good or bad?"),
        Message(role="assistant", content="good"),
        Message(role="user", content="Why?"),
    )
    tokenizer = AutoTokenizer.from_pretrained(stories_folder)
    text = render(tokenizer, Prompt(messages=turns)).text
    assert text == "Be brief.\n\nGood or bad?\n\nAnswer: good\n\nWhy?\n\nAnswer:"
    assert render(tokenizer, Prompt(messages=turns, prefill="<new>")).text == f"{text} <new>"


def test_what_the_template_puts_before_an_answer_is_kept(inst_tokenizer: Any) -> None:
    rendered = render(inst_tokenizer, Prompt(messages=CHAT.messages))
    assert rendered.text.endswith("[/INST]")
    after = join(inst_tokenizer, rendered, "good")[len(rendered.ids) :]
    assert inst_tokenizer.decode(after) == " good"
    assert render(inst_tokenizer, Prompt(messages=CHAT.messages, prefill="<new>")).text.endswith("[/INST] <new>")


def test_a_system_turn_is_folded_where_the_template_has_no_place_for_it(inst_tokenizer: Any) -> None:
    prompt = Prompt(messages=(Message(role="system", content="Be brief."), *CHAT.messages))
    assert render(inst_tokenizer, prompt).text == "[INST] Be brief.\n\nIs the film good or bad? [/INST]"


def test_a_refusing_template_is_one_clear_error(inst_tokenizer: Any) -> None:
    turns = (*CHAT.messages, Message(role="system", content="late"))
    with pytest.raises(ModelError, match="refuses a conversation of user, system: Only user and assistant"):
        render(inst_tokenizer, Prompt(messages=turns))


@pytest.mark.parametrize(
    ("prompt", "continuation", "expected"),
    [
        ("Answer:", "yes", " yes"),
        ("Answer: ", "yes", "yes"),
        ("Answer:", " yes", " yes"),
        ("Answer:", "\nyes", "\nyes"),
        ("The film", ", they say", ", they say"),
        ("The film", "(a comedy)", " (a comedy)"),
        ("The film", "<new>", " <new>"),
        ("<new>", "A man", "A man"),
        ("(", "a", "a"),
        ("in 1999", "people", " people"),
        ("日本", "語", "語"),
    ],
)
def test_a_word_is_not_glued_to_plain_text(chat_tokenizer: Any, prompt: str, continuation: str, expected: str) -> None:
    rendered = render(chat_tokenizer, Prompt(text=prompt))
    assert chat_tokenizer.decode(join(chat_tokenizer, rendered, continuation)[len(rendered.ids) :]) == expected


@pytest.mark.parametrize("continuation", ODD)
def test_the_seam_keeps_the_prompt_and_loses_no_text(tokenizer: Any, continuation: str) -> None:
    for prompt in (CHAT, *(Prompt(text=text) for text in PROMPTS)):
        check_seam(tokenizer, prompt, continuation)


@settings(max_examples=150, deadline=None)
@given(
    before=st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12),
    after=st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12),
)
def test_the_seam_of_any_text(chat_tokenizer: Any, before: str, after: str) -> None:
    check_seam(chat_tokenizer, Prompt(text=before), after)


def check_seam(tokenizer: Any, prompt: Prompt, continuation: str) -> None:
    rendered = render(tokenizer, prompt)
    ids = join(tokenizer, rendered, continuation)
    size = len(rendered.ids)
    assert ids[:size] == rendered.ids
    assert len(ids) > size
    added = answer_text(tokenizer, rendered.ids, ids[size:])
    assert added in (continuation, f" {continuation}")
    front = (tokenizer.bos_token_id,) if uses_bos(tokenizer) else ()
    joint = front + encode_plain(tokenizer, rendered.text + added)
    if joint[:size] == rendered.ids:
        assert ids == joint


def test_a_merge_across_the_seam_does_not_change_what_was_read(chat_tokenizer: Any) -> None:
    rendered = render(chat_tokenizer, Prompt(text="Answer: "))
    joint = (chat_tokenizer.bos_token_id, *encode_plain(chat_tokenizer, "Answer: good"))
    assert joint[: len(rendered.ids)] != rendered.ids
    assert join(chat_tokenizer, rendered, "good") == rendered.ids + encode_plain(chat_tokenizer, "good")


def test_offsets_point_at_the_text_of_each_token(tokenizer: Any) -> None:
    rendered = render(tokenizer, Prompt(text="naïve 🙂 café, in the park"))
    assert len(rendered.char_offsets) == len(rendered.ids)
    start = 1 if uses_bos(tokenizer) else 0
    assert rendered.char_offsets[:start] == ((0, 0),) * start
    spans = rendered.char_offsets[start:]
    covered = {i for a, b in spans for i in range(a, b)}
    assert all(i in covered or rendered.text[i].isspace() for i in range(len(rendered.text)))
    assert [a for a, _ in spans] == sorted(a for a, _ in spans)


@pytest.mark.parametrize("prompt", [Prompt(), Prompt(messages=CHAT.messages, text="both")])
def test_a_prompt_is_a_conversation_or_text(chat_tokenizer: Any, prompt: Prompt) -> None:
    with pytest.raises(ModelError, match="exactly one of messages and text"):
        render(chat_tokenizer, prompt)


def test_an_empty_prompt_needs_a_bos(chat_tokenizer: Any, tiny_gpt2_folder: Path) -> None:
    from transformers import AutoTokenizer

    assert render(chat_tokenizer, Prompt(text="")).ids == (chat_tokenizer.bos_token_id,)
    with pytest.raises(ModelError, match="prompt is empty"):
        render(AutoTokenizer.from_pretrained(tiny_gpt2_folder), Prompt(text=""))


def test_unpaired_surrogates_are_refused(chat_tokenizer: Any) -> None:
    with pytest.raises(ModelError, match="surrogates"):
        render(chat_tokenizer, Prompt(text="a\ud800b"))
