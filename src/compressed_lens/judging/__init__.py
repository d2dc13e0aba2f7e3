"""Language models as judges of explanations."""
