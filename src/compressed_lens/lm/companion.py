"""Open a model folder by what it holds: a causal model, a sequence-to-sequence model or an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressed_lens.errors import ModelError
from compressed_lens.lm.folder import read_config

if TYPE_CHECKING:
    from compressed_lens.lm.protocol import Answering

_CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


def open_model(
    folder: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    name: str = "",
    trust_remote_code: bool = False,
) -> Answering:
    """Load a folder as `HFModel`, `Seq2SeqModel` or `EncoderModel`, by its config.json.

    A configuration with `is_encoder_decoder` is a sequence-to-sequence model; one whose architecture predicts the next
    token is a causal model; any other is an encoder, whose head, if it has one, is left out.

    Args:
        folder: Folder with config.json, safetensors and a tokenizer.
        device: "auto" (GPUs where there are any), "cpu", "cuda", "cuda:1"…
        dtype: Compute dtype; "auto" is float32 on a CPU and the checkpoint's on a GPU.
        name: What to call it in messages; the folder's name by default.
        trust_remote_code: Run Python code that comes with the model.

    Raises:
        ModelError: The folder is missing, unsafe, damaged, or does not say what it is.
    """
    config = read_config(Path(folder))
    names = config.get("architectures")
    if not isinstance(names, list) or not names:
        raise ModelError(
            f"{folder}/config.json names no architecture, so it is not known what kind of model it is.",
            fix='Add "architectures" as in the original, for instance ["BertModel"].',
        )
    settings: dict[str, Any] = {"device": device, "dtype": dtype, "name": name}
    if config.get("is_encoder_decoder"):
        from compressed_lens.lm.seq2seq import Seq2SeqModel

        return Seq2SeqModel.load(folder, trust_remote_code=trust_remote_code, **settings)
    if any(str(architecture).endswith(_CAUSAL) for architecture in names):
        from compressed_lens.lm.hf import HFModel

        return HFModel.load(folder, trust_remote_code=trust_remote_code, **settings)
    from compressed_lens.lm.encoder import EncoderModel

    return EncoderModel.load(folder, trust_remote_code=trust_remote_code, **settings)
