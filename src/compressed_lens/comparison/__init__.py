"""Comparing variants over a whole run: transitions, agreement of tests, model size, ranks of quantizers."""
