"""The testbed's own sequence-to-sequence scorer: a small BART trained from nothing on the testbed's world.

It exists so that BARTScore and every other use of such a model can run, and be tested, without a network. It knows
nothing of real text.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch

from compressed_lens.explanations import prompting
from compressed_lens.tasks.base import Item
from compressed_lens.testbed import corpus, pairs, reviews, vocabulary, world
from compressed_lens.testbed.example import Example

STEPS = 3600
BATCH = 48
POOL = 8
RATE = 2e-3
WARM_UP = 60
DECAY = 0.5
_GAP = "_"
_DELETED, _HIDDEN, _SWAPPED = 0.1, 0.1, 0.1
_FORMS = ("explain", "denoise", "reword", "copy", "fact")
_FORM_WEIGHTS = (30, 30, 20, 14, 6)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What the encoder reads, and what the decoder must write."""

    source: str
    target: str


def noisy(text: str, rng: Random) -> str:
    """Return `text` with some words deleted, hidden, or in the wrong order."""
    kept: list[str] = []
    for word in text.split():
        chance = rng.random()
        if chance < _DELETED:
            continue
        kept.append(_GAP if chance < _DELETED + _HIDDEN else word)
        if len(kept) > 1 and rng.random() < _SWAPPED:
            kept[-2:] = reversed(kept[-2:])
    return " ".join(kept) or _GAP


def reworded(explanation: str) -> str:
    """Return an explanation of the testbed that says the same in other words and another order."""
    said = explanation.removesuffix(".")
    if said.startswith("The review says that "):
        clause, _, label = said.removeprefix("The review says that ").rpartition(", which is ")
        return f"It is {label} because {clause}."
    if said.startswith("The premise does not say whether "):
        return f"Whether {said.removeprefix('The premise does not say whether ')} is not in the premise."
    because, _, claim = said.rpartition(", so ")
    return f"{claim[:1].upper()}{claim[1:]}, because {because[:1].lower()}{because[1:]}."


def draw(rng: Random, facts: tuple[str, ...]) -> Pair:
    """Draw one training pair; the held-out items of the testbed's tasks never appear."""
    form = rng.choices(_FORMS, weights=_FORM_WEIGHTS)[0]
    if form == "fact":
        fact = rng.choice(facts)
        return Pair(source=noisy(fact, rng), target=fact)
    example = corpus.draw(rng.choice((reviews, pairs)), rng, held_out=False)
    if form == "explain":
        return Pair(source=_shown(example), target=example.explanation)
    if form == "reword":
        said = [example.explanation, reworded(example.explanation)]
        rng.shuffle(said)
        return Pair(source=said[0], target=said[1])
    texts = (example.explanation, reworded(example.explanation), example.edited, _shown(example))
    text = rng.choices(texts, weights=(4, 2, 2, 1))[0]
    return Pair(source=noisy(text, rng) if form == "denoise" else text, target=text)


def _shown(example: Example) -> str:
    return prompting.shown(Item(id="", fields=example.fields, answers=(example.label,)))


def tokenizer_for(reference: Path, out: Path) -> Any:
    """Write the reference model's tokenizer to `out`, with an end token after every text as BART has, and return it."""
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer.from_file(str(reference / "tokenizer.json"))
    ends = (vocabulary.BOS, vocabulary.END)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{ends[0]} $A {ends[1]}", special_tokens=[(token, tokenizer.token_to_id(token)) for token in ends]
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **vocabulary.NAMED,
        clean_up_tokenization_spaces=False,
        padding_side="right",
        model_max_length=512,
    )
    wrapped.save_pretrained(out)
    return wrapped


def new_scorer(tokenizer: Any, seed: int) -> Any:
    """Return the untrained scorer: 1.05 million parameters, no dropout."""
    from transformers import BartConfig, BartForConditionalGeneration

    torch.manual_seed(seed)
    config = BartConfig(
        vocab_size=len(tokenizer),
        d_model=128,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        max_position_embeddings=512,
        dropout=0.0,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=tokenizer.eos_token_id,
    )
    return BartForConditionalGeneration(config)


def _batches(tokenizer: Any, rng: Random) -> Iterator[list[tuple[list[int], list[int]]]]:
    """Yield batches of similar length: a pool of pairs is sorted, cut, and shuffled."""
    facts = tuple(f"{prompt} {answer}." for prompt, answer, question in world.training_statements() if not question)
    while True:
        drawn = [draw(rng, facts) for _ in range(BATCH * POOL)]
        sides = [tokenizer([getattr(pair, side) for pair in drawn])["input_ids"] for side in ("source", "target")]
        pool = sorted(zip(*sides, strict=True), key=lambda ids: len(ids[0]) + len(ids[1]))
        cuts = [pool[i : i + BATCH] for i in range(0, len(pool), BATCH)]
        rng.shuffle(cuts)
        yield from cuts


def loss_of(model: Any, batch: list[tuple[list[int], list[int]]]) -> torch.Tensor:
    """Return the mean loss over the targets' tokens, end tokens included."""
    pad = model.config.pad_token_id
    sources, targets = (
        torch.nn.utils.rnn.pad_sequence([torch.tensor(row[side]) for row in batch], batch_first=True, padding_value=pad)
        for side in (0, 1)
    )
    labels = targets.masked_fill(targets == pad, -100)
    loss: torch.Tensor = model(input_ids=sources, attention_mask=(sources != pad).long(), labels=labels).loss
    return loss


def train(
    out: Path,
    *,
    reference: Path,
    seed: int = 0,
    steps: int = STEPS,
    log_every: int = 25,
    on_step: Callable[[int, int], None] | None = None,
) -> None:
    """Train the scorer and write it to `out` with `training_log.jsonl`; about ten minutes of one CPU core.

    Args:
        out: Folder to write: safetensors (bfloat16), configuration, tokenizer and log.
        reference: Folder of the reference model, whose tokenizer is taken.
        seed: Seed of initial weights and of the pairs.
        steps: Optimizer steps; the learning rate is constant for half of them, then falls to zero.
        log_every: Steps between log lines.
        on_step: Called after every step with (steps done, steps in all).
    """
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_for(reference, out)
    model = new_scorer(tokenizer, seed)
    batches = _batches(tokenizer, Random(seed))
    matrices = [p for name, p in model.named_parameters() if p.ndim > 1 and "layers" in name]
    others = [p for name, p in model.named_parameters() if p.ndim == 1 or "layers" not in name]
    optimizers = (
        torch.optim.Muon(matrices, lr=RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=RATE, betas=(0.9, 0.98), weight_decay=0.0),
    )

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / WARM_UP, (1 - step / steps) / DECAY)

    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, rate) for optimizer in optimizers]
    started, sums = time.process_time(), [0.0, 0.0]
    with (out / "training_log.jsonl").open("w", encoding="utf-8") as log:
        for step in range(1, steps + 1):
            loss = loss_of(model, next(batches))
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                schedule.step()
            sums = [sums[0] + loss.item(), sums[1] + 1]
            if step % log_every == 0 or step == steps:
                seconds = round(time.process_time() - started, 1)
                log.write(
                    json.dumps({"step": step, "loss": round(sums[0] / sums[1], 4), "cpu_seconds": seconds}) + "\n"
                )
                log.flush()
                sums = [0.0, 0.0]
            if on_step is not None:
                on_step(step, steps)
    model.bfloat16().save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)
