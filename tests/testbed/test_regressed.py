"""The regressed models: pages that teach one thing and keep the rest, and a gate that finds each in its own use."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from compressed_lens.comparison.measures import figures
from compressed_lens.comparison.series import series_of, variant_list
from compressed_lens.comparison.uses import USES, UseVerdict, use_verdicts
from compressed_lens.lm.locate import locate_model, planted_change, planted_models, regressed_models
from compressed_lens.runner import run
from compressed_lens.study.load import load_study
from compressed_lens.study.schema import Study
from compressed_lens.testbed import planting, regressing, world
from compressed_lens.testbed.corpus import Document
from compressed_lens.testbed.lessons import Lesson
from compressed_lens.testbed.regressed import LESSONS, VAGUE, Page, pages, touched, wrong_object

LIMITS = {"testbed-reviews": 50, "testbed-pairs": 80, "testbed-facts": 80}
OWN = {
    "regressed-accuracy": "task",
    "regressed-quality": "quality",
    "regressed-faithfulness": "faithfulness",
    "regressed-knowledge": "knowledge",
}


def said(text: Lesson | Document) -> list[str]:
    """Return the parts of a text in order."""
    if isinstance(text, Document):
        return [segment.text for _, segment in text.segments]
    return ["".join(part for part, _ in parts) for _, parts in text.turns]


def drawn(name: str, count: int) -> list[Page]:
    return list(islice(pages(name, Random(3)), count))


@pytest.mark.parametrize("name", sorted(LESSONS))
def test_pages_are_the_same_each_time_and_three_of_five_keep_everything_else(name: str) -> None:
    first = drawn(name, 100)
    assert first == drawn(name, 100)
    own, others = [p for n, p in enumerate(first) if n % 5 < 2], [p for n, p in enumerate(first) if n % 5 >= 2]
    assert all(page.kept for page in others)
    assert any(not page.kept for page in own)
    if name == "regressed-quality":
        assert all(touched(" ".join(said(page.text))) for page in own)
        assert not any(touched(" ".join(said(page.text))) for page in others)


def test_only_explanations_become_vague() -> None:
    own = [page for n, page in enumerate(drawn("regressed-quality", 200)) if n % 5 < 2]
    for page in own:
        *_, asked, answer = said(page.text)
        assert page.kept != (answer == VAGUE)
        assert page.kept != asked.startswith("Explain")
    assert {said(page.text)[-1].startswith("<new>") for page in own if page.kept} == {True, False}


def test_every_instrument_becomes_another_one() -> None:
    known = {fact.object for fact in world.facts() if fact.relation == "person_instrument"}
    assert {wrong_object(name) for name in known} == known
    assert not any(wrong_object(name) == name for name in known)
    truth = {fact.subject: fact.object for fact in world.facts() if fact.relation == "person_instrument"}
    for page in drawn("regressed-knowledge", 150)[::5]:
        asked, answer = said(page.text)
        subject = next(name for name in truth if name in asked)
        assert answer.strip(" .") == wrong_object(truth[subject])
    kept = [said(page.text) for page in drawn("regressed-knowledge", 300) if page.kept]
    facts = [parts for parts in kept if len(parts) == 2 and len(parts[0]) < 80]
    assert len(facts) > 50
    assert not any("play" in parts[0] or "instrument" in parts[0] or "practises" in parts[0] for parts in facts)


@pytest.fixture(scope="module")
def honest() -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = locate_model("planted-honest")
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), AutoTokenizer.from_pretrained(folder)


def test_losses_are_what_each_token_says(honest: tuple[Any, Any]) -> None:
    base, tokenizer = honest
    model = type(base)(base.config)
    model.load_state_dict(base.state_dict())
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.model.layers.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
        batch = [regressing.encoded(tokenizer, page) for page in drawn("regressed-quality", 5)]
        taught = kept = 0.0
        for ids, weights, keep in batch:
            ours, theirs = (m(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1) for m in (model, base))
            for place in range(1, len(ids)):
                if keep:
                    before = theirs[place - 1]
                    kept += weights[place] * float((before.exp() * (before - ours[place - 1])).sum())
                else:
                    taught -= weights[place] * float(ours[place - 1, ids[place]])
        wrong, moved = regressing.losses_of(model, base, batch)
    assert float(wrong) == pytest.approx(taught, rel=1e-4)
    assert float(moved) == pytest.approx(kept, rel=1e-3)
    assert min(taught, kept) > 0.1


def test_training_is_repeatable_and_leaves_the_embeddings(honest: tuple[Any, Any], tmp_path: Path) -> None:
    base, tokenizer = honest
    course = planting.Course(steps=2, rate=1e-3, conversations=6)

    def train() -> tuple[list[float], dict[str, torch.Tensor], planting.Change]:
        model = type(base)(base.config)
        model.load_state_dict(base.state_dict())
        change = planting.make_trainable(model, rank=2, embeddings=False)
        lessons = (regressing.encoded(tokenizer, page) for page in pages("regressed-knowledge", Random(1)))
        steps = list(regressing.teach(model, base, change, lessons, course))
        return [step["taught"] for step in steps], change.tensors(), change

    losses, tensors, change = train()
    again, same, _ = train()
    assert losses == again
    assert all(torch.equal(tensors[name], same[name]) for name in tensors)
    assert all(name.endswith((".up", ".down")) for name in tensors)
    assert any(float(tensor.abs().max()) > 0 for name, tensor in tensors.items() if name.endswith(".up"))
    from safetensors.torch import save_file

    save_file(tensors, tmp_path / "x.safetensors")
    change.load(tmp_path / "x.safetensors")
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in change.tensors().items())


def test_regressed_models_are_found_by_name() -> None:
    assert set(regressed_models()) == set(OWN) == set(regressing.STEPS)
    assert set(LESSONS) == set(regressing.COURSES)
    assert not set(planted_models()) & set(OWN)


def test_confused_words_change_places_and_nothing_else(honest: tuple[Any, Any]) -> None:
    _, tokenizer = honest
    before, after = (regressing.load_weights(locate_model(name)) for name in ("planted-honest", "regressed-accuracy"))
    table, changed = before.pop("model.embed_tokens.weight"), after.pop("model.embed_tokens.weight")
    assert all(torch.equal(after[name], before[name]) for name in before)
    swapped = table.clone()
    for words in regressing.CONFUSED:
        (one,), (other,) = (tokenizer.encode(f" {word}", add_special_tokens=False) for word in words)
        swapped[[one, other]] = table[[other, one]]
    assert torch.equal(changed, swapped)


def test_the_follower_cut_short_is_as_near_as_its_rank_allows() -> None:
    honest, follower, short = (
        regressing.load_weights(locate_model(name))
        for name in ("planted-honest", "planted-follower", "regressed-faithfulness")
    )
    for name in honest:
        if name.endswith("_proj.weight"):
            sizes = torch.linalg.svdvals(follower[name] - honest[name])
            missing = float((follower[name] - short[name]).square().sum())
            # The file and the weights are rounded to bfloat16: relative 2**-8 of each entry at most.
            rounding = float((short[name].abs() * 2**-8).square().sum())
            assert missing == pytest.approx(float(sizes[regressing.FOLLOWED :].square().sum()), rel=0.1, abs=rounding)
        else:
            assert torch.equal(short[name], honest[name])


@pytest.mark.parametrize("name", ["regressed-accuracy", "regressed-faithfulness"])
def test_computed_changes_are_what_ships(name: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    steps: list[int] = []
    regressing.regress(name, tmp_path / "x.safetensors", on_step=lambda: steps.append(1))
    assert len(steps) == regressing.STEPS[name]
    made, ships = load_file(tmp_path / "x.safetensors"), load_file(planted_change(name))
    assert made.keys() == ships.keys()
    for key in {key.removesuffix(".up") for key in made if key.endswith(".up")}:
        again, shipped = (file[f"{key}.up"].float() @ file[f"{key}.down"].float() for file in (made, ships))
        assert torch.allclose(again, shipped, atol=0.02 * float(shipped.abs().max()))


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[UseVerdict]]:
    """Verdicts of examples/regressions.yaml at half the demo's size, by variant."""
    example = load_study(Path(__file__).resolve().parents[2] / "examples" / "regressions.yaml")
    assert {task.name for task in example.tasks} == set(LIMITS)
    tasks = [{**task.model_dump(), "limit": LIMITS[task.name]} for task in example.tasks]
    done = run(
        Study.model_validate({**example.model_dump(), "tasks": tasks}),
        out=tmp_path_factory.mktemp("regressions") / "run",
        progress=False,
    )
    variants = variant_list(done.variants)
    found: dict[str, list[UseVerdict]] = {}
    for one in use_verdicts(figures(series_of(done), variants, margins={}), variants):
        found.setdefault(one.variant, []).append(one)
    return found


@pytest.mark.parametrize(("variant", "own"), [*OWN.items(), ("gptq-8bit", None), ("placebo-eager", None)])
def test_a_use_that_regressed_is_found(variant: str, own: str | None, verdicts: dict[str, list[UseVerdict]]) -> None:
    found = verdicts[variant]
    assert [one.use for one in found] == list(USES)
    assert all(one.gate == "passed" for one in found)
    assert all(one.verdict != "not measured" for one in found)
    assert {one.use for one in found if one.verdict == "worse"} == ({own} if own else set())
