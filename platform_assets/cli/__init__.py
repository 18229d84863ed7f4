"""The `assay` command: what a person or a script does with the platform, one module a subject.

Belongs here: arguments, progress, tables and JSON for people, one line for an error. Does not: any work on data; a command
calls the package that does it. What a command needs is imported when it runs, so that `assay --help` answers at once.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    from platform_assets.cli.app import assay

    assay.main(prog_name="assay")
