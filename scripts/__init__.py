"""How do I run it? Thin commands; the only floor that prints."""
