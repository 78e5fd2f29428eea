"""The command line. `mitmmu` alone starts the proxy."""

from __future__ import annotations

import sys
from pathlib import Path

USAGE = """mitmmu: virtual memory for LLM agents, as a proxy.

  mitmmu [OPTION...]        start the proxy (mitmdump with the addon) on 127.0.0.1:8080
  mitmmu --web [OPTION...]  the same with mitmproxy's web interface

Options are mitmproxy's own. The most useful:

  -p PORT                   listen on another port
  --set mmu_mode=observe    measure what would be saved, change nothing
  --set mmu_home=FOLDER     keep the state there

Then point an agent at it, for example Claude Code:

  HTTPS_PROXY=http://127.0.0.1:8080 NODE_EXTRA_CA_CERTS=~/.mitmproxy/mitmproxy-ca-cert.pem claude
"""


def main() -> None:
    """Start mitmdump or mitmweb with the addon loaded. Listens on loopback unless told otherwise."""
    arguments = sys.argv[1:]
    if any(word in ("-h", "--help", "help") for word in arguments):
        print(USAGE, end="")
        return
    from mitmproxy.tools import main as tools

    start = tools.mitmdump
    if arguments[:1] == ["--web"]:
        start, arguments = tools.mitmweb, arguments[1:]
    shim = Path(__file__).resolve().parent.parent / "mitmmu.py"
    given = any(word.startswith(("--listen-host", "listen_host=")) for word in arguments)
    loopback = [] if given else ["--listen-host", "127.0.0.1"]
    start(["-s", str(shim), *loopback, *arguments])
