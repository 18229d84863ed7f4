"""The same work as Spark does it: Structured Streaming and Delta from the same topics, in the same run (`assay bench peer`).

Belongs here: Spark's job (`spark_job.py`), ours (`assay_job.py`), and what they cost side by side (`compare.py`). `make peer`
installs Spark into an environment of its own; nothing of the platform depends on it.
"""

from bench.peer.compare import installed, run

__all__ = ["installed", "run"]
