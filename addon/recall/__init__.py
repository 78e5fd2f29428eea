"""How a page gets back when the model asks for it by name."""
