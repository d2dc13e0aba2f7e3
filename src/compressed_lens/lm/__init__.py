"""The one door to a model: prompts to ids, text, scores, hidden states and gradients, for every variant alike."""
