"""A fake language model, for tests and for the simulated world where no real one can be had.

It reads what it is sent and nothing else, errs to order, and is told apart by its name: ``fake:world`` in
process, ``fake-world`` over HTTP. What it says is never to be shown as a real model's.

knobs      how it errs, how slow it is, what it cannot see
prompts    what stands in a prompt
words      statements about a taste, read and written
senses     where a text stands on the world's axes
tastes     what persona and examples tell it, and what it believes of two answers
verdicts   answers that choose
writing    answers that describe
proposals  answers in the form of DSPy's own programs
reader     the engine: a request in, an answer out
ledger     what was charged, and repeated
server     the same over HTTP
"""
