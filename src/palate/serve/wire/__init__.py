"""What requests and answers look like: the API's nouns, checked on the way in.

The server and the Python client share these classes, so that what one sends the other can read.

    texts     strings that can be kept, conversations
    feedback  choices and what became of them
    persona   what is believed, its versions, edits and their effect
    use       rank, reward, judge, jury, next pair, best of n
    rights    export, receipts, keys, audit
    operate   model, pool, people, state
"""
