"""The formats of messages: one module each, found by the format's name (`contracts/formats.py`).

Belongs here: all that only one format knows: its properties in a contract and their checks, how files and request bodies are
cut into records, the SQL stages from a message to the texts of its fields, what quarantine may show of it, its words in the
documentation. Does not belong here: types and checks of single fields (`transform/fields.py`).
"""
