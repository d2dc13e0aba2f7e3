"""The study: what a user asks for, validated; no model, task or torch code is imported here."""
