"""Quality of explanations and counterfactuals, one file a measure."""
