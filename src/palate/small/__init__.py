"""A small language with known tastes, its corpus, and small base models that are made here."""
