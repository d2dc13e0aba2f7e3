"""Human study: people rate explanations of a run, blind to the variant; who rates what, and what it says."""
