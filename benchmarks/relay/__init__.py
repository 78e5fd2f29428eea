"""What it costs that a recall is answered inside the response.

    python -m benchmarks.relay [--requests N] [--streams N] [--soak N] [--json FILE]

Provider and proxies are real processes on loopback, and the clients sit in a process of their own, as everything that
shares an interpreter with the provider's threads would wait for them.
"""
