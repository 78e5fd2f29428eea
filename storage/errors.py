"""What the store raises. Nothing else leaves it but ValueError for a call that can never be right."""

from __future__ import annotations


class StoreError(Exception):
    """The store could not answer: locked, full, unreachable or closed."""


class PageDamaged(StoreError):
    """A stored page no longer decodes to the bytes it was made of."""


class KeyMissing(StoreError):
    """Something is sealed under a key that was not given."""


class SchemaTooNew(StoreError):
    """The database was written by a later version; nothing in it was touched."""
