"""Batched numerics that several families share; nothing here knows of personas or texts."""
