"""Kafka: topics and their offsets, whole batches in Arrow, producing; and files on their way into a topic.

Belongs here: what is said to and heard from a broker. Does not belong here: the lake, what a message means, the index.
"""
