"""The documentation: Sphinx's settings, and the pages that are made from the code."""
