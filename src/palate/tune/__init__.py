"""Methods in which a language model itself is tuned: to infer what a person prefers, or to write for them."""
