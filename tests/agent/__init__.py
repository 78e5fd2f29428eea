"""A scripted coding agent: it plays a long session over real files against any Messages endpoint.

The model's side of a session is written beforehand (`session.build`) and given to the fake provider; the agent's side
is lived: it keeps its own transcript, really runs the tools in a work folder, and sends what a coding agent would send.
"""
