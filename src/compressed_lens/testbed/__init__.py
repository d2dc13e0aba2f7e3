"""The embedded reference model and its world: every fact, label, explanation and edit is known by construction."""
