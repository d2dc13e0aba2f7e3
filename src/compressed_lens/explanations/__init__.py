"""Self-explanations: how they are asked for, and how the answers are read."""
