"""Real services on one machine: Apache Kafka and OpenSearch, without Docker.

Belongs here: getting their programs, configuring them safely, owning their processes. Does not: using them for data;
whoever does reads `platform_assets.core.settings`, which serves remote services just as well.

`lifecycle` has `up`, `down`, `status` and `wipe`, `topics` has `ensure_topics`. Nothing is imported from here, so that
reading settings costs no time.
"""
