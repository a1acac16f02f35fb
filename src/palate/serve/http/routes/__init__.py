"""The routes, a file for each group: each has a ``router`` whose decorators name full paths."""
