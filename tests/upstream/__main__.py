"""`python -m tests.upstream`: the strict fake provider by hand."""

from __future__ import annotations

import argparse
import signal
import threading

from tests.upstream.server import Upstream

HELP = """\
A strict fake of Anthropic Messages, OpenAI Chat Completions and Responses on loopback. It answers from scripts, refuses
what a real provider would refuse (and more), simulates the prompt cache and prices every request.

  POST /v1/messages, /v1/messages/count_tokens      as the real ones
  POST /v1/chat/completions, /v1/responses          likewise
  GET  /_/log?label=&since=   /_/totals?label=      what came in, what it cost
  POST /_/script  {"name": "demo", "replies": [{"content": [{"type": "text", "text": "Hello"}]}]}
  POST /_/clock   {"now": 1700000000} or {"advance": 400}
  POST /_/warm    {"session": "label", "upto": "tools" | "system" | TOKENS}
  POST /_/gate    {"name": "g"}   lets a stalled reply go on
  POST /_/reset   {}

Request headers of its own: x-upstream-script, x-upstream-session (label), x-upstream-account, x-upstream-clock,
x-upstream-turn, x-upstream-bytes-per-token, x-upstream-bound (force|off).
"""

EXAMPLE = """\
try it:
  python -m tests.upstream --port 8080 &
  curl -s http://127.0.0.1:8080/v1/messages -H 'x-api-key: any' -H 'anthropic-version: 2023-06-01' \\
    -d '{"model":"claude-opus-4-6","max_tokens":100,"messages":[{"role":"user","content":"Hello"}]}'
  curl -s http://127.0.0.1:8080/_/totals
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.upstream",
        description=HELP,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="default: a free one, printed at start")
    parser.add_argument("--tls", action="store_true", help="speak TLS with a certificate made at start")
    parser.add_argument("--allow-prefill", action="store_true", help="accept an assistant message at the end")
    parser.add_argument("--keep-bodies", type=int, default=0, metavar="N", help="request bodies kept (default 0)")
    arguments = parser.parse_args()
    if not 0 <= arguments.port < 65536:
        parser.error("--port is a number up to 65535")
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    try:
        upstream = Upstream(
            port=arguments.port,
            tls=arguments.tls,
            allow_prefill=arguments.allow_prefill,
            keep_bodies=arguments.keep_bodies,
        )
        with upstream as up:
            print(up.url, flush=True)
            if arguments.tls:
                print(f"trust: {up.ca_file}", flush=True)
            done.wait()
    except OSError as error:
        parser.exit(1, f"cannot listen on port {arguments.port}: {error.strerror}\n")


if __name__ == "__main__":
    main()
