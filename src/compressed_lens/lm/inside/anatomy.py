"""The parts of a causal decoder, found by their names in any supported architecture and proven by their sums."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from compressed_lens.errors import ModelError
from compressed_lens.lm.forward import Passes
from compressed_lens.lm.linear import dense_weight

_ATTENTION = ("self_attn", "attn", "attention")
_FFN = ("mlp", "feed_forward")
_OUT = ("o_proj", "c_proj", "dense", "out_proj")
_DOWN = ("down_proj", "c_proj", "dense_4h_to_h", "fc2", "fc_out")
_IN = ("input_layernorm", "ln_1")
_FINAL = ("norm", "ln_f", "final_layer_norm", "final_layernorm")
_EPSILONS = ("variance_epsilon", "eps")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One decoder block.

    Attributes:
        index: Its number, from 0.
        module: The block itself.
        attention: The attention module.
        ffn: The feed-forward module.
        out: The last linear layer of the attention.
        down: The last linear layer of the feed-forward part, whose inputs are the neurons; None with several experts.
        attention_norm: Norm between the attention and the residual stream (Gemma 2, 3), or None.
        ffn_norm: The same for the feed-forward part.
    """

    index: int
    module: nn.Module
    attention: nn.Module
    ffn: nn.Module
    out: nn.Module
    down: nn.Module | None
    attention_norm: nn.Module | None
    ffn_norm: nn.Module | None

    @property
    def attention_writer(self) -> nn.Module:
        """The module whose output the attention adds to the residual stream."""
        return self.attention_norm or self.attention

    @property
    def ffn_writer(self) -> nn.Module:
        """The module whose output the feed-forward part adds to the residual stream."""
        return self.ffn_norm or self.ffn


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """A norm with its scale held fixed: an affine map x -> gain * (x - mean(x) if centred, else x) / scale + bias.

    Attributes:
        gain: Per channel [width].
        bias: Per channel [width]; zeros where the norm has none.
        scale: What a state is divided by, one a row [rows].
        centred: Whether the mean over channels is taken off first.
    """

    gain: Tensor
    bias: Tensor
    scale: Tensor
    centred: bool

    def linear(self, vectors: Tensor, rows: Tensor | None = None) -> Tensor:
        """Apply the linear part to vectors [n, width] of the given rows (all rows in order by default)."""
        scale = self.scale if rows is None else self.scale[rows]
        if self.centred:
            vectors = vectors - vectors.mean(dim=-1, keepdim=True)
        return self.gain * vectors / scale[:, None]

    def adjoint(self, directions: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return u with u @ v = directions @ linear(v) for every v, one for each direction [n, width]."""
        scale = self.scale if rows is None else self.scale[rows]
        found = self.gain * directions / scale[:, None]
        return found - found.mean(dim=-1, keepdim=True) if self.centred else found


class Anatomy:
    """The parts of one model.

    Attributes:
        blocks: Its decoder blocks.
        final_norm: Norm in front of the unembedding.
        head: The unembedding.
        heads: Query heads of a block.
        width: Channels of the residual stream.
    """

    def __init__(self, passes: Passes, *, name: str) -> None:
        module = passes.module
        config = module.config.get_text_config()
        self._module = module
        self._name = name
        base = module.base_model
        stack = next((c for c in base.children() if isinstance(c, nn.ModuleList)), None)
        self.final_norm = _child(base, _FINAL)
        self.head: Any = module.get_output_embeddings()
        if stack is None or self.final_norm is None or self.head is None:
            raise self._unknown("no list of blocks, final norm and unembedding")
        self.blocks = tuple(self._block(index, block) for index, block in enumerate(stack))
        self.heads = int(config.num_attention_heads)
        self.width = int(config.hidden_size)
        self._cap: float | None = getattr(config, "final_logit_softcapping", None)
        self._times = float(getattr(config, "logit_scale", None) or 1.0) / float(
            getattr(config, "logits_scaling", None) or 1.0
        )

    @classmethod
    def of(cls, passes: Passes, *, name: str) -> Anatomy:
        """Return the anatomy of a model, after checking on a short text that its parts add up to what it computes.

        Raises:
            ModelError: The architecture is not understood; the message says what does not hold.
        """
        from compressed_lens.lm.inside.proof import prove

        anatomy = cls(passes, name=name)
        if reason := prove(anatomy, passes):
            raise anatomy._unknown(reason)
        return anatomy

    @property
    def softcapped(self) -> bool:
        """Whether logits pass a soft cap (Gemma 2), which `frozen` read-outs leave out."""
        return self._cap is not None

    def logits(self, states: Tensor) -> Tensor:
        """Read states of the residual stream [..., width] out as logits [..., vocabulary] in float32."""
        logits: Tensor = self.head(self.final_norm(states)).float() * self._times
        return logits if self._cap is None else self._cap * torch.tanh(logits / self._cap)

    @cached_property
    def unembedding(self) -> Tensor:
        """The unembedding as a dense float32 matrix [vocabulary, width], logit scale included."""
        return dense_weight(self.head) * self._times

    @cached_property
    def unembedding_bias(self) -> Tensor | None:
        """Bias of the unembedding [vocabulary], or None."""
        bias = getattr(self.head, "bias", None)
        return None if bias is None else bias.detach().float() * self._times

    def frozen(self, states: Tensor) -> Frozen:
        """Return the final norm with its scale held at what it is for `states` [rows, width]."""
        return freeze(self.final_norm, states)

    def down(self, block: int) -> nn.Module:
        """Return the down projection of a block, whose inputs are its neurons.

        Raises:
            ModelError: The block is a mixture of experts.
        """
        down = self.blocks[block].down
        if down is None:
            raise ModelError(
                f"The feed-forward part of {self._name} is not one down projection (a mixture of experts?), so its "
                "neurons cannot be told.",
                fix="Leave out the analyses of neurons for this model.",
            )
        return down

    def neurons(self, block: int) -> int:
        """Return the number of feed-forward neurons of a block: the inputs of its down projection."""
        down: Any = self.down(block)
        return int(down.in_features if hasattr(down, "in_features") else down.weight.shape[0])

    def down_weight(self, block: int) -> Tensor:
        """Return the down projection of a block, dense float32 [width, neurons]: column n is what neuron n writes.

        Raises:
            ModelError: The block is a mixture of experts.
        """
        return dense_weight(self.down(block))

    def out_weight(self, block: int) -> Tensor:
        """Return the output projection of a block's attention, dense float32 [width, heads * head width]."""
        return dense_weight(self.blocks[block].out)

    def value_reader(self, block: int) -> tuple[nn.Module, Tensor, Tensor | None]:
        """Return how a block's attention reads the residual stream into values: value = rows @ norm(state) + bias.

        Returns:
            The norm; the rows, dense float32 [key-value heads * head width, width]; the bias of the same length, or
            None.

        Raises:
            ModelError: The layout is not known.
        """
        parts = self.blocks[block]
        norm, alone = _child(parts.module, _IN), _child(parts.attention, ("v_proj",))
        fused, mixed = _child(parts.attention, ("qkv_proj", "c_attn")), _child(parts.attention, ("query_key_value",))
        layer = alone or fused or mixed
        if norm is None or layer is None:
            raise self._unknown(f"block {block} has no norm and projection to values by a known name")
        rows, bias = dense_weight(layer), getattr(layer, "bias", None)
        bias = None if bias is None else bias.detach().float()
        if mixed is not None:
            # GPT-NeoX: query, key and value of one head stand together.
            rows = rows.reshape(self.heads, 3, -1, self.width)[:, 2].flatten(0, 1)
            bias = None if bias is None else bias.reshape(self.heads, 3, -1)[:, 2].flatten()
        elif fused is not None:
            # Queries come first, keys and values share the rest.
            size = (len(rows) - self.out_weight(block).shape[1]) // 2
            rows, bias = rows[-size:], None if bias is None else bias[-size:]
        return norm, rows, bias

    @contextmanager
    def eager(self) -> Iterator[None]:
        """Compute attention in the one way that tells its weights, for the time of the context."""
        before = self._module.config._attn_implementation
        self._module.set_attn_implementation("eager")
        try:
            yield
        finally:
            self._module.set_attn_implementation(before)

    def _block(self, index: int, block: nn.Module) -> Block:
        attention, ffn = _child(block, _ATTENTION), _child(block, _FFN)
        out = None if attention is None else _child(attention, _OUT)
        if attention is None or ffn is None or out is None:
            raise self._unknown(f"block {index} has no attention with an output projection and feed-forward part")
        # Where there are norms behind the sub-layers, "post_attention_layernorm" is one; else it stands before the FFN.
        behind = _child(block, ("post_feedforward_layernorm",)) is not None
        return Block(
            index=index,
            module=block,
            attention=attention,
            ffn=ffn,
            out=out,
            down=_child(ffn, _DOWN),
            attention_norm=_child(block, ("post_attention_layernorm",)) if behind else None,
            ffn_norm=_child(block, ("post_feedforward_layernorm",)),
        )

    def _unknown(self, reason: str) -> ModelError:
        return ModelError(
            f"The inside of {self._name} ({type(self._module).__name__}) is not understood: {reason}.",
            fix="Leave out analyses that look inside the model, or report the architecture.",
        )


def freeze(norm: nn.Module, states: Tensor) -> Frozen:
    """Return a norm with its scale held at what it is for `states` [rows, width]; read off what the norm computes."""
    weight: Any = getattr(norm, "weight", None)
    width, device = states.shape[-1], states.device
    with torch.no_grad():
        kind = weight.dtype if weight is not None else states.dtype
        zero = torch.zeros(1, width, device=device)
        bias = norm(zero.to(kind)).float()[0]
        # A ramp has variance and, around zero, no mean: what the norm makes of it tells gain and centring.
        ramp = torch.linspace(-1.0, 1.0, width, device=device)[None] * 100
        lifted = norm((ramp + 100).to(kind)).float()
        centred = bool((lifted - norm(ramp.to(kind)).float()).abs().max() < 1e-2 * lifted.abs().max())
        gain = torch.ones(width, device=device) if weight is None else weight.detach().float()
        root = ramp[0] / ramp.square().mean().sqrt()
        seen = norm(ramp.to(kind)).float()[0] - bias
        if (seen - gain * root).abs().max() > (seen - (1 + gain) * root).abs().max():
            gain = 1 + gain
        epsilon = next((float(getattr(norm, name)) for name in _EPSILONS if hasattr(norm, name)), 0.0)
        exact = states.float()
        if centred:
            exact = exact - exact.mean(dim=-1, keepdim=True)
        scale = (exact.square().mean(dim=-1) + epsilon).sqrt()
    return Frozen(gain=gain, bias=bias, scale=scale, centred=centred)


def _child(parent: nn.Module, names: tuple[str, ...]) -> Any:
    children = dict(parent.named_children())
    return next((children[name] for name in names if name in children), None)
