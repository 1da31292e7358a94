"""``runs``: what the run folders tell."""

from dataclasses import asdict
from pathlib import Path

from cyclegan_style.commands.parser import command_parser, print_result


def runs_command(arguments: list[str]) -> int:
    """List runs, show one, or verify its checkpoints."""
    parser = command_parser(
        "runs",
        "list: every run in a folder; show: one run; verify: check every checkpoint of"
        " one run against its checksums, exit status 1 if any is damaged.",
    )
    parser.add_argument("action", choices=["list", "show", "verify"], help="what to do")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs"), help="run, or runs")
    options = parser.parse_args(arguments)

    from cyclegan_style.runs.listing import find_runs, summarise_run, verify_run

    if options.action == "verify":
        outcomes = verify_run(options.folder)
        print_result(outcomes, options.json)
        return 0 if all(outcome == "ok" for outcome in outcomes.values()) else 1
    if options.action == "show":
        print_result(asdict(summarise_run(options.folder)), options.json)
        return 0
    summaries = [asdict(summarise_run(run)) for run in find_runs(options.folder)]
    if options.json:
        print_result({"runs": summaries}, as_json=True)
        return 0
    for summary in summaries:
        total = summary["total_steps"] or "?"
        print(f"{summary['run']:<32}{summary['state']:<10}step {summary['step']}/{total}")
    return 0
