"""`python -m platform_assets.cli`: the command where its script is not installed."""

from __future__ import annotations

from platform_assets.cli import main

main()
