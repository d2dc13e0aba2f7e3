"""Analyses: what is asked of every item and what is measured. One file an analysis, one registration line each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

from compressed_lens.analyses.base import Analysis
from compressed_lens.errors import StudyError
from compressed_lens.registry import Registry, nearest

__all__ = ["REGISTRY", "create"]

REGISTRY: Registry[type] = Registry("analysis", type, "compressed_lens.analyses")

REGISTRY.add(
    "accuracy",
    "compressed_lens.analyses.accuracy:Accuracy",
    "Task accuracy by the log-probability of each label, or by parsing a generated answer",
    cost="1 score an item",
    source="2601.00282, section 4",
)
REGISTRY.add(
    "divergence",
    "compressed_lens.analyses.divergence:Divergence",
    "How far next-token distributions are from full precision's over its own answer: KL, same likeliest token",
    cost="1 short pass an item, and 1 text + 1 short pass by the full model, once for all variants; 1 score a label",
    source="llama.cpp, --kl-divergence; Dutta et al. 2024, 2407.09141",
)
REGISTRY.add(
    "nle",
    "compressed_lens.explanations.nle:NaturalLanguageExplanation",
    "The model labels each item and explains the label in a sentence",
    cost="1 score + 1 text an item",
    source="2601.00282, section 3",
)
REGISTRY.add(
    "counterfactual",
    "compressed_lens.explanations.counterfactual:Counterfactual",
    "The model edits each text so that its own label changes; what kind of edit it is, and whether the label does",
    cost="2 scores + 1 text an item; fizle-guided 1 text more, zerocf its attributions, fitcf those of a pool once",
    source="2601.00282, section 3; FIZLE, Bhattacharjee et al. 2024; ZeroCF and FitCF, 2501.00777",
)
REGISTRY.add(
    "flip_rate",
    "compressed_lens.quality.flip_rate:FlipRate",
    "Label flips of edits under three judges, split into the effect of the edits and the effect of the judge",
    cost="per item and model (self, full): 1 text + 3 scores; 3 scores of an independent judge",
    source="2601.00282, section 4; 2505.13972",
)
REGISTRY.add(
    "recall",
    "compressed_lens.knowledge.recall:Recall",
    "One-hop facts: does the greedy continuation start with the right object",
    cost="1 score + 1 text + 1 token an item; with paraphrases 1 text (or score) more a wording",
    source="2505.13963, section 4; Hernandez 2023; Elazar 2021",
)
REGISTRY.add(
    "two_hop",
    "compressed_lens.multihop.two_hop:TwoHop",
    "Each hop of a chain alone and both composed: which of them is lost, and is it the composition",
    cost="3 scores + 3 texts an item; single hops are shared between chains",
    source="2505.13963, section 4; Yang et al. 2024, 2402.16837",
)
REGISTRY.add(
    "composability",
    "compressed_lens.multihop.composability:Composability",
    "Are known facts composed where the answer cannot be guessed and the bridge is not written down",
    cost="5 texts an item; single hops are shared between chains",
    source="Yang et al. 2024, 2411.16679",
)
REGISTRY.add(
    "rating",
    "compressed_lens.judging.rating:Rating",
    "Judges rate the explanation, or the edited text, from 1 to 5 for trustworthiness and coherence",
    cost="1 score + 1 text an item, and 2 scores (or texts) a judge",
    source="2601.00282, section 5; G-Eval, Liu et al. 2023",
)
REGISTRY.add(
    "cot_curve",
    "compressed_lens.faithfulness.cot_curve:ChainOfThoughtCurve",
    "Does the label rest on the reasoning: early answers, mistakes, paraphrases and filler, and the areas",
    cost="up to 28 scores + 1 text an item; + 2 texts a sentence and 2 re-generations a cut",
    source="2601.00282, section 3; Lanham 2023",
)
REGISTRY.add(
    "self_consistency",
    "compressed_lens.faithfulness.self_consistency:SelfConsistency",
    "Does the model, in a fresh conversation, keep to its counterfactual, redaction or list of important words",
    cost="2 to 3 scores + 1 text an item",
    source="2601.00282, section 3; Madsen 2024",
)
REGISTRY.add(
    "simulatability",
    "compressed_lens.faithfulness.simulatability:Simulatability",
    "Can another model foretell the answers on counterfactual inputs from the explanation, and without it",
    cost="1 + 5 scores + 2 texts an item; + 2 + 10 scores of the simulator",
    source="Chen 2023; Hase 2020",
)
REGISTRY.add(
    "edit_test",
    "compressed_lens.faithfulness.edit_test:EditTest",
    "Words are inserted until the label changes: does the explanation name the one that changed it",
    cost="up to 65 scores + 1 text an item",
    source="Atanasova et al. 2023; 2601.00282, section 3",
)
REGISTRY.add(
    "cct",
    "compressed_lens.faithfulness.cct:CorrelationalTest",
    "Words are inserted: do explanations name those that move the label probabilities most (CCT, phi-CCT)",
    cost="9 scores + 8 texts an item",
    source="Siegel et al. 2024, 2025",
)
REGISTRY.add(
    "biasing",
    "compressed_lens.faithfulness.biasing:Biasing",
    "A suggested answer, or demonstrations that all have one label: does the explanation admit what moved the label",
    cost="2 scores + 1 text an item",
    source="Turpin et al. 2023; 2601.00282, section 3",
)
REGISTRY.add(
    "bartscore",
    "compressed_lens.quality.bartscore:BartScore",
    "How likely a sequence-to-sequence model finds the explanation given the item or its reference, and the reverse",
    cost="1 score + 1 text an item, and 1 + 2 traces a reference by the scorer",
    source="Yuan et al. 2021, 2106.11520; 2601.00282, section 4",
)
REGISTRY.add(
    "tigerscore",
    "compressed_lens.quality.tigerscore:TigerScore",
    "A model lists the errors of the explanation, each with the points it takes off; no reference needed",
    cost="1 score + 1 text an item, and 1 long text by the scorer",
    source="Jiang et al. 2023, 2310.00752; 2601.00282, section 4",
)
REGISTRY.add(
    "perplexity",
    "compressed_lens.quality.perplexity:Perplexity",
    "How fluent a language model finds the edited text or the explanation: mean, median and corpus perplexity",
    cost="1 score + 1 text an item, and 1 reading by the scorer",
    source="2601.00282, section 4; 2501.00777",
)
REGISTRY.add(
    "similarity",
    "compressed_lens.quality.similarity:Similarity",
    "Cosine of embeddings of the edited and the original text, or of the explanation and its reference",
    cost="1 score + 1 text an item, and 2 embeddings by the scorer",
    source="Bhattacharjee et al. 2024, 2405.04793",
)
REGISTRY.add(
    "cc_shap",
    "compressed_lens.faithfulness.cc_shap:CCShap",
    "Do the same words of the input drive the label and the explanation",
    cost="1 text + up to 1,000 masked readings an item",
    source="Parcalabescu & Frank, ACL 2024",
)
REGISTRY.add(
    "same_text",
    "compressed_lens.faithfulness.same_text:SameText",
    "Full precision's explanation read by the variant: other words on paper, or other words behind them",
    cost="2 texts + up to 2,000 masked readings an item, half of them by the full model, once for all variants",
    source="this project",
)
REGISTRY.add(
    "layer_recall",
    "compressed_lens.knowledge.layer_recall:LayerRecall",
    "From which layer on the object of a fact is the likeliest token (logit lens), and its shift",
    cost="1 short pass an item, and 1 by the full model, once for all variants",
    source="2505.13963, section 4; Yang et al. 2024",
)
REGISTRY.add(
    "entity_recall",
    "compressed_lens.multihop.entity_recall:EntityRecall",
    "Does the mention of a bridge entity bring it to mind, layer by layer, more than substituted mentions do (RQ1)",
    cost="3 short passes an item",
    source="2505.13963, section 4; Yang et al. 2024",
)
REGISTRY.add(
    "consistency",
    "compressed_lens.multihop.consistency:TwoHopConsistency",
    "Does the two-hop prompt answer as the one-hop prompt does, and more so as the bridge comes to mind (RQ2)",
    cost="about 5 short passes an item",
    source="2505.13963, section 4; Yang et al. 2024",
)
REGISTRY.add(
    "patchscopes",
    "compressed_lens.multihop.patchscopes:Patchscopes",
    "Which entity do the states of a descriptive mention stand for, in the model's own words, against a control",
    cost="2 texts of 10 tokens a pair of states: 2,112 with 32 blocks; a stride of 4 takes a sixteenth",
    source="Ghandeharioun et al. 2024; Biran et al. 2024, 2406.12775; SOCRATES, 2411.16679",
)
REGISTRY.add(
    "back_patching",
    "compressed_lens.multihop.back_patching:BackPatching",
    "Do failed two-hop prompts come right when a later state is put back into an earlier layer, against a control",
    cost="1 score + 1 text an item; a failed one 2 texts of 10 tokens a pair: 1,056 with 32 blocks",
    source="Biran et al. 2024, 2406.12775",
)
REGISTRY.add(
    "causal_tracing",
    "compressed_lens.knowledge.causal_tracing:CausalTracingOfFacts",
    "Which states and sub-layers carry a subject to its object: noise on the subject, one clean piece put back",
    cost="10 samples x blocks x tokens short passes a part and known item, and 1 short pass by the full model",
    source="Meng et al. 2022, 2202.05262",
)
REGISTRY.add(
    "linear_relation",
    "compressed_lens.knowledge.linear_relation:LinearRelations",
    "Is the way from a subject to its object an affine map, estimated on other subjects of the relation",
    cost="1 short pass and 5 forward derivatives an item, and 10 a relation",
    source="Hernandez et al. 2024, 2308.09124",
)
REGISTRY.add(
    "integrated_neurons",
    "compressed_lens.knowledge.integrated_neurons:KnowledgeNeurons",
    "Neurons that hold a fact by integrated gradients: full precision's ones kept, suppressed and enhanced",
    cost="about 6 passes a wording, here and once in full precision, and 6 more",
    source="Dai et al. 2022, 2104.08696",
)
REGISTRY.add(
    "neuron_ablation",
    "compressed_lens.knowledge.neuron_ablation:NeuronAblation",
    "Flagged neurons of a fact set to zero against random ones of the same blocks: those that do not matter are named",
    cost="about 3 passes an item, here and once in full precision, and 3 more",
    source="this project; Yu & Ananiadou 2024, Dai et al. 2022",
)
REGISTRY.add(
    "layer_contributions",
    "compressed_lens.knowledge.layers:LayerContributions",
    "What each block's attention and feed-forward part add to the object's log-probability, and the drop",
    cost="2 passes an item and 1 in full precision, once for all variants",
    source="2505.13963, section 4; Yu & Ananiadou 2024",
)
REGISTRY.add(
    "neurons",
    "compressed_lens.knowledge.neurons:ValueNeurons",
    "Neurons whose output raises the object most: how many of full precision's 300 survive, which are new",
    cost="about 6 passes an item, and as many in full precision",
    source="2505.13963, section 4; Yu & Ananiadou 2024",
)
REGISTRY.add(
    "query_neurons",
    "compressed_lens.knowledge.query_neurons:QueryNeuronsOfFacts",
    "Which neurons activate the attention neurons that raise the object, and whether they are full precision's",
    cost="about 3 passes an item, and as many in full precision, once for all variants",
    source="Yu & Ananiadou 2024, section 3.4",
)


def create(name: str, settings: Mapping[str, Any] | None = None) -> Analysis:
    """Return the analysis `name` with `settings` over its defaults; lists become tuples.

    Raises:
        StudyError: Unknown name or setting, or a value the analysis refuses.
    """
    kind = REGISTRY.get(name)
    if not isinstance(kind, Analysis):
        raise StudyError(f"'{name}' ({kind.__name__}) is not an analysis: it lacks name, kinds, metrics or steps.")
    valid = [f.name for f in fields(cast(Any, kind))]
    given = dict(settings or {})
    for key in given:
        if key not in valid:
            raise StudyError(
                f"Analysis '{name}' has no setting '{key}'.",
                fix=nearest(key, valid) or f"Its settings: {', '.join(valid) or 'none'}.",
            )
    return cast(Analysis, kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}))
