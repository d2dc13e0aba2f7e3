"""From a prompt to token ids: chat template or plain text, one BOS, and the seam between prompt and answer.

The seam rule. The ids of the prompt are always kept, because they are what the model has read when it answers.
The ids of a continuation are the rest of the joint tokenization wherever that starts with the prompt's ids;
otherwise (the tokenizer would merge across the seam, as in "Answer: " + "yes") the continuation is tokenized by
itself. Scores of several continuations therefore always condition on the same ids.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from compressed_lens.errors import ModelError
from compressed_lens.lm.protocol import Message, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CUE = "Answer:"
_PROBE = "xyzzy"
_SENTENCE_MARKS = frozenset(".,:;!?%…")
_ANCHORS = ("\n", "a", ".")
_DECODE_WINDOW = 8


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A prompt as the model reads it.

    Attributes:
        text: Rendered text without BOS.
        ids: Token ids, with exactly one BOS in front where the model uses one.
        char_offsets: Half-open span in `text` of every token of `ids`; (0, 0) for BOS. Empty when the tokenizer
            cannot tell.
        templated: Whether a chat template was used and nothing was put after it.
        lead: What stands between the template's generation prompt and an answer ("" or " ").
    """

    text: str
    ids: tuple[int, ...]
    char_offsets: tuple[tuple[int, int], ...] = ()
    templated: bool = False
    lead: str = ""


