"""Odd input for every door of the tool: see ``__main__``."""
