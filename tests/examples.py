"""How many examples a property test draws that has to run a transformer for each of its lists.

Belongs here: the settings that such tests share. `make fuzz` raises the number.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

QUICK = settings(
    max_examples=int(os.environ.get("ASSAY_EXAMPLES", "15")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
