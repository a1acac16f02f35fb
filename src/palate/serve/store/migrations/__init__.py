"""How the tables came to be: one file a revision in ``versions``, run by alembic when a store is opened.

A change of ``schema.py`` comes with a revision here; a test compares the two on both databases.
"""
