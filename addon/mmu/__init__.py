"""The memory manager. Pure: conversations, pages, prices and the time come in as arguments; no I/O, no clock."""
