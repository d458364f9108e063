"""Verification: the model's queues against queueing theory, apart from the unit tests.

``python -m tests.verification`` runs every case and writes docs/verification.md, its figures and ``results.json``.
"""
