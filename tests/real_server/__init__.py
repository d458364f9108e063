"""Held against what is real: OJP's servers and driver, HikariCP, and PostgreSQL, all on loopback (docs/validation.md)."""
