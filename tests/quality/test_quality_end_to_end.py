"""Quality with real models: against one text at a time; each (scorer, text) pair once, whatever variant wrote it."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from compressed_lens.analyses import create
from compressed_lens.analyses.base import Analysis, Record
from compressed_lens.engine import Engine, Job, MemoryCache
from compressed_lens.explanations import prompting
from compressed_lens.lm.locate import locate_model
from compressed_lens.lm.protocol import Answering
from compressed_lens.tasks import Task, load_task

if TYPE_CHECKING:
    from compressed_lens.lm.hf import HFModel
    from compressed_lens.lm.seq2seq import Seq2SeqModel

ITEMS = 6


@pytest.fixture(scope="module")
def reviews() -> Task:
    return load_task("testbed-reviews", limit=ITEMS)


@pytest.fixture(scope="module")
def reference(load_model: Callable[[Path], HFModel]) -> HFModel:
    return load_model(locate_model("reference"))


@pytest.fixture(scope="module")
def random_bart(tmp_path_factory: pytest.TempPathFactory) -> Seq2SeqModel:
    """A random BART of width 16 with large weights, so that its log-probabilities differ."""
    from transformers import BartConfig, BartForConditionalGeneration

    from compressed_lens.lm.seq2seq import Seq2SeqModel
    from compressed_lens.testbed.scorer import tokenizer_for

    torch = pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("bart")
    tokenizer = tokenizer_for(locate_model("reference"), folder)
    torch.manual_seed(3)
    ends: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "decoder_start_token_id": 2}
    layers: dict[str, Any] = {
        f"{side}_{what}": 2 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")
    }
    config = BartConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=256,
        init_std=0.5,
        forced_eos_token_id=2,
        **layers,
        **ends,
    )
    BartForConditionalGeneration(config).save_pretrained(folder)
    return Seq2SeqModel.load(folder, device="cpu")


def run(model: Answering, task: Task, analysis: Analysis, **kwargs: Any) -> tuple[dict[str, Record], Engine]:
    engine, records = Engine(model, **kwargs), dict[str, Record]()
    jobs = [Job(key=i.id, analysis=analysis, task=task, item=i) for i in task.items]
    engine.run(jobs, lambda job, record: records.update({job.item.id: record}))
    assert len(records) == len(task.items)
    assert all(record.failed is None for record in records.values())
    return records, engine


def test_bartscore_is_that_of_one_pair_at_a_time(reference: HFModel, random_bart: Seq2SeqModel, reviews: Task) -> None:
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(Path(random_bart.module.config.name_or_path))

    def alone(source: str, target: str) -> float:
        ids, labels = (torch.tensor([tokenizer(text)["input_ids"]]) for text in (source, target))
        logits = random_bart.module(input_ids=ids, labels=labels).logits[0].double().log_softmax(-1)
        assert labels[0, -1] == tokenizer.eos_token_id
        return float(logits.gather(1, labels[0][:, None]).mean())

    records, _ = run(reference, reviews, create("bartscore"), others=lambda _: random_bart)
    scored = 0
    for item in reviews.items:
        values = records[item.id].values
        if values["unscored"]:
            continue
        scored += 1
        text, wanted = str(values["text"]), item.references[0]
        assert values["source_to_text"] == pytest.approx(alone(prompting.shown(item), text), abs=1e-4)
        assert values["reference_to_text"] == pytest.approx(alone(wanted, text), abs=1e-4)
        assert values["text_to_reference"] == pytest.approx(alone(text, wanted), abs=1e-4)
    assert scored >= ITEMS - 2


def test_perplexity_is_that_of_one_forward_pass(reference: HFModel, reviews: Task) -> None:
    import torch

    for of in ("explanation", "counterfactual"):
        records, _ = run(reference, reviews, create("perplexity", {"of": of}), others=lambda _: reference)
        scored = [record.values for record in records.values() if not record.values["unscored"]]
        assert len(scored) >= ITEMS - 3
        for values in scored:
            ids = reference.tokenizer(str(values["text"]))["input_ids"]
            assert ids[0] == reference.tokenizer.bos_token_id
            with torch.no_grad():
                logits = reference.module(torch.tensor([ids])).logits[0].double().log_softmax(-1)
            nll = -float(sum(logits[place - 1, ids[place]] for place in range(1, len(ids))))
            assert values["nll"] == pytest.approx(nll, abs=1e-3)
            assert values["tokens"] == len(ids) - 1
            assert values["perplexity"] == pytest.approx(math.exp(nll / (len(ids) - 1)), rel=1e-4)


def test_similarity_is_that_of_mean_last_states(reference: HFModel, reviews: Task) -> None:
    import torch

    def embedded(text: str) -> torch.Tensor:
        ids = torch.tensor([reference.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            states: torch.Tensor = reference.module(ids, output_hidden_states=True).hidden_states[-1]
        return states[0, 1:].double().mean(0)

    records, _ = run(reference, reviews, create("similarity"), others=lambda _: reference)
    scored = 0
    for item in reviews.items:
        values = records[item.id].values
        if not values["unscored"]:
            scored += 1
            pair = embedded(str(values["text"])), embedded(item.fields["review"])
            assert values["similarity"] == pytest.approx(float(torch.cosine_similarity(*pair, dim=0)), abs=1e-4)
    assert scored >= ITEMS - 3


def test_tigerscore_of_a_model_that_cannot_list_errors_is_unparsed(reference: HFModel, reviews: Task) -> None:
    analysis = create("tigerscore", {"max_new_tokens": 8})
    records, _ = run(reference, reviews, analysis, others=lambda _: reference)
    assert any(record.values.get("unparsed") for record in records.values())
    for record in records.values():
        assert record.values["unscored"] or record.values["unparsed"] == (record.values.get("tigerscore") is None)


def variant(folder: Path, out: Path, *, noise: float) -> Path:
    """Copy the reference model under another fingerprint, its weights disturbed by `noise` standard deviations."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, out)
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, "made_for": "a test"}))
    if noise:
        generator = torch.Generator().manual_seed(0)
        weights = load_file(out / "model.safetensors")
        for name, weight in weights.items():
            drawn = torch.randn(weight.shape, generator=generator)
            weights[name] = (weight.float() + noise * weight.float().std() * drawn * ("proj" in name)).to(weight.dtype)
        save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    return out


