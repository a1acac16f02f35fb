"""The API over HTTP: who may call, what they may send, and what they are told when it goes wrong.

app       the application: routes, what is opened at the start and closed at the end
server    what a process has open, as routes see it
caller    keys and tokens: who calls, what they may do, whose data they reach
edge      around every request: its id, its log line, its figures, headers, the last resort for errors
limits    sizes, rates and times, and who calls, before a route sees a request
hot       the routes that are called most, with less in between
faults    errors as answers
answers   bodies as answers
metrics   figures for Prometheus
logs      lines of JSON without content
openapi   the API's description
routes/   a file for each group of the API
"""
