"""Writes what is generated: the CRDs from the API models, and the page of reasons. ``make generate`` runs it."""
