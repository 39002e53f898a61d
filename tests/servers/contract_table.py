"""python -m tests.servers.contract_table: runs the contract suite and prints what holds for which server and client."""

import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

from rich.table import Table

from tests.load.report import print_table

SUITE = Path(__file__).parent / "test_contract.py"
SERVERS = ("rating", "sequential", "visual_temporal", "a_fourth-one")
CLIENTS = ("sync", "aio", "stream", "other")

Cell = tuple[str, str]


def outcomes(report: Path) -> dict[str, dict[Cell, list[bool]]]:
    """By behavior, whether each test of it passed, by (server, client); skipped ones are left out."""
    found: dict[str, dict[Cell, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for case in ElementTree.parse(report).iter("testcase"):
        name, _, parameters = case.attrib["name"].partition("[")
        server = next((server for server in SERVERS if server in parameters), None)
        if server and case.find("skipped") is None:
            ask = re.search(r"ask_(\w+)", parameters)
            client = ask[1] if ask else "other"
            failed = case.find("failure") is not None or case.find("error") is not None
            found[name.removeprefix("test_").replace("_", " ")][server, client].append(not failed)
    return found


def table(found: dict[str, dict[Cell, list[bool]]]) -> Table:
    made = Table("behavior", *SERVERS, title="Three marks: sync, aio, stream. One mark: whatever the client.")
    for behavior, cells in found.items():
        marks = {cell: "✓" if all(passed) else "✗" for cell, passed in cells.items()}
        row = []
        for server in SERVERS:
            row.append(" ".join(marks.get((server, client), "") for client in CLIENTS))
        made.add_row(behavior, *row)
    return made


def main() -> int:
    """pytest's exit code."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", str(SUITE), f"--junitxml={report}", *sys.argv[1:]]
        )
        if report.exists():
            print_table(table(outcomes(report)))
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main())
