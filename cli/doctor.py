"""`fgembed doctor`."""

import typer

from fgembed.cli.options import JsonOption

app = typer.Typer(add_completion=False)


@app.command()
def doctor(
    as_json: JsonOption = False,
) -> None:
    """Check the installation: versions, devices, a real session, duplicate runtimes, caches.

    Exits with 1 when something is wrong, and says how to fix it.

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
        print_table(["topic", "", "result"], rows, right=set())
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(1)
