"""Scoring of multi-token options: shared prefix against the plain way, side by side in one run.

The plain way runs prompt and option together as one row for every option, in right-padded batches, and takes the
log-softmax of every position (as lm-evaluation-harness does on Hugging Face models). Both are timed in turns, so that
a busy machine disturbs them alike; medians of CPU seconds are printed, with forward tokens, which no machine disturbs.

    PYTHONPATH=src:. python benchmarks/scoring.py [--model reference] [--documents 20] [--repeats 5] [--batch 8]
"""

from __future__ import annotations

import argparse
import statistics

import torch
from benchmarks.measuring import seconds

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Prompt, Score

WORDS = "the river runs past an old stone bridge where people from the small town sell bread and red apples".split()
OPTIONS = (
    "it is certainly true",
    "it is probably not true",
    "there is no way to tell",
    "the text says nothing about it",
)


def documents(count: int, words: int) -> list[Prompt]:
    """Return prompts that differ from their first word on."""
    return [
        Prompt(text=" ".join(WORDS[(i * 7 + n * (1 + i % 3)) % len(WORDS)] for n in range(words)) + ". So:")
        for i in range(count)
    ]


def plain(model: HFModel, requests: list[Score], batch: int) -> tuple[list[float], int]:
    """Return log-probabilities one row an option, and the number of tokens run."""
    rows = []
    for request in requests:
        size = len(model.encode(request.prompt))
        for option in request.continuations:
            rows.append((model.encode(Prompt(text=request.prompt.text, prefill=option)), size))
    found, tokens = [], 0
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        width = max(len(ids) for ids, _ in part)
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row, _ in part])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row, _ in part])
        with torch.no_grad():
            logits = model.module(input_ids=ids, attention_mask=mask, use_cache=False).logits.float().log_softmax(-1)
        for place, (row, size) in enumerate(part):
            found.append(sum(float(logits[place, n - 1, row[n]]) for n in range(size, len(row))))
            tokens += len(row)
    return found, tokens


def shared(model: HFModel, requests: list[Score]) -> tuple[list[float], int]:
    """Return log-probabilities from our door, and the number of tokens run."""
    before = model.forward_tokens
    found = [value for scores in model.score(requests) for value in scores.log_probabilities]
    return found, model.forward_tokens - before


def main() -> None:
    """Run the benchmark and print one line a way, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="reference")
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--words", type=int, default=120)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8, help="rows of a batch of the plain way")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = HFModel.load(locate_model(options.model), device="cpu")
    requests = [Score(prompt=p, continuations=OPTIONS) for p in documents(options.documents, options.words)]
    sizes = [len(model.encode(request.prompt)) for request in requests]
    (theirs, plain_tokens), (ours, shared_tokens) = plain(model, requests, options.batch), shared(model, requests)
    difference = max(abs(a - b) for a, b in zip(theirs, ours, strict=True))
    slow, fast = [], []
    for _ in range(options.repeats):
        slow.append(seconds(lambda: plain(model, requests, options.batch)))
        fast.append(seconds(lambda: shared(model, requests)))
    print(f"{len(requests)} prompts of {statistics.mean(sizes):.0f} tokens, {len(OPTIONS)} options each")
    print(f"plain          {statistics.median(slow):7.3f} CPU s   {plain_tokens:7d} forward tokens")
    print(f"shared prefix  {statistics.median(fast):7.3f} CPU s   {shared_tokens:7d} forward tokens")
    print(f"ratio          {statistics.median(slow) / statistics.median(fast):7.2f}          ", end="")
    print(f"{plain_tokens / shared_tokens:9.2f}")
    print(f"largest difference of a log-probability: {difference:.1e}")


if __name__ == "__main__":
    main()
