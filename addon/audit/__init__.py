"""Structural waste of recorded agent traffic: what was sent to the model again and again, and to what end."""
