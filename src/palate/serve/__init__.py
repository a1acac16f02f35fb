"""Palate as a service: choices come in, personas are kept current, rankings and answers go out.

settings   what `palate serve` is told: database, model, limits
wire       what requests and answers look like: the API's nouns, checked on the way in
store/     what is kept, in SQLite or PostgreSQL, and the one thread that writes
keeper/    what is believed of each user: the fitted model, personas kept current, edits, scores
http/      the routes, who may call them, limits, errors, metrics
pages/     what a person sees; plain files
upstream   any OpenAI-compatible endpoint, with the user's persona added
demo       a living product from the simulated world
run        the processes

Arrows run down: http asks the keeper, the keeper reads and writes the store; only the store knows SQL.
"""
