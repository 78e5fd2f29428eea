"""The command line: `mitmmu` starts the proxy, `mitmmu mcp` serves what it keeps, `mitmmu audit` and
`mitmmu replay` read recordings, `mitmmu gc`, `forget`, `rekey`, `export` and `import` look after the store."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

USAGE = """\
mitmmu: virtual memory for LLM agents, as a proxy.

  ./run                     start the proxy on 127.0.0.1:8080, state in your state folder
  ./run --web               the same, with mitmproxy's web interface on 127.0.0.1:8081
  ./run up --processes 4    several proxies behind one port, sharing one store (./run up --help)
  ./run certificate         print where the certificate is that agents are to trust
  ./run demo                play a long session end to end, no key and no network needed
  ./run mcp                 serve the kept pages as MCP tools over stdio (./run mcp --help)
  ./run audit [PATH...]     say what recorded agents sent in vain (./run audit --help)
  ./run replay [PATH...]    say what mitmmu would have saved on them (./run replay --help)
  ./run gc                  delete what has expired (./run gc --help)
  ./run forget              delete what is kept of a project, of a conversation, or of all (./run forget --help)
  ./run rekey               encrypt the store, change its key, or decrypt it (./run rekey --help)
  ./run export FILE         write all that is kept to a file; ./run import FILE reads it (./run export --help)
  ./run test [ARG...]       run the tests (arguments go to pytest)
  ./run bench NAME [ARG...] run a benchmark: replay, lab, latency, relay, fuzz, crash, pages, load

All other arguments are mitmdump's own. The most useful:

  -p PORT                   listen on another port
  --set mmu_mode=observe    measure what would be saved, change nothing
  --set mmu_home=FOLDER     keep the state there
  --set mmu_hosts=HOST,...  more hosts that speak an API known here
  --mode reverse:https://api.anthropic.com
                            for agents that take a base URL: no certificate needed

Then point an agent at it. Claude Code, from another terminal:

  HTTPS_PROXY=http://127.0.0.1:8080 NODE_EXTRA_CA_CERTS=~/.mitmproxy/mitmproxy-ca-cert.pem claude
"""


COMMANDS = {
    **{name: name for name in ("up", "certificate", "mcp", "audit", "replay", "gc", "forget", "rekey", "export")},
    "import": "importing",
}
"""Modules by the word that calls them; each has a `main` that takes the arguments behind it."""


def main() -> None:
    """Start mitmdump, or mitmweb with `--web`, with the addon; or, by its name, what stands beside it.

    The proxy listens on loopback unless told otherwise.
    """
    given = sys.argv[1:]
    if given and given[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return
    if given and given[0] in COMMANDS:
        import_module(f"addon.cli.{COMMANDS[given[0]]}").main(given[1:])
        return
    start(given)


def start(given: list[str]) -> None:
    """Run the proxy with mitmdump's arguments, or mitmweb's behind `--web`."""
    from mitmproxy.tools import main as tools

    run = tools.mitmdump
    if given[:1] == ["--web"]:
        run, given = tools.mitmweb, given[1:]
    defaults: list[str] = []
    if not any(word.startswith(("--listen-host", "listen_host=")) for word in given):
        defaults += ["--listen-host", "127.0.0.1"]
    if run is tools.mitmdump and not any(word.startswith(("--flow-detail", "flow_detail=")) for word in given):
        defaults += ["--set", "flow_detail=0"]  # mitmmu says one line a request itself
    print("mitmmu: `./run help` says how to point an agent at this proxy.", flush=True)
    run(["-s", str(Path(__file__).resolve().parent.parent / "mitmmu.py"), *defaults, *given])
