"""Language models: what is asked, in which words, of whom, at what cost, and where answers are kept.

program   the words of a request and how its answer is read
wire      a request, an answer, and a conversation with a model as a generator
client    asks: concurrency, retries, calls in flight made once
engine    one call through DSPy, to any OpenAI-compatible endpoint or litellm provider
store     every prompt and answer, found again by content
budget    expected and measured calls, tokens, money and time; a hard cap
"""
