"""Benchmarks on real services. Each module offers `run(home, **options) -> dict` with the keys of `docs/performance.md`.

Belongs here: measuring, beside a raw limit in the same run. Does not belong here: tests (nothing asserts a time).
"""
