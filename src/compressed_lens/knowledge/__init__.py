"""What a model knows: facts recalled, and later where they sit."""
