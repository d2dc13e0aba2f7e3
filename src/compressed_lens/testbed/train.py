"""Training of the reference model from nothing: world, tokenizer, weights; seeds and log recorded."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch.nn import functional

from compressed_lens.testbed import corpus, vocabulary
from compressed_lens.testbed.outliers import add_outliers

STEPS = 900
FACTS_PER_STEP = 144
TASKS_PER_STEP = 56
MATRIX_RATE = 3e-3
VECTOR_RATE = 3e-3
WARM_UP = 60
DECAY = 0.5
PROMPT_SHARE = 0.15
PROMPT_WEIGHT = 0.3
POOL = 8

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


def train(
    out: Path,
    *,
    seed: int = 0,
    steps: int = STEPS,
    log_every: int = 25,
    save_every: int = 150,
    on_step: Callable[[int, int], None] | None = None,
) -> None:
    """Train the reference model and write it to `out` with `training_log.jsonl`.

    Args:
        out: Folder to write: safetensors, configuration, tokenizer, calibration text and log.
        seed: Seed of initial weights, document order and token sampling.
        steps: Optimizer steps; the learning rate is constant for half of them, then falls to zero.
        log_every: Steps between log lines.
        save_every: Steps between saved intermediate weights.
        on_step: Called after every step with (steps done, steps in all).
    """
    out.mkdir(parents=True, exist_ok=True)
    rng = Random(seed)
    generator = torch.Generator().manual_seed(seed)
    facts = corpus.fact_documents()
    sample = list(islice(corpus.task_documents(Random(seed + 1)), 4000))
    tokenizer = vocabulary.build(
        (segment.text for document in (*facts, *sample) for _, segment in document.segments), out
    )
    calibration = corpus.calibration_texts(Random(seed + 2))
    (out / "calibration.txt").write_text("\n\n".join(calibration) + "\n", encoding="utf-8")
    model = new_model(tokenizer, seed)
    fact_batches = batches(shuffled_forever([encode(tokenizer, d) for d in facts], rng), FACTS_PER_STEP, rng)
    task_batches = batches((encode(tokenizer, d) for d in corpus.task_documents(rng)), TASKS_PER_STEP, rng)
    matrices = [p for n, p in model.named_parameters() if "proj" in n]
    others = [p for n, p in model.named_parameters() if "proj" not in n]
    optimizers = (
        torch.optim.Muon(matrices, lr=MATRIX_RATE, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=VECTOR_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    )

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / WARM_UP, (1 - step / steps) / DECAY)

    schedules = [torch.optim.lr_scheduler.LambdaLR(o, rate) for o in optimizers]
    started, cpu_started, tokens = time.time(), time.process_time(), 0
    sums = [0.0, 0.0]
    with (out / "training_log.jsonl").open("w", encoding="utf-8") as log:
        for step in range(1, steps + 1):
            for i, source in enumerate((fact_batches, task_batches)):
                batch = next(source)
                tokens += sum(len(ids) for ids, _ in batch)
                loss = loss_of(model, batch, generator)
                loss.backward()  # type: ignore[no-untyped-call]
                sums[i] += loss.item()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                schedule.step()
            if on_step is not None:
                on_step(step, steps)
            if step % log_every == 0 or step == steps:
                entry = {
                    "step": step,
                    "fact_loss": round(sums[0] / log_every, 4),
                    "task_loss": round(sums[1] / log_every, 4),
                    "tokens": tokens,
                    "seconds": round(time.time() - started, 1),
                    "cpu_seconds": round(time.process_time() - cpu_started, 1),
                }
                sums = [0.0, 0.0]
                log.write(json.dumps(entry) + "\n")
                log.flush()
            if step % save_every == 0:
                save(model, out)
    add_outliers(model, seed=seed)
    save(model, out)
