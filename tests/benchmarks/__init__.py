"""Figures measured side by side: the model's clocks against other programs for the same work."""
