"""Models that tests run for real: stories260K, a small random Llama and a small random GPT-2, with their tokenizers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.postgres import database_url, postgres_server, postgres_url  # noqa: F401  (fixtures)

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from compressed_lens.lm.hf import HFModel

# Before any library reads them: tests never touch the network and never fight over cores.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

SHARED = Path(__file__).resolve().parents[2] / "shared"

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_CORPUS = (
    "the capital of France is Paris and the river runs to the sea",
    "Question: is the film good or bad? Answer: good, because it is funny.",
    "a man in a red coat walks his dog in the park while it rains",
    "premise hypothesis entailment neutral contradiction label answer",
)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of data and models that are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is absent")
    return SHARED


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium, one for the session: Playwright can be started only once in a thread."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright (pip install playwright)")
    from tools.chromium import launching

    with playwright.sync_playwright() as driver:
        try:
            started = driver.chromium.launch(**launching())
        except playwright.Error as error:
            pytest.skip(f"no browser: set CHROMIUM to one, or apt-get install chromium ({str(error).splitlines()[0]})")
        yield started
        started.close()


@pytest.fixture(scope="session")
def stories_folder(shared: Path) -> Path:
    """stories260K: a trained Llama of width 64 with a SentencePiece-like tokenizer, a BOS and no chat template."""
    folder = shared / "models" / "stories260K" / "hf"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder


@pytest.fixture(scope="session")
def chat_tokenizer() -> Any:
    """Byte-level BPE with a chat template that writes BOS, while the tokenizer adds one as well."""
    return build_tokenizer(adds_bos=True, chat_template=CHAT_TEMPLATE)


@pytest.fixture(scope="session")
def tiny_llama_folder(tmp_path_factory: pytest.TempPathFactory, chat_tokenizer: Any) -> Path:
    """A random Llama (width 32, 3 layers, grouped-query attention) that speaks through a chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(chat_tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=160,
        initializer_range=0.3,
        bos_token_id=chat_tokenizer.bos_token_id,
        eos_token_id=chat_tokenizer.eos_token_id,
    )
    return _save(tmp_path_factory.mktemp("tiny-llama"), LlamaForCausalLM(config), chat_tokenizer)


@pytest.fixture(scope="session")
def tiny_gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 (learned positions, Conv1D, no BOS in front, no chat template)."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = build_tokenizer(adds_bos=False, chat_template=None)
    torch.manual_seed(2)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=96,
        n_embd=32,
        n_layer=2,
        n_head=4,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return _save(tmp_path_factory.mktemp("tiny-gpt2"), GPT2LMHeadModel(config), tokenizer)


@pytest.fixture(scope="session")
def load_model() -> Callable[[Path], HFModel]:
    """Load a model folder on the CPU, once a session."""
    from compressed_lens.lm.hf import HFModel

    loaded: dict[Path, HFModel] = {}

    def load(folder: Path) -> HFModel:
        if folder not in loaded:
            loaded[folder] = HFModel.load(folder, device="cpu")
        return loaded[folder]

    return load


@pytest.fixture(scope="session", params=["stories", "tiny_llama", "tiny_gpt2"])
def model(request: pytest.FixtureRequest, load_model: Callable[[Path], HFModel]) -> HFModel:
    """Each of the three models in turn."""
    return load_model(request.getfixturevalue(f"{request.param}_folder"))


@pytest.fixture(scope="session")
def tiny_llama(tiny_llama_folder: Path, load_model: Callable[[Path], HFModel]) -> HFModel:
    """The random chat Llama, loaded."""
    return load_model(tiny_llama_folder)


def build_tokenizer(*, adds_bos: bool, chat_template: str | None) -> Any:
    """Train a small byte-level BPE tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = ["<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    inner.train_from_iterator(_CORPUS, trainer)
    if adds_bos:
        bos = inner.token_to_id("<|bos|>")
        inner.post_processor = processors.TemplateProcessing(single="<|bos|> $A", special_tokens=[("<|bos|>", bos)])
    named = {"bos_token": "<|bos|>", "eos_token": "<|end|>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, additional_special_tokens=special[2:], **named)
    tokenizer.chat_template = chat_template
    return tokenizer


def _save(folder: Path, module: Any, tokenizer: Any) -> Path:
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
