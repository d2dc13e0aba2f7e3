"""The door against one-by-one plain forwards, on a trained Llama, a random Llama and a random GPT-2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compressed_lens.errors import ModelError
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.protocol import Generate, LanguageModel, Prompt, Score
from compressed_lens.lm.text import join

ALONE, TOGETHER = 1, 1 << 20
OPTIONS = ("good", "bad", "neither of the two", "neither", "good film", "", "日本")
LIMIT = 8
TOLERANCE = 1e-4


def with_ends(model: HFModel, ends: list[int]) -> HFModel:
    """The same weights, with other end tokens in the generation settings."""
    import copy

    module = copy.copy(model.module)
    module.generation_config = copy.deepcopy(module.generation_config)
    module.generation_config.eos_token_id = ends
    return HFModel(module, model.tokenizer, weights="with ends")


def test_it_is_a_language_model(model: HFModel) -> None:
    assert isinstance(model, LanguageModel)


@pytest.mark.parametrize("batch_tokens", [300, TOGETHER])
def test_answers_are_those_of_plain_greedy_decoding(
    model: HFModel, oracle: Any, prompts: list[Prompt], batch_tokens: int
) -> None:
    answers = model.generate(
        [Generate(prompt=p, max_new_tokens=1 + i % LIMIT) for i, p in enumerate(prompts)], batch_tokens=batch_tokens
    )
    ends = model._decoder._ends
    for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ids = model.encode(prompt)
        new = oracle.greedy(ids, 1 + i % LIMIT, tuple(ends))
        assert answer.tokens == len(new)
        assert answer.finished == (new[-1] in ends)
        decode = model.tokenizer.decode
        whole, before = decode([*ids, *new], skip_special_tokens=True), decode(ids, skip_special_tokens=True)
        assert answer.text == whole.removeprefix(before)


def test_rows_that_end_leave_the_others_alone(model: HFModel, oracle: Any, prompts: list[Prompt]) -> None:
    prompts = prompts[::2]
    chains = [oracle.greedy(model.encode(p), LIMIT) for p in prompts]
    ends = sorted({chain[2 + i % 4] for i, chain in enumerate(chains[:4])})
    ending = with_ends(model, ends)
    stop = ending._decoder._ends
    requests = [Generate(prompt=p, max_new_tokens=LIMIT) for p in prompts]
    answers = ending.generate(requests, batch_tokens=TOGETHER)
    assert answers == ending.generate(requests, batch_tokens=ALONE)
    lengths = [next((n for n, t in enumerate(chain, 1) if t in stop), LIMIT) for chain in chains]
    assert [a.tokens for a in answers] == lengths
    assert [a.finished for a in answers] == [any(t in stop for t in chain) for chain in chains]
    assert len(set(lengths)) > 1


def test_an_end_token_is_never_part_of_the_text(model: HFModel, oracle: Any) -> None:
    prompt = Prompt(text="The film is")
    chain = oracle.greedy(model.encode(prompt), 4)
    (long,) = model.generate([Generate(prompt=prompt, max_new_tokens=4)])
    (short,) = with_ends(model, [chain[3]]).generate([Generate(prompt=prompt, max_new_tokens=40)])
    last = chain.index(chain[3]) + 1
    assert (short.tokens, short.finished) == (last, True)
    assert long.text.startswith(short.text)
    (three,) = model.generate([Generate(prompt=prompt, max_new_tokens=last - 1)])
    assert short.text == three.text


def test_an_answer_ends_before_a_stop_string(model: HFModel, prompts: list[Prompt]) -> None:
    plain = model.generate([Generate(prompt=p, max_new_tokens=LIMIT) for p in prompts])
    requests, expected = [], []
    for prompt, answer in zip(prompts, plain, strict=True):
        middle = len(answer.text) // 2
        stop = answer.text[middle : middle + 3]
        requests.append(Generate(prompt=prompt, max_new_tokens=LIMIT, stop=(stop, "never seen") if stop else ()))
        expected.append(answer.text[: answer.text.index(stop)])
    for batch_tokens in (ALONE, TOGETHER):
        answers = model.generate(requests, batch_tokens=batch_tokens)
        assert [a.text for a in answers] == expected
        assert all(a.finished for a, r in zip(answers, requests, strict=True) if r.stop)
    assert any(a.tokens < p.tokens for a, p in zip(answers, plain, strict=True))


@pytest.mark.parametrize("batch_tokens", [300, TOGETHER])
def test_scores_are_those_of_plain_forwards(
    model: HFModel, oracle: Any, prompts: list[Prompt], batch_tokens: int
) -> None:
    chosen = prompts[::4]
    found = model.score([Score(prompt=p, continuations=OPTIONS) for p in chosen], batch_tokens=batch_tokens)
    for prompt, scores in zip(chosen, found, strict=True):
        for place, option in enumerate(OPTIONS):
            total, tokens, greedy = oracle.score(prompt, option)
            assert scores.log_probabilities[place] == pytest.approx(total, abs=TOLERANCE)
            assert scores.log_probabilities[place] <= 0
            assert (scores.tokens[place], scores.greedy[place]) == (tokens, greedy)


def test_what_greedy_decoding_gives_is_scored_as_greedy(tiny_llama: HFModel, prompts: list[Prompt]) -> None:
    plain = [p for p in prompts if p.messages and not p.prefill]
    answers = tiny_llama.generate([Generate(prompt=p, max_new_tokens=3) for p in plain])
    scores = tiny_llama.score([Score(prompt=p, continuations=(a.text,)) for p, a in zip(plain, answers, strict=True)])
    same = [
        (s.tokens[0] == a.tokens, s.greedy[0])
        for s, a in zip(scores, answers, strict=True)
        if a.text[:1].strip() and "\ufffd" not in a.text
    ]
    assert (True, True) in same
    assert (True, False) not in same


def test_batches_of_1_and_32_agree(model: HFModel, prompts: list[Prompt]) -> None:
    requests = [Generate(prompt=p, max_new_tokens=LIMIT) for p in prompts]
    assert model.generate(requests, batch_tokens=ALONE) == model.generate(requests, batch_tokens=TOGETHER)
    scores = [Score(prompt=p, continuations=OPTIONS) for p in prompts]
    for one, many in zip(
        model.score(scores, batch_tokens=ALONE), model.score(scores, batch_tokens=TOGETHER), strict=True
    ):
        assert one.log_probabilities == pytest.approx(many.log_probabilities, abs=TOLERANCE)
        assert one.greedy == many.greedy
    torch.testing.assert_close(
        model.next_logits(prompts, batch_tokens=ALONE), model.next_logits(prompts), atol=TOLERANCE, rtol=0
    )


def test_a_prompt_is_computed_once_for_all_its_continuations(tiny_llama: HFModel, prompts: list[Prompt]) -> None:
    prompt = prompts[2]
    size = len(tiny_llama.encode(prompt))
    (scores,) = tiny_llama.score([Score(prompt=prompt, continuations=OPTIONS)])
    before = tiny_llama.forward_tokens
    tiny_llama.score([Score(prompt=prompt, continuations=OPTIONS), Score(prompt=prompt, continuations=OPTIONS[:2])])
    # "neither" and "good" start longer options and ride along; the last token of an option is never read.
    riders = {"neither", "good", ""}
    own = sum(n - 1 for option, n in zip(OPTIONS, scores.tokens, strict=True) if option not in riders)
    assert tiny_llama.forward_tokens - before == size + own


def test_single_token_labels_take_one_pass_over_the_prompt(tiny_llama: HFModel, prompts: list[Prompt]) -> None:
    labels = ("a", "b", "c")
    before = tiny_llama.forward_tokens
    (scores,) = tiny_llama.score([Score(prompt=prompts[2], continuations=labels)])
    assert scores.tokens == (1, 1, 1)
    assert tiny_llama.forward_tokens - before == len(tiny_llama.encode(prompts[2]))


def test_strict_rule_gives_the_same_answers_from_full_rows(model: HFModel, oracle: Any, prompts: list[Prompt]) -> None:
    strict = HFModel(model.module, model.tokenizer, weights="strict", rule="strict")
    assert strict.fingerprint != HFModel(model.module, model.tokenizer, weights="strict").fingerprint
    few = prompts[:6]
    requests = [Generate(prompt=p, max_new_tokens=5) for p in few]
    before = strict.forward_tokens
    answers = strict.generate(requests)
    read = sum(len(strict.encode(p)) + n for p, a in zip(few, answers, strict=True) for n in range(a.tokens))
    assert strict.forward_tokens - before == read
    assert answers == model.generate(requests)
    for prompt, scores in zip(few, strict.score([Score(prompt=p, continuations=OPTIONS) for p in few]), strict=True):
        expected = [oracle.score(prompt, option)[0] for option in OPTIONS]
        assert scores.log_probabilities == pytest.approx(expected, abs=TOLERANCE)


def test_hidden_states(model: HFModel, oracle: Any, prompts: list[Prompt]) -> None:
    last = model.hidden_states(prompts)
    every = model.hidden_states(prompts, layers=[2, 0, -1], positions="all")
    for i, prompt in enumerate(prompts):
        plain = oracle.hidden(prompt)
        torch.testing.assert_close(last[i], plain[:, -1], atol=TOLERANCE, rtol=1e-4)
        torch.testing.assert_close(every[i], plain[[2, 0, -1]], atol=TOLERANCE, rtol=1e-4)


@pytest.mark.parametrize("batch_tokens", [ALONE, TOGETHER])
def test_input_gradients(model: HFModel, oracle: Any, prompts: list[Prompt], batch_tokens: int) -> None:
    chosen = prompts[::3]
    targets = [OPTIONS[i % 5] for i in range(len(chosen))]
    found = model.input_gradients(chosen, targets, batch_tokens=batch_tokens)
    for prompt, target, gradient in zip(chosen, targets, found, strict=True):
        plain = oracle.gradient(prompt, target)
        assert plain.norm() > 1e-4
        torch.testing.assert_close(gradient, plain, atol=TOLERANCE, rtol=1e-4)


def test_gradients_agree_with_finite_differences(tiny_gpt2_folder: Path, prompts: list[Prompt]) -> None:
    model = HFModel.load(tiny_gpt2_folder, device="cpu")
    rendered = model.render(prompts[1])
    ids = join(model.tokenizer, rendered, "good")
    (gradient,) = model.input_gradients([prompts[1]], ["good"])
    module = model.module.double()
    base = module.get_input_embeddings()(torch.tensor([ids])).detach()
    direction = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def total(step: float) -> float:
        moved = base.clone()
        moved[0, : len(rendered.ids)] += step * direction
        with torch.no_grad():
            logits = module(inputs_embeds=moved).logits[0].log_softmax(-1)
        return float(sum(logits[n - 1, ids[n]] for n in range(len(rendered.ids), len(ids))))

    slope = (total(1e-5) - total(-1e-5)) / 2e-5
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-4)


def test_token_log_probabilities(model: HFModel, oracle: Any) -> None:
    texts = ["The capital of France is Paris.", "a", "", "a man walks his dog " * 3]
    for text, found in zip(texts, model.token_log_probabilities(texts), strict=True):
        ids = model.encode(Prompt(text=text)) if text else []
        plain = oracle.logits(ids).log_softmax(-1) if ids else torch.zeros(0, 1)
        expected = torch.tensor([float(plain[n - 1, ids[n]]) for n in range(1, len(ids))])
        torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


def test_texts_longer_than_the_context_are_read_in_overlapping_windows(model: HFModel, oracle: Any) -> None:
    text = "a man in a red coat walks his dog in the park while it rains. " * 36
    ids = model.encode(Prompt(text=text))
    size = model.context_length
    assert size is not None
    assert len(ids) > 2 * size
    (found,) = model.token_log_probabilities([text])
    assert found.shape == (len(ids) - 1,)
    end = size
    expected = oracle.logits(ids[:size]).log_softmax(-1)
    values = [float(expected[n - 1, ids[n]]) for n in range(1, size)]
    while end < len(ids):
        start, scored, end = min(end + size // 2, len(ids)) - size, end, min(end + size // 2, len(ids))
        window = oracle.logits(ids[start:end]).log_softmax(-1)
        values += [float(window[n - start - 1, ids[n]]) for n in range(scored, end)]
    torch.testing.assert_close(found, torch.tensor(values), atol=TOLERANCE, rtol=0)


def test_answers_stop_where_the_context_is_full(tiny_llama: HFModel) -> None:
    assert tiny_llama.context_length == 160
    prompt = Prompt(text="so" * 70)
    room = 160 - len(tiny_llama.encode(prompt))
    assert 0 < room < 100
    (answer,) = with_ends(tiny_llama, []).generate([Generate(prompt=prompt, max_new_tokens=100)])
    assert answer.finished or answer.tokens == room


@pytest.mark.parametrize("ask", ["generate", "score", "logits", "gradient"])
def test_a_prompt_that_does_not_fit_is_refused(tiny_llama: HFModel, ask: str) -> None:
    prompt = Prompt(text="the river " * 160)
    with pytest.raises(ModelError, match="do not fit into the 160"):
        {
            "generate": lambda: tiny_llama.generate([Generate(prompt=prompt)]),
            "score": lambda: tiny_llama.score([Score(prompt=prompt, continuations=("a",))]),
            "logits": lambda: tiny_llama.next_logits([prompt]),
            "gradient": lambda: tiny_llama.input_gradients([prompt], ["a"]),
        }[ask]()


def test_the_fingerprint_names_weights_and_numerics(
    tiny_llama: HFModel, tiny_llama_folder: Path, tmp_path: Path
) -> None:
    import shutil

    copy = tmp_path / "elsewhere"
    shutil.copytree(tiny_llama_folder, copy)
    again = HFModel.load(copy, device="cpu")
    assert again.fingerprint == tiny_llama.fingerprint
    assert HFModel.load(copy, device="cpu", dtype="bfloat16").fingerprint != again.fingerprint
    with torch.no_grad():
        again.module.model.norm.weight[0] += 0.001
    again.module.save_pretrained(copy)
    assert HFModel.load(copy, device="cpu").fingerprint != tiny_llama.fingerprint


def test_a_model_on_the_cpu_computes_in_float32(tiny_llama: HFModel, tmp_path: Path) -> None:
    import copy

    copy.deepcopy(tiny_llama.module).to(torch.bfloat16).save_pretrained(tmp_path)
    tiny_llama.tokenizer.save_pretrained(tmp_path)
    loaded = HFModel.load(tmp_path, device="cpu")
    assert loaded.dtype == torch.float32
    assert loaded.memory_bytes == sum(p.nbytes for p in loaded.module.parameters()) + sum(
        b.nbytes for b in loaded.module.buffers()
    )


def test_nothing_on_the_users_model_changes(tiny_llama_folder: Path) -> None:
    model = HFModel.load(tiny_llama_folder, device="cpu")
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    size = len(model.tokenizer)
    model.generate([Generate(prompt=Prompt(text="a"), max_new_tokens=3)])
    model.input_gradients([Prompt(text="a")], ["b"])
    assert len(model.tokenizer) == size
    assert all(torch.equal(before[name], value) for name, value in model.module.state_dict().items())
