"""How each API spells a conversation. Pure: bytes in, values out; no I/O, no clock, no global state."""
