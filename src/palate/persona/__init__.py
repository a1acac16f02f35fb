"""Read methods: a persona is words that a person can read."""
