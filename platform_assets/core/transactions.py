"""The names of the application transactions that table commits carry: the protocol by which tables say where they stand.

Belongs here: each name, and what its version counts. Does not: reading or advancing them (`tables/table.py` and whoever commits).
A version only grows. A commit states which versions it expects and which it advances, in one Delta commit (compare-and-set).
"""

from __future__ import annotations

SEQ = "seq"
"""The last bronze commit: bronze's own, or the last that silver or quarantine has taken in."""
EPOCH = "epoch"
"""Bronze: the worker that may land. A successor claims the next with its first commit; whoever finds a higher one ends."""
CLOCK = "clock"
"""Bronze: the landing time of the last commit, in microseconds since 1970. It never runs backwards."""
REWRITE = "rewrite"
"""Silver: how often rebuilds and replays have rewritten it; `rewrite_mark` names the last that touched an event partition."""
CONFLICTS = "conflicts"
"""Silver: how many duplicates that workers dropped had other values than their survivor, since the table began."""
CONFLICT_SEQ = "conflict_seq"
"""Silver: the last bronze commit that had such a duplicate."""
FENCE = "fence"
"""Silver: raised by whoever replaces a quarantine commit that silver has not confirmed, so that its maker cannot confirm it."""
RETENTION = "retention"
"""Silver: the latest moment that retention has counted from, in microseconds since 1970."""
REFRESH = "refresh"
"""Marts and the refresh log: the number of the last refresh."""
REVISION = "revision"
"""Alerts: the number of the last commit of incidents."""
RESTORED = "restored"
"""A table that came out of a backup and that an index follows: when, in microseconds since 1970."""


def app_id(source: str, shard: int) -> str:
    """The next position of a shard: bronze has landed, or silver taken in, all before it."""
    return f"{source}:{shard}"


def followed_mark(topic: str) -> str:
    """Bronze of a table that follows a topic of that name: what comes from then on is promised."""
    return f"followed:{topic}"


def start_mark(app_id: str) -> str:
    """Bronze: the position from which it promised to read a shard."""
    return f"start:{app_id}"


def rewrite_mark(partition: str) -> str:
    """Silver: the last `rewrite` that touched this event partition."""
    return f"{REWRITE}:{partition}"


def expired_mark(day: str) -> str:
    """Silver: retention has dropped rows of this day; the version is silver's `seq` then.

    Rows may come for the day again, but it is never whole again.
    """
    return f"expired:{day}"


def dropped_mark(partition: str) -> str:
    """Silver: retention has dropped this event partition; the version is silver's table version then."""
    return f"dropped:{partition}"


def marks_of(table: str) -> tuple[str, str]:
    """Marts: how far a silver table has been consumed, by commits and by rewrites."""
    return f"{SEQ}:{table}", f"{REWRITE}:{table}"


def ahead_mark(table: str) -> str:
    """Marts: the last commit of a silver table of which slots may hold rows."""
    return f"ahead:{table}"
