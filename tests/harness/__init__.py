"""Starts real proxies for tests and measurements, and ends them again."""

from .mitmdump import ADDON, Mitmdump, NotReady

__all__ = ["ADDON", "Mitmdump", "NotReady"]
