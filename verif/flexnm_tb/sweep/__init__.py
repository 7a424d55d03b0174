"""Design-space exploration: many designs measured in parallel, a SQLite table of the figures, a page with plots."""
