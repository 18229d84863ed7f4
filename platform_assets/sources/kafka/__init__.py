"""Kafka: topics and their offsets, whole batches in Arrow, producing. Nothing else but `local/` imports the Kafka client.

Belongs here: what is said to and heard from a broker. Does not belong here: starting one (`local/`), the lake, what a message
means.
"""