def render(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> Rendered:
    """Return `prompt` as text and ids.

    A conversation goes through the chat template where the tokenizer has one, with the generation prompt and then
    the prefill; else its turns are separated by blank lines, answers introduced by "Answer:". Plain `text` is
    taken as it stands, followed by the prefill.

    Raises:
        ModelError: The prompt has neither or both of `messages` and `text`, the chat template refuses it, or
            nothing at all would be read.
    """
    if (prompt.text is None) == (not prompt.messages):
        raise ModelError("A prompt needs exactly one of messages and text.")
    templated, lead = False, ""
    if prompt.text is not None:
        text = prompt.text + _spaced(prompt.text, prompt.prefill)
    elif getattr(tokenizer, "chat_template", None):
        text = _apply_template(tokenizer, prompt.messages)
        lead = "" if text[-1:].isspace() else _template_lead(tokenizer)
        templated = not prompt.prefill
        if prompt.prefill:
            text += lead + prompt.prefill
    else:
        text = plain(prompt.messages) + (" " if prompt.prefill[:1].strip() else "") + prompt.prefill
    ids: tuple[int, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()
    if uses_bos(tokenizer):
        text = _without_bos(tokenizer, text)
        ids, spans = (_bos(tokenizer),), ((0, 0),)
    encoded = _tokenize(tokenizer, text, offsets=bool(tokenizer.is_fast))
    ids += tuple(encoded["input_ids"])
    if not ids:
        raise ModelError("The prompt is empty.", fix="Give a text, or at least one turn.")
    offsets = spans + tuple((int(a), int(b)) for a, b in encoded["offset_mapping"]) if tokenizer.is_fast else ()
    return Rendered(text=text, ids=ids, char_offsets=offsets, templated=templated, lead=lead)


def plain(messages: Sequence[Message]) -> str:
    """Return a conversation as a document for a model without a chat template.

    Turns are separated by blank lines, every answer follows "Answer:", and the document ends in "Answer:" for the
    model to go on.
    """
    turns = [f"{CUE} {m.content}" if m.role == "assistant" else m.content for m in messages]
    return "\n\n".join([*turns, CUE])


def join(tokenizer: PreTrainedTokenizerBase, rendered: Rendered, continuation: str) -> tuple[int, ...]:
    """Return the ids of the prompt followed by `continuation`; they always start with the prompt's ids.

    After plain text that does not end in whitespace a continuation gets a leading space, unless it begins with
    whitespace or punctuation; after a chat template it gets what the template itself puts before an answer.
    See the module's docstring for the seam rule.
    """
    if rendered.templated:
        tail = continuation if continuation[:1].isspace() else rendered.lead + continuation
    else:
        tail = _spaced(rendered.text, continuation)
    if not tail:
        return rendered.ids
    front = (_bos(tokenizer),) if uses_bos(tokenizer) else ()
    joint = front + encode_plain(tokenizer, rendered.text + tail)
    size = len(rendered.ids)
    if joint[:size] == rendered.ids and len(joint) > size:
        return joint
    return rendered.ids + _encode_alone(tokenizer, tail)


def encode_plain(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    """Return the ids of `text` with no special token added."""
    return tuple(_tokenize(tokenizer, text)["input_ids"])


@lru_cache(maxsize=32)
def uses_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the model reads a BOS first: its tokenizer adds one, or its chat template starts with one."""
    bos = tokenizer.bos_token_id
    if bos is None:
        return False
    if list(tokenizer("a")["input_ids"])[:1] == [bos]:
        return True
    if not getattr(tokenizer, "chat_template", None):
        return False
    return _apply_template(tokenizer, (Message(role="user", content="a"),)).startswith(str(tokenizer.bos_token))


def answer_text(tokenizer: PreTrainedTokenizerBase, prompt_ids: Sequence[int], new_ids: Sequence[int]) -> str:
    """Return the text that `new_ids` add to the prompt, special tokens removed, stripped of nothing.

    SentencePiece-like decoders drop the first space of what they are given, so the end of the prompt is decoded
    along with the answer and cut off again.
    """
    special = set(tokenizer.all_special_ids)
    anchor = [token for token in prompt_ids[-2 * _DECODE_WINDOW :] if token not in special][-_DECODE_WINDOW:]
    before = _decode(tokenizer, anchor)
    both = _decode(tokenizer, [*anchor, *new_ids])
    return both[len(before) :] if both.startswith(before) else _decode(tokenizer, new_ids)


def _decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _bos(tokenizer: PreTrainedTokenizerBase) -> int:
    return int(tokenizer.bos_token_id)


def _without_bos(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    bos = str(tokenizer.bos_token)
    while bos and text.startswith(bos):
        text = text[len(bos) :]
    return text


def _tokenize(tokenizer: PreTrainedTokenizerBase, text: str, *, offsets: bool = False) -> dict[str, Any]:
    try:
        return dict(tokenizer(text, add_special_tokens=False, return_offsets_mapping=offsets, verbose=False))
    except (TypeError, UnicodeError) as error:
        raise ModelError(
            f"The tokenizer refuses a text: {error}.", fix="Remove unpaired surrogates from it."
        ) from error


def _encode_alone(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    """Return the ids of `text` as it is tokenized in the middle of a document."""
    for anchor in _ANCHORS:
        before = encode_plain(tokenizer, anchor)
        both = encode_plain(tokenizer, anchor + text)
        if both[: len(before)] == before and len(both) > len(before):
            return both[len(before) :]
    return encode_plain(tokenizer, text)


def _spaced(before: str, after: str) -> str:
    """Return `after`, with a space in front where a word would otherwise be glued to `before`."""
    if not before or not after:
        return after
    last, first = before[-1], after[0]
    if any(unicodedata.east_asian_width(c) in "WF" for c in (last, first)):
        return after
    open_end = unicodedata.category(last)[0] in "LNM" or unicodedata.category(last) in ("Pe", "Pf")
    kind = unicodedata.category(first)
    closing = first.isspace() or kind[0] in "MC" or (kind[0] == "P" and kind not in ("Ps", "Pi"))
    return f" {after}" if (open_end or last in _SENTENCE_MARKS) and not closing else after


def _apply_template(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, answer: bool = True) -> str:
    """Return the conversation through the chat template, the system turn folded into the next where it must be."""
    from jinja2.exceptions import TemplateError

    turns = [{"role": m.role, "content": m.content} for m in messages]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=answer))
    except TemplateError as error:
        if len(messages) > 1 and messages[0].role == "system":
            system, first, *rest = messages
            folded = Message(role=first.role, content=f"{system.content}\n\n{first.content}")
            return _apply_template(tokenizer, (folded, *rest), answer=answer)
        raise ModelError(
            f"The model's chat template refuses a conversation of {', '.join(m.role for m in messages)}: {error}."
        ) from error


@lru_cache(maxsize=32)
def _template_lead(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the whitespace the chat template puts between its generation prompt and an answer (Mistral: one)."""
    user = Message(role="user", content="a")
    try:
        asked = _apply_template(tokenizer, (user,))
        answered = _apply_template(tokenizer, (user, Message(role="assistant", content=_PROBE)), answer=False)
    except ModelError:
        return ""
    if not answered.startswith(asked):
        return ""
    lead = answered[len(asked) :].partition(_PROBE)[0]
    return lead if not lead.strip() and _PROBE in answered else ""
