"""What a proxy imports, and reads once, before it is forked."""

import mitmproxy.tools.main

from addon import hooks, vocabulary
from addon.mmu import price

vocabulary.load()
price.library()

__all__ = ["hooks", "mitmproxy"]
