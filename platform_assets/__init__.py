"""Assay: events and files from their source to tables, dashboards and search, proved on the way."""
