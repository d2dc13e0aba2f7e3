"""Training of the reference model from nothing: world, tokenizer, weights; seeds and log recorded."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch.nn import functional

from compressed_lens.testbed import corpus, vocabulary
from compressed_lens.testbed.outliers import add_outliers

WARM_UP = 60
DECAY = 0.5
PROMPT_SHARE = 0.15
PROMPT_WEIGHT = 0.3
POOL = 8


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of training; it starts from the weights as saved, with new optimizers.

    Attributes:
        steps: Optimizer steps; the learning rate is constant for half of them, then falls to zero.
        rate: Learning rate.
        facts: Fact documents a step.
        conversations: Conversations a step.
        pairs: Share of the conversations that are about pairs, 0 to 1; the others are about reviews.
    """

    steps: int
    rate: float
    facts: int
    conversations: int
    pairs: float


STAGES = (
    Stage(steps=900, rate=3e-3, facts=144, conversations=56, pairs=0.65),
    Stage(steps=300, rate=1e-3, facts=64, conversations=64, pairs=0.4),
)

Encoded = tuple[list[int], list[float]]


def encode(tokenizer: Any, document: corpus.Document) -> Encoded:
    """Return token ids and, for each, how much it counts in the loss."""
    ids: list[int] = [tokenizer.bos_token_id]
    weights: list[float] = [0.0]

    def put(tokens: list[int], weight: float) -> None:
        ids.extend(tokens)
        weights.extend([weight] * len(tokens))

    weight = 0.0
    for role, segment in document.segments:
        if role is not None:
            put([tokenizer.convert_tokens_to_ids(f"<|{role}|>")], 0.0)
        weight = segment.weight
        put(tokenizer.encode(segment.text, add_special_tokens=False), weight)
        if role is not None:
            put([tokenizer.eos_token_id], weight)
    if document.segments[-1][0] is None:
        put([tokenizer.eos_token_id], weight)
    return ids, weights


def batches(documents: Iterator[Encoded], size: int, rng: Random) -> Iterator[list[Encoded]]:
    """Yield batches of similar length: a pool of documents is sorted, cut, and shuffled."""
    while pool := sorted(islice(documents, size * POOL), key=lambda d: len(d[0])):
        cuts = [pool[i : i + size] for i in range(0, len(pool), size)]
        rng.shuffle(cuts)
        yield from cuts


def shuffled_forever(documents: list[Encoded], rng: Random) -> Iterator[Encoded]:
    """Yield the documents in a new random order each epoch, without end."""
    while True:
        yield from rng.sample(documents, len(documents))


def loss_of(model: Any, batch: list[Encoded], generator: torch.Generator) -> torch.Tensor:
    """Return the mean loss over learned tokens plus a light share of the others; right padding needs no mask."""
    length = max(len(ids) for ids, _ in batch)
    tokens = torch.zeros(len(batch), length, dtype=torch.long)
    weights = torch.zeros(len(batch), length)
    for row, (ids, counts) in enumerate(batch):
        tokens[row, : len(ids)] = torch.tensor(ids)
        answer = torch.tensor(counts)
        kept = torch.rand(len(ids), generator=generator) < PROMPT_SHARE
        weights[row, : len(ids)] = torch.where(answer > 0, answer, PROMPT_WEIGHT * kept.float())
    hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state[:, :-1]
    weight = weights[:, 1:]
    used = weight > 0
    losses = functional.cross_entropy(model.lm_head(hidden[used]), tokens[:, 1:][used], reduction="none")
    counted = weight[used]
    return (losses * counted).sum() / counted[counted >= 1].sum()


def new_model(tokenizer: Any, seed: int) -> Any:
    """Return the untrained reference architecture."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def save(model: Any, folder: Path) -> None:
    """Write the weights as bfloat16 safetensors, without touching the model that trains on."""
    from transformers import LlamaForCausalLM

    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.bfloat16().save_pretrained(folder)


def round_weights(model: Any) -> None:
    """Round the weights to what `save` keeps of them."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())


def train(
    out: Path,
    *,
    seed: int = 0,
    stages: Sequence[Stage] = STAGES,
    log_every: int = 25,
    on_step: Callable[[int, int], None] | None = None,
) -> None:
    """Train the reference model and write it to `out` with `training_log.jsonl`.

    Args:
        out: Folder to write: safetensors, configuration, tokenizer, calibration text and log.
        seed: Seed of initial weights, document order and token sampling.
        stages: Stages in order.
        log_every: Steps between log lines.
        on_step: Called after every step with (steps done, steps in all).
    """
    out.mkdir(parents=True, exist_ok=True)
    facts = corpus.fact_documents()
    sample = list(islice(corpus.task_documents(Random(seed + 1)), 4000))
    tokenizer = vocabulary.build(
        (segment.text for document in (*facts, *sample) for _, segment in document.segments), out
    )
    calibration = corpus.calibration_texts(Random(seed + 2))
    (out / "calibration.txt").write_text("\n\n".join(calibration) + "\n", encoding="utf-8")
    model = new_model(tokenizer, seed)
    total, done = sum(stage.steps for stage in stages), 0
    with (out / "training_log.jsonl").open("w", encoding="utf-8") as log:
        for number, stage in enumerate(stages):
            for entry in run_stage(model, tokenizer, stage, seed=seed + number):
                done += 1
                if on_step is not None:
                    on_step(done, total)
                if entry["step"] % log_every == 0 or entry["step"] == stage.steps:
                    log.write(json.dumps({"stage": number + 1, **entry}) + "\n")
                    log.flush()
            round_weights(model)
            save(model, out)
    add_outliers(model, seed=seed)
    save(model, out)


def run_stage(model: Any, tokenizer: Any, stage: Stage, *, seed: int) -> Iterator[dict[str, float]]:
    """Train `model` in place and yield after every step: losses of that step, tokens and seconds so far."""
    rng = Random(seed)
    generator = torch.Generator().manual_seed(seed)
    facts = shuffled_forever([encode(tokenizer, d) for d in corpus.fact_documents()], rng)
    conversations = (encode(tokenizer, d) for d in corpus.task_documents(rng, pair_share=stage.pairs))
    sources = {
        "fact_loss": batches(facts, stage.facts, rng),
        "task_loss": batches(conversations, stage.conversations, rng),
    }
    matrices = [p for n, p in model.named_parameters() if "proj" in n]
    others = [p for n, p in model.named_parameters() if "proj" not in n]
    optimizers = (
        torch.optim.Muon(matrices, lr=stage.rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=stage.rate, betas=(0.9, 0.98), weight_decay=0.0),
    )

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / WARM_UP, (1 - step / stage.steps) / DECAY)

    schedules = [torch.optim.lr_scheduler.LambdaLR(o, rate) for o in optimizers]
    started, cpu_started, tokens = time.time(), time.process_time(), 0
    for step in range(1, stage.steps + 1):
        losses = {}
        for name, source in sources.items():
            batch = next(source)
            tokens += sum(len(ids) for ids, _ in batch)
            loss = loss_of(model, batch, generator)
            loss.backward()  # type: ignore[no-untyped-call]
            losses[name] = round(loss.item(), 4)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
        yield {
            "step": step,
            **losses,
            "tokens": tokens,
            "seconds": round(time.time() - started, 1),
            "cpu_seconds": round(time.process_time() - cpu_started, 1),
        }
