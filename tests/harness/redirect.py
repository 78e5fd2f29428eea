"""A mitmproxy addon for tests: connections to a real provider's name end at a server on loopback.

So that tests may use the true host names, through TLS, while nothing leaves the machine: any other destination that is
not loopback is refused.
"""

from __future__ import annotations

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

HOSTS = ("api.anthropic.com", "api.openai.com", "generativelanguage.googleapis.com")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Redirect:
    def load(self, loader: Loader) -> None:
        loader.add_option("redirect_to", str, "", "HOST:PORT that stands in for the providers")

    def configure(self, updated: set[str]) -> None:
        if ctx.options.redirect_to and not ctx.options.redirect_to.rpartition(":")[2].isdigit():
            raise exceptions.OptionsError("redirect_to must be HOST:PORT")

    def server_connect(self, data: ServerConnectionHookData) -> None:
        if data.server.address is None or data.server.address[0] in LOOPBACK:
            return
        if data.server.address[0] in HOSTS and ctx.options.redirect_to:
            host, _, port = ctx.options.redirect_to.rpartition(":")
            data.server.address = (host, int(port))
        else:
            data.server.error = f"{data.server.address[0]} is not on loopback"


addons = [Redirect()]
