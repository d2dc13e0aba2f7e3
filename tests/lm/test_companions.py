"""Sequence-to-sequence models and encoders against one-by-one plain forwards, on small random models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compressed_lens.errors import ModelError
from compressed_lens.lm.companion import open_model
from compressed_lens.lm.encoder import EncoderModel
from compressed_lens.lm.hf import HFModel
from compressed_lens.lm.protocol import Embed, Message, Prompt, Trace
from compressed_lens.lm.seq2seq import Seq2SeqModel

ALONE, TOGETHER = 1, 1 << 20
TOLERANCE = 1e-4
BART: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 48,
    "init_std": 0.3,
    "decoder_start_token_id": 1,
}
T5: dict[str, Any] = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": 0,
}
BERT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,
}
TEXTS = (
    "The capital of France is Paris.",
    "a",
    "a man in a red coat walks his dog in the park while it rains",
    "good",
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """One that puts special tokens around a text."""
    import copy

    from tests.conftest import build_tokenizer
    from tokenizers.processors import TemplateProcessing

    made = copy.deepcopy(build_tokenizer(adds_bos=False, chat_template=None))
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|bos|> $A <|end|>", special_tokens=[("<|bos|>", 0), ("<|end|>", 1)]
    )
    made.pad_token = made.eos_token
    return made


def folder(root: Path, name: str, settings: dict[str, Any], tokenizer: Any, kind: str) -> Path:
    import transformers

    torch.manual_seed(0)
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = getattr(transformers, f"{name}Config")(vocab_size=len(tokenizer), **ends, **settings)
    getattr(transformers, kind)(config).save_pretrained(root)
    tokenizer.save_pretrained(root)
    return root


@pytest.fixture(scope="module", params=["Bart", "T5"])
def seq2seq(request: pytest.FixtureRequest, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Seq2SeqModel:
    settings = BART if request.param == "Bart" else T5
    root = tmp_path_factory.mktemp(request.param)
    model = open_model(
        folder(root, request.param, settings, tokenizer, f"{request.param}ForConditionalGeneration"), device="cpu"
    )
    assert isinstance(model, Seq2SeqModel)
    return model


@pytest.fixture(scope="module", params=["Bert", "Roberta"])
def encoder(request: pytest.FixtureRequest, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> EncoderModel:
    root = tmp_path_factory.mktemp(request.param)
    # A checkpoint with another task's head and without a pooler.
    kind = f"{request.param}ForMaskedLM"
    model = open_model(folder(root, request.param, BERT, tokenizer, kind), device="cpu")
    assert isinstance(model, EncoderModel)
    return model


def plain_trace(model: Seq2SeqModel, tokenizer: Any, source: str, target: str) -> tuple[list[float], list[float]]:
    """The library's own way: labels, which it shifts by itself; probabilities in double precision."""
    labels = tokenizer(target, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = model.module(**tokenizer(source, return_tensors="pt"), labels=labels).logits[0]
    p = logits.double().softmax(-1).gather(1, labels[0][:, None])[:, 0]
    return p.log().tolist(), (p / (1 - p)).log().tolist()


@pytest.mark.parametrize("batch_tokens", [ALONE, 60, TOGETHER])
def test_targets_are_traced_as_the_library_trains(seq2seq: Seq2SeqModel, tokenizer: Any, batch_tokens: int) -> None:
    requests = [Trace(prompt=Prompt(text=s), continuation=t) for s in TEXTS for t in TEXTS if s != t]
    for request, found in zip(requests, seq2seq.trace(requests, batch_tokens=batch_tokens), strict=True):
        assert request.prompt.text is not None
        values, odds = plain_trace(seq2seq, tokenizer, request.prompt.text, request.continuation)
        assert found.log_probabilities == pytest.approx(values, abs=TOLERANCE)
        assert found.log_odds == pytest.approx(odds, abs=TOLERANCE)
        assert len(values) == len(tokenizer(request.continuation)["input_ids"])
        with torch.no_grad():
            labels = tokenizer(request.continuation, return_tensors="pt")["input_ids"]
            loss = seq2seq.module(**tokenizer(request.prompt.text, return_tensors="pt"), labels=labels).loss
        assert -sum(found.log_probabilities) / len(values) == pytest.approx(float(loss), abs=TOLERANCE)


def test_a_source_is_encoded_once_for_all_its_targets(seq2seq: Seq2SeqModel, tokenizer: Any) -> None:
    before = seq2seq.forward_tokens
    requests = [Trace(prompt=Prompt(text=TEXTS[2]), continuation=t) for t in (*TEXTS, TEXTS[0])]
    seq2seq.trace(requests)
    sizes = [len(tokenizer(text)["input_ids"]) for text in (TEXTS[2], *TEXTS)]
    assert seq2seq.forward_tokens - before == sum(sizes)


def test_long_texts_are_cut_at_the_models_limit(tokenizer: Any, tmp_path: Path) -> None:
    model = Seq2SeqModel.load(folder(tmp_path, "Bart", BART, tokenizer, "BartForConditionalGeneration"), device="cpu")
    long = "so " * 100
    assert len(model.encode(Prompt(text=long))) == 48
    (found,) = model.trace([Trace(prompt=Prompt(text=long), continuation=long)])
    assert len(found.log_probabilities) == 48


def test_conversations_are_refused(seq2seq: Seq2SeqModel, encoder: EncoderModel) -> None:
    prompt = Prompt(messages=(Message(role="user", content="a"),))
    for model in (seq2seq, encoder):
        with pytest.raises(ModelError, match="plain text"):
            model.encode(prompt)
    with pytest.raises(ModelError, match="plain text"):
        seq2seq.check(Trace(prompt=prompt, continuation="a"))


@pytest.mark.parametrize("batch_tokens", [ALONE, 60, TOGETHER])
def test_vectors_are_means_over_all_tokens(encoder: EncoderModel, tokenizer: Any, batch_tokens: int) -> None:
    found = encoder.embed([Embed(text=t) for t in (*TEXTS, TEXTS[0])], batch_tokens=batch_tokens)
    for text, embedding in zip((*TEXTS, TEXTS[0]), found, strict=True):
        with torch.no_grad():
            states = encoder.module(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        torch.testing.assert_close(torch.tensor(embedding.vector), states.mean(0), atol=TOLERANCE, rtol=0)


def test_long_texts_are_read_in_windows(encoder: EncoderModel, tokenizer: Any) -> None:
    text = " ".join(TEXTS) + " so" * 30
    content = tokenizer(text, add_special_tokens=False)["input_ids"]
    positions = encoder.module.embeddings.position_embeddings
    size = 40 if positions.padding_idx is None else 38
    step = size - 2
    windows = [[0, *content[n : n + step], 1] for n in range(0, len(content), step)]
    assert len(windows) > 2
    with torch.no_grad():
        states = [encoder.module(input_ids=torch.tensor([w])).last_hidden_state[0] for w in windows]
    before = encoder.forward_tokens
    (found,) = encoder.embed([Embed(text=text)])
    assert encoder.forward_tokens - before == sum(map(len, {tuple(window) for window in windows}))
    torch.testing.assert_close(torch.tensor(found.vector), torch.cat(states).mean(0), atol=TOLERANCE, rtol=0)


def test_an_empty_text_is_refused(encoder: EncoderModel) -> None:
    with pytest.raises(ModelError, match="empty"):
        encoder.check(Embed(text=""))


def test_a_causal_folder_is_opened_as_one(tiny_llama_folder: Path, tiny_gpt2_folder: Path) -> None:
    for path in (tiny_llama_folder, tiny_gpt2_folder):
        model = open_model(path, device="cpu", name="judge")
        assert isinstance(model, HFModel)
        assert model.name == "judge"
        assert model.fingerprint == HFModel.load(path, device="cpu").fingerprint


def test_fingerprints_differ(seq2seq: Seq2SeqModel, encoder: EncoderModel, tiny_llama: HFModel) -> None:
    assert len({seq2seq.fingerprint, encoder.fingerprint, tiny_llama.fingerprint}) == 3


def test_a_folder_of_no_known_kind_is_refused(tiny_llama_folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    import json
    import shutil

    copy = tmp_path / "unnamed"
    shutil.copytree(tiny_llama_folder, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "architectures": None}))
    with pytest.raises(ModelError, match="names no architecture"):
        open_model(copy)
    quantized = folder(tmp_path / "bert", "Bert", BERT, tokenizer, "BertModel")
    settings = json.loads((quantized / "config.json").read_text())
    settings["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    (quantized / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="only causal"):
        open_model(quantized)


def test_a_checkpoint_that_lacks_weights_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder(tmp_path, "Bert", BERT, tokenizer, "BertModel")
    weights = load_file(path / "model.safetensors")
    del weights["encoder.layer.0.output.dense.weight"]
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks the weight"):
        open_model(path, device="cpu")
