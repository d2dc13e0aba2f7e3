"""The prefix tree against the plain ways, side by side in one run.

Two families of prompts that share much are scored: all cuts of a chain of thought, and insertions of one word into a
text. One by one runs a row for every prompt and label; batched runs the prompts sorted by length, labels branching off;
the tree runs every distinct token once. All are timed in turns, so that a busy machine disturbs them alike; medians of
CPU seconds are printed, with forward tokens, which no machine disturbs.

    python benchmarks/prefix_tree.py [--model reference] [--repeats 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
from random import Random

import torch

from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Message, Prompt, Score

WORDS = "the river runs past an old stone bridge where people from the small town sell bread and red apples".split()
TASK = "Is the opinion of the text positive or negative? Answer with one word."
LABELS = ("positive", "negative")


def prompt(text: str, thoughts: str = "") -> Prompt:
    """Return a conversation about `text`, with thoughts already in the answer."""
    answer = f"{thoughts} So the answer is:" if thoughts else ""
    return Prompt(messages=(Message(role="user", content=f"{TASK}\n\nText: {text}"),), prefill=answer)


def cuts(count: int) -> list[Score]:
    """Return the question after each of `count` cuts of one chain of thought, a word apart."""
    words = (WORDS * (count // len(WORDS) + 1))[:count]
    asked = [prompt("a long and slow film with a good end", "Well, " + " ".join(words[:n])) for n in range(count)]
    return [Score(prompt=one, continuations=LABELS) for one in asked]


def insertions(count: int, length: int) -> list[Score]:
    """Return the question about a text with one more word, at `count` places chosen by lot."""
    dice = Random(0)
    words = [dice.choice(WORDS) for _ in range(length)]
    found = []
    for _ in range(count):
        place = dice.randrange(1, length)
        edited = [*words[:place], dice.choice(("really", "not", "quite", "hardly")), *words[place:]]
        found.append(Score(prompt=prompt(" ".join(edited)), continuations=LABELS))
    return found


def run(model: HFModel, requests: list[Score]) -> tuple[list[float], int, float]:
    """Return log-probabilities, forward tokens and CPU seconds."""
    before, start = model.forward_tokens, time.process_time()
    found = [value for scores in model.score(requests) for value in scores.log_probabilities]
    return found, model.forward_tokens - before, time.process_time() - start


def ways_of(model: HFModel) -> dict[str, HFModel]:
    """Return the same model for each way."""
    alone = HFModel(model.module, model.tokenizer, weights="", rule="strict")
    batched = HFModel(model.module, model.tokenizer, weights="")
    batched._passes.trees = False
    return {"one by one": alone, "batched": batched, "tree": model}


def main() -> None:
    """Run both families and print a table for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="reference")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    ways = ways_of(HFModel.load(locate_model(options.model), device="cpu"))
    families = {"66 cuts of a chain of thought": cuts(66), "64 insertions into 60 words": insertions(64, 60)}
    for name, requests in families.items():
        first = {way: run(model, requests) for way, model in ways.items()}
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(options.repeats):
            for way, model in ways.items():
                times[way].append(run(model, requests)[2])
        slow, most = statistics.median(times["one by one"]), first["one by one"][1]
        print(f"{name}, {len(LABELS)} labels each")
        for way in ways:
            found, tokens, _ = first[way]
            difference = max(abs(a - b) for a, b in zip(found, first["one by one"][0], strict=True))
            middle = statistics.median(times[way])
            print(f"  {way:10s} {middle:7.3f} CPU s ({slow / middle:5.2f}x)", end="")
            print(f"   {tokens:6d} forward tokens ({most / tokens:5.2f}x)   largest difference {difference:.1e}")


if __name__ == "__main__":
    main()
