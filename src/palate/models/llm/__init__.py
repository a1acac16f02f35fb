"""Language models: what is asked, in which words, of whom, at what cost, and where answers are kept.

program     the words of a request and how its answer is read
chat        a conversation that is carried on: its turns are messages
wire        a request, an answer, and a conversation with a model as a generator

session     opened around work: settings, clients, costs, rehearsals
client      asks one model, for many conversations at once
stream      one answer piece by piece
drive       takes conversations from question to question; results in order, memory flat
ticket      one request: its prompt, and what follows from what came back
flights     calls on their way: equal ones are made once
caller      worker threads that make a model's calls, and see them through what can go wrong
pace        rate limits, and when an endpoint counts as down
desk        what all of these share in a session

engine      the protocol of one call, and its errors
through_dspy, http_errors, scrub    one call through DSPy, its errors in our terms, without keys
bridge      DSPy's own programs on our client

store       every prompt and answer, found again by content; claims, records: its parts
budget      a hard cap on calls, tokens or money
ledger      what was asked and what it cost
facts       what is known of a model: what it reads, what it costs, what it does not take
rehearsal   what a run would ask, found by running it without a model
"""
