"""Any OpenAI-compatible endpoint, with the user's persona added.

passing   the pool of connections to it; a call's bytes there and back, untouched, as they come
splice    where in a call's bytes the persona goes, and no other byte changed
words     the persona as a system message: what may be said, delimited, and what the header tells
answers   several answers of it, for best-of-n
"""

from palate.serve.upstream.answers import several
from palate.serve.upstream.passing import Passing, Upstream, UpstreamFault, until_gone
from palate.serve.upstream.splice import Call, read_call, with_words
from palate.serve.upstream.words import HEADER, Told, told_of

__all__ = [
    "HEADER",
    "Call",
    "Passing",
    "Told",
    "Upstream",
    "UpstreamFault",
    "read_call",
    "several",
    "told_of",
    "until_gone",
    "with_words",
]
