"""`mitmmu certificate`: where the certificate is that agents are to trust; it is made if there is none yet."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def folder(words: Sequence[str]) -> Path:
    """Where mitmproxy keeps it, by its own arguments."""
    from mitmproxy.options import CONF_DIR

    stated = [word.partition("=")[2] for word in words if word.startswith("confdir=")]
    return Path(stated[-1] if stated else CONF_DIR).expanduser()


def make(place: Path) -> Path:
    """The certificate in a folder, made on first use. OSError where that cannot be."""
    from mitmproxy.certs import CertStore
    from mitmproxy.options import CONF_BASENAME, KEY_SIZE

    CertStore.from_store(place, CONF_BASENAME, KEY_SIZE)
    return place / f"{CONF_BASENAME}-ca-cert.pem"


def main(argv: Sequence[str]) -> None:
    """Print its path."""
    parser = argparse.ArgumentParser(
        prog="mitmmu certificate", description="Print where the certificate is that agents are to trust, and make it."
    )
    parser.add_argument("--set", action="append", default=[], metavar="confdir=FOLDER", help="mitmproxy's own folder")
    asked = parser.parse_args(list(argv))
    try:
        print(make(folder(asked.set)))
    except OSError as error:
        parser.exit(1, f"mitmmu: the certificate cannot be made: {error}\n")
