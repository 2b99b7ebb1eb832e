"""The schema as numbered SQL that SQLite and PostgreSQL both read; a published file never changes, the next one alters it."""
