"""A judge for tests: the reference model with a few rows of its output layer changed, so that it writes a rating."""

from __future__ import annotations

from pathlib import Path

from compressed_lens.explanations import prompting
from compressed_lens.judging.rating import DIMENSIONS
from compressed_lens.judging.ratings import RATINGS
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.locate import locate_model
from compressed_lens.tasks import load_task

_STRENGTH = 40.0


def write_judge(folder: Path, *, seed: int = 0) -> Path:
    """Write the model folder of a judge that answers " 1" to " 5", depending on what it reads.

    The output row of the blank is laid along the mean final state after a rating prompt, those of the digits along the
    mean final state after the blank, each with an own part that tells apart what was read.
    """
    import torch

    model = HFModel.load(locate_model("reference"), device="cpu")
    module, tokenizer = model.module, model.tokenizer
    task = load_task("testbed-reviews", limit=12)
    prompts = [
        prompting.rate(task, item, label, f"The word {label} drives it.", kind="explanation", dimension=dimension)
        for item in task.items
        for label in task.labels_of(item)[:2]
        for dimension in DIMENSIONS
    ]
    blank, *digits = (tokenizer.convert_tokens_to_ids(piece) for piece in ("\u0120", *RATINGS))
    with torch.no_grad():
        first, second = [], []
        for prompt in prompts:
            ids = model.encode(prompt)
            states = module.model(torch.tensor([[*ids, blank]])).last_hidden_state[0]
            first.append(states[-2])
            second.append(states[-1])
        before, after = torch.stack(first), torch.stack(second)
        split = before.mean(0) - after.mean(0)
        split = split / split.norm()
        middle = float(split @ (before.mean(0) + after.mean(0))) / 2
        half = float(split @ before.mean(0)) - middle
        head = module.get_output_embeddings()
        assert head is not None
        weight = head.weight.data.clone()
        # The deviations from the mean, along their main directions, decide which digit it is.
        _, _, directions = torch.linalg.svd(after - after.mean(0), full_matrices=False)
        generator = torch.Generator().manual_seed(seed)
        steady = after.mean(0) / after.mean(0).norm()
        spread = (after - after.mean(0)) @ directions[:8].T
        own = torch.randn(len(digits), 8, generator=generator) / spread.std(0)
        weight[blank] = split * _STRENGTH / half
        for row, digit in zip(own, digits, strict=True):
            toward = row @ directions[:8]
            weight[digit] = (
                -split * _STRENGTH / half
                + toward
                - steady * float(toward @ after.mean(0)) / float(after.mean(0).norm())
            )
        head.weight = torch.nn.Parameter(weight)
        module.config.tie_word_embeddings = False
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