@pytest.fixture(scope="module")
def variants(reference: HFModel, tmp_path_factory: pytest.TempPathFactory) -> list[HFModel]:
    """The reference model, the same function under another fingerprint, and a damaged one."""
    from compressed_lens.lm.hf import HFModel

    folder, out = locate_model("reference"), tmp_path_factory.mktemp("variants")
    made = [HFModel.load(variant(folder, out / str(noise), noise=noise), device="cpu") for noise in (0.0, 0.35)]
    assert len({model.fingerprint for model in (reference, *made)}) == len(made) + 1
    return [reference, *made]


@pytest.mark.parametrize("name", ["bartscore", "perplexity", "similarity"])
def test_each_text_is_scored_once_whatever_variant_wrote_it(
    name: str, variants: list[HFModel], random_bart: Seq2SeqModel, reviews: Task
) -> None:
    scorer: Any = random_bart if name == "bartscore" else variants[0]
    # Edits of the damaged model are often faulty: every text counts here.
    analysis = create(name, {"scorer": "judge", "which": "any"})
    cache, known = MemoryCache(), set[tuple[str, ...]]()
    new = []
    for model in variants:
        records, engine = run(model, reviews, analysis, cache=cache, others=lambda _: scorer)
        wanted: set[tuple[str, ...]] = set()
        for item in reviews.items:
            text = str(records[item.id].values["text"])
            if not records[item.id].values["unscored"]:
                wanted_text = item.references[0]
                asked: dict[str, set[tuple[str, ...]]] = {
                    "bartscore": {(prompting.shown(item), text), (wanted_text, text), (text, wanted_text)},
                    "perplexity": {(text,)},
                    "similarity": {(text,), (item.fields["review"],)},
                }
                wanted |= asked[name]
        # Every variant answers for itself: a label and a text an item. All else is the scorer's.
        assert engine.ledger.executed_requests - 2 * ITEMS == len(wanted - known)
        new.append(len(wanted - known))
        known |= wanted
    assert new[0] > 0
    assert new[1] == 0
    assert new[2] > 0


def test_bartscore_by_the_shipped_scorer_prefers_explanations_of_the_right_item(
    reference: HFModel, reviews: Task
) -> None:
    from compressed_lens.lm.seq2seq import Seq2SeqModel

    scorer = Seq2SeqModel.load(locate_model("testbed-scorer"), device="cpu")
    moved = [*reviews.items[1:], reviews.items[0]]
    wrong = replace(
        reviews, items=tuple(replace(i, references=j.references) for i, j in zip(reviews.items, moved, strict=True))
    )
    right, other = (run(reference, task, create("bartscore"), others=lambda _: scorer)[0] for task in (reviews, wrong))
    for item in reviews.items:
        if not right[item.id].values["unscored"]:
            assert cast(float, right[item.id].values["bartscore"]) > cast(float, other[item.id].values["bartscore"]) + 1
