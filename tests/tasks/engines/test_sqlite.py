import sqlite3
from pathlib import Path

import pytest

from seawall.tasks.engines.sqlite import _SQL, SqliteEngine
from seawall.tasks.engines.sqlite_file import connect
from seawall.tasks.job import Call

INDEX = {
    "claimable": "jobs_due",
    "expired": "jobs_lease",
    "release": "jobs_after",
    "purgeable": "jobs_done",
    "ahead": "jobs_due",
}
"""What keeps a statement from slowing down as the store grows."""


@pytest.mark.parametrize("name", _SQL)
def test_no_statement_reads_a_whole_table(tmp_path: Path, name: str) -> None:
    db = connect(tmp_path / "it.db")
    names = {"ended", "worker", "ids", "now", "limit", "until", "before", "id"}
    statement = f"EXPLAIN QUERY PLAN {_SQL[name]}"
    values = (None,) * 8 if name == "enqueue" else dict.fromkeys(names)
    plan = [row[3] for row in db.execute(statement, values)]
    db.close()
    scans = [step for step in plan if step.startswith("SCAN")]
    allowed = ("json_each", "e VIRTUAL", "sqlite_sequence", "(subquery", "CONSTANT ROW")
    indexed = [step for step in scans if f"INDEX {INDEX.get(name, '-')}" in step]
    assert [s for s in scans if not any(a in s for a in allowed) and s not in indexed] == []
    if name in INDEX:
        assert any(INDEX[name] in step for step in plan), plan


async def test_more_rows_than_one_statement_holds(tmp_path: Path) -> None:
    engine = SqliteEngine(f"sqlite:///{tmp_path / 'it.db'}")
    calls = [Call("m:f", str(n)) for n in range(1500)]
    ids = await engine.enqueue(calls, retries=0)
    engine.close()
    db = sqlite3.connect(tmp_path / "it.db")
    rows = db.execute("SELECT id, arguments, after FROM jobs ORDER BY id").fetchall()
    db.close()
    assert rows == [(i, str(n), i - 1 if n else None) for n, i in enumerate(ids)]
