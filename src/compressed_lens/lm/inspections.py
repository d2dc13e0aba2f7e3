"""What can be looked at inside a model: settings of each inspection, and what it answers. No torch here.

Layers are counted as `HFModel.hidden_states` does: state 0 is the embeddings, state l the residual stream after block l
(blocks are counted from 0, so state l leaves block l - 1). Unless a `mention` is given, the place is the prompt's last
token. Log-probabilities are natural.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from compressed_lens.lm.protocol import Prompt

Rule = Literal["left", "right", "trapezoid", "linspace"]
Restored = Literal["state", "ffn", "attention"]
Neuron = tuple[int, int]
"""Block and index of a feed-forward neuron: an input of the block's down projection."""

States = tuple[int, ...] | Literal["all", "early"]

_BLOCKS = 32
_PROMPT = 16
_HERE = "compressed_lens.lm.inside"


@dataclass(frozen=True, kw_only=True)
class Lens:
    """Read every layer's state out through the final norm and the unembedding (logit lens; EntRec of Yang et al. 2024).

    Values: `log_probability` [states] of the target's first token, `rank` [states] of it (1 + number of strictly
    likelier tokens; both None where they are not finite), `top` [states] (the likeliest token, as text), `token` (the
    target's first token, as text), `place` (index among the prompt's ids).

    Attributes:
        target: Answer whose first token counts.
        mention: Part of the prompt at whose last token the states are read; "" for the prompt's last token.
    """

    runs: ClassVar[str] = f"{_HERE}.lens:run"
    passes: ClassVar[int] = 1

    target: str
    mention: str = ""


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Log-probability increase of whole sub-layers and heads (Yu & Ananiadou 2024), final norm's scale frozen.

    In every block the attention is added first, then the feed-forward part, so that all increases add up to what the
    blocks make of the embedding's read-out. A soft cap of the logits (Gemma 2) is left out of the increases.

    Values: `attention`, `ffn` [blocks], `heads` [blocks][heads] (each head alone added to what enters its block), in
    nats; `scale` (what the final norm divides by); `log_probability` of the target's first token under the model
    itself; `token`; `known` (whether it is the model's likeliest).

    Attributes:
        target: Answer whose first token counts; "" takes the token the model predicts.
        scale: What the final norm divides by; None takes what it divides the last block's output by.
    """

    runs: ClassVar[str] = f"{_HERE}.layers:run"
    passes: ClassVar[int] = 1

    target: str = ""
    scale: float | None = None


@dataclass(frozen=True, kw_only=True)
class Neurons:
    """Value neurons by log-probability increase (Yu & Ananiadou 2024): the exact top ones, and how many reach a score.

    Values: `ffn` and, with `attention`, `attention`: each {`neurons`: the top ones, best first, `[block, index, score]`
    or `[block, head, index in head, position, score]`; `reaching`: number of neurons with at least the score asked for,
    None where none was; `projected`: how many were projected to the vocabulary; `of` [blocks]: how many there are}.
    `watched`: scores of the `watch`ed feed-forward neurons, in order. `token`, `log_probability`; `scale` (what the
    final norm divides by); `known` (whether the target is the model's likeliest token).

    A neuron is an input of the down projection, or one channel of one head's value at one position (of the prompt's
    own tokens; positions outside a window have none). Its score, in nats, is what its vector adds to the target's
    log-probability, final norm's scale frozen: a feed-forward neuron's on top of what follows its block's attention, an
    attention neuron's on top of what enters its block.

    Attributes:
        target: Answer whose first token counts; "" takes the token the model predicts.
        top: How many; 0 for none.
        attention: Whether attention value neurons are looked at, too.
        reach: Score to be reached by feed-forward neurons, in nats.
        reach_attention: The same for attention neurons.
        watch: Feed-forward neurons whose scores are wanted, wherever they stand.
    """

    runs: ClassVar[str] = f"{_HERE}.neurons:run"
    of_neurons: ClassVar[bool] = True
    passes: ClassVar[int] = 3

    target: str = ""
    top: int = 300
    attention: bool = False
    reach: float | None = None
    reach_attention: float | None = None
    watch: tuple[Neuron, ...] = ()


@dataclass(frozen=True, kw_only=True)
class QueryNeurons:
    """Query neurons (Yu & Ananiadou 2024, section 3.4): what activates the top attention value neurons.

    An attention value neuron reads the residual stream at its position x along a direction k (its row of the value
    projection through the norm in front). A vector u that an earlier block added there gets the share (u k) / (x k) of
    the value neuron's increase; shares are summed over the top `values` attention value neurons.

    Values: `embedding`, `attention`, `ffn` [blocks] (shares of whole sub-layers; with the embedding they add up to
    `total`, the sum of the value neurons' increases; None where none is finite), `neurons` (the top ones with a share
    above 0, best first, `[block, index, score]`), `of` [blocks] (how many there are), all in nats; `token`; `known`
    (whether the target is the model's likeliest token).

    Attributes:
        target: Answer whose first token counts; "" takes the token the model predicts.
        values: Attention value neurons whose activation is traced back; 30 in the reference.
        top: How many query neurons.
    """

    runs: ClassVar[str] = f"{_HERE}.query:run"
    of_neurons: ClassVar[bool] = True
    passes: ClassVar[int] = 3

    target: str = ""
    values: int = 30
    top: int = 100


@dataclass(frozen=True, kw_only=True)
class IntegratedNeurons:
    """Knowledge neurons by integrated gradients (Dai et al. 2022), from zero activation, at the prompt's last token.

    Values: `neurons`: those with at least `share` of the largest attribution (and above 0), best first, `[block, index,
    attribution]`, at most `most`; `maximum`; `total` [blocks] (sum of all attributions of a block) and `change`
    [blocks] (P(target) minus P with the block's neurons at zero), which agree up to the rule's error (not where a norm
    stands behind the feed-forward part, as in Gemma 2 and 3: there the path jumps at its start); `probability` of the
    target's first token; `token`.

    Attributes:
        target: Answer whose first token counts.
        steps: Parts the path is cut into; 20 in the reference.
        rule: Riemann rule (see `lm.inside.integrated.quadrature`): "right" is the paper's, "left" its code's,
            "linspace" Eleuther's.
        share: Least share of the largest attribution; 0.2 in the reference.
        most: Longest list.
    """

    runs: ClassVar[str] = f"{_HERE}.integrated:run"
    of_neurons: ClassVar[bool] = True
    passes: ClassVar[int] = 6

    target: str
    steps: int = 20
    rule: Rule = "right"
    share: float = 0.2
    most: int = 200


@dataclass(frozen=True, kw_only=True)
class Intervene:
    """Scale sets of feed-forward neurons at the prompt's last token (0 ablates, 2 doubles) and read the target again.

    Values: `log_probability` [sets] of the target's first token, `before` (without any change), `kept` [sets]: whether
    the likeliest token stays the same; with `draws`, the same of random sets: `random` and `random_kept`
    [sets][draws]; `sizes` [blocks]: how many neurons there are; `token`.

    Attributes:
        target: Answer whose first token counts.
        sets: Neurons scaled together; the empty set changes nothing.
        factor: What the neurons are multiplied by.
        draws: For every set, so many random ones with as many neurons in each block, none of them in any of `sets`.
        seed: Of the draws; the same seed gives sets of the same shape the same draws.
    """

    runs: ClassVar[str] = f"{_HERE}.intervene:run"
    of_neurons: ClassVar[bool] = True
    passes: ClassVar[int] = 3

    target: str
    sets: tuple[tuple[Neuron, ...], ...]
    factor: float = 0.0
    draws: int = 0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class CausalTracing:
    """Causal tracing (ROME, Meng et al. 2022): noise on the subject's embeddings, then one clean state put back.

    Values: `tokens` (texts, from the subject's first token on), `subject_tokens` (how many of them are the subject's),
    `clean` and `low` (P of the target's first token without and with noise), `known` (whether that token is the
    likeliest without noise), `state`, `ffn`, `attention` [tokens][blocks]: mean P over the samples with the state that
    leaves that block, or what that sub-layer writes in a window of blocks, restored; `deviation` (of the subject's
    embeddings, before the factor), `window`, `token`.

    Attributes:
        mention: The subject, word for word.
        samples: Noised copies.
        noise: Standard deviation of the noise, in standard deviations of the subject's embeddings.
        deviation: That standard deviation; None takes it from the subject's own token embeddings.
        window: Blocks restored at a time for "ffn" and "attention" (centred); "state" restores one state. None: 10, but
            no more than a third of the blocks.
        parts: What is restored; nothing at all is quick, and tells `clean`, `low`, `known` and `deviation`.
        seed: Of the noise, with the prompt's token ids: every variant gets the same noise.
    """

    runs: ClassVar[str] = f"{_HERE}.tracing:run"

    target: str
    mention: str
    samples: int = 10
    noise: float = 3.0
    deviation: float | None = None
    window: int | None = None
    parts: tuple[Restored, ...] = ("state",)
    seed: int = 1

    @property
    def passes(self) -> int:
        """About how many forward passes over the prompt it costs."""
        return 2 + self.samples * (1 + 40 * len(self.parts))


@dataclass(frozen=True, kw_only=True)
class Example:
    """One training pair of a relation: a prompt, its subject word for word, and its object."""

    prompt: Prompt
    mention: str
    target: str


@dataclass(frozen=True, kw_only=True)
class LinearRelation:
    """Apply a relation as an affine map of the subject's state (LRE, Hernandez et al. 2024), without Jacobians.

    Values: `top` [betas] (likeliest token of the map's output, as text), `rank` and `log_probability` [betas] of the
    target's first token; `agrees` [betas] (whether `top` is the model's own likeliest token), `predicted` (that token,
    as text), `known` (whether it is the target's first); `layer` (number of the state used), `token`.

    Attributes:
        examples: Training pairs.
        layer: State of the subject's last token the map starts from: a whole number is the number of the state
            (negative ones count from the last), a fraction is one of the model's depth.
        betas: Factors of the linear part.
    """

    runs: ClassVar[str] = f"{_HERE}.relation:run"
    passes: ClassVar[int] = 12

    target: str
    mention: str
    examples: tuple[Example, ...]
    layer: int | float = 0.5
    betas: tuple[float, ...] = (1.0,)


@dataclass(frozen=True, kw_only=True)
class Consistency:
    """Consistency score of a two-hop prompt with its one-hop prompt, and its gradient along EntRec (Yang et al. 2024).

    Values: `score` (CnstScore: minus half the sum of both cross-entropies, in nats, at most 0), `entropy` and
    `other_entropy` of the two next-token distributions, `gradient` [states]: the derivative of the score by alpha at
    alpha = 0 when alpha times the gradient of EntRec is added to the state at the mention's last token; None for the
    last state when the mention is not at the end (nothing reads it). `same_top`: whether both predict the same token.
    What is not finite is None.

    Attributes:
        other: The one-hop prompt "r2(e2)".
        mention: The descriptive mention of the bridge entity in the two-hop prompt.
        target: The bridge entity.
    """

    runs: ClassVar[str] = f"{_HERE}.consistency:run"
    passes: ClassVar[int] = 5

    other: Prompt
    mention: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Describe:
    """Entity description (patchscopes, Ghandeharioun et al. 2024): put a state into a prompt that repeats, and decode.

    Values: `sources` and `targets` (the states taken and those replaced, by number), `texts` [sources][targets]: the
    continuation of `identity` with the state of `mention` at that source layer in place of its last token's at that
    target layer; `states`: how many the model has.

    Attributes:
        mention: Whose last token's states are described; "" for the prompt's last token.
        identity: The few-shot prompt.
        sources: States taken: by number, "all", or "early" (the lower half).
        targets: States replaced; the last one cannot be.
        stride: Every how many-th of "all" or "early", from 0 on.
    """

    runs: ClassVar[str] = f"{_HERE}.describe:run"

    identity: Prompt
    mention: str = ""
    sources: States = "all"
    targets: States = "all"
    stride: int = 1
    max_new_tokens: int = 10

    @property
    def passes(self) -> int:
        """Its cost in a model of 32 blocks."""
        return self.passes_in(_BLOCKS)

    def passes_in(self, blocks: int) -> int:
        """Return its cost in a model of so many blocks."""
        sources, targets = (_many(states, self.stride, blocks) for states in (self.sources, self.targets))
        return _decoded(sources * targets, self.max_new_tokens)


@dataclass(frozen=True, kw_only=True)
class BackPatch:
    """Back-patching (Biran et al. 2024): a later state put into an earlier layer of the same prompt, then decoded.

    Values: `pairs` ([source, target], every one of the states asked for with the source above the target), `texts`
    [pairs]: the continuation after state `source` at the place replaced state `target` there; `states`: how many the
    model has.

    Attributes:
        mention: Whose last token is patched; "" for the prompt's last token.
        sources: States taken: by number, "all", or "early" (the lower half).
        targets: States replaced; the last one cannot be.
        stride: Every how many-th of "all" or "early", from 0 on.
        donor: Take the source state from the last token of this prompt's `donor_mention` instead (the random-pair
            control).
    """

    runs: ClassVar[str] = f"{_HERE}.backpatch:run"

    mention: str = ""
    sources: States = "all"
    targets: States = "all"
    stride: int = 1
    donor: Prompt | None = None
    donor_mention: str = ""
    max_new_tokens: int = 10

    @property
    def passes(self) -> int:
        """Its cost in a model of 32 blocks."""
        return self.passes_in(_BLOCKS)

    def passes_in(self, blocks: int) -> int:
        """Return its cost in a model of so many blocks."""
        sources, targets = (_many(states, self.stride, blocks) for states in (self.sources, self.targets))
        return _decoded(sources * targets // 2 + 1, self.max_new_tokens)


def _many(states: States, stride: int, blocks: int) -> int:
    """Return how many states that is in a model of so many blocks."""
    return len(states) if isinstance(states, tuple) else blocks // (1 if states == "all" else 2) // stride + 1


def _decoded(rows: int, new_tokens: int) -> int:
    """Return what so many rows of one token and an answer cost, in passes over a prompt of 16 tokens."""
    return 1 + rows * (1 + new_tokens) // _PROMPT
