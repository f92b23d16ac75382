"""`fgembed doctor`."""

from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Check the installation: versions, devices, a real session, duplicate runtimes, caches.

    Exits 1 when something is wrong, and says how to mend it.

    Example: fgembed doctor
    """
    from fgembed.doctor import examine

    findings = examine()
    if as_json:
        import json
        from dataclasses import asdict

        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        from fgembed.cli.tables import print_table

        marks = {True: "ok", False: "WRONG", None: "-"}
        rows = [[finding.topic, marks[finding.ok], finding.text] for finding in findings]
        print_table(["what", "", "found"], rows, right=set())
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(1)
