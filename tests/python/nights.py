"""Applies the deltas of many nights to DuckDB tables with the statements of docs/nightly.md. Compares each night's table with
one loaded from that night's file.

    nights.py PAGE KIND…

KIND.0.parquet, KIND.1.parquet, … are the files of the nights. KIND.1.delta.parquet has the changes from the first to the second.
"""

import shutil
import sys
from itertools import count
from pathlib import Path

import duckdb
from pages import delta_statements

page, *kinds = sys.argv[1:]
apply = delta_statements(Path(page))


def table(name):
    columns = duckdb.sql(f"DESCRIBE {name}").fetchall()
    return [column[:2] for column in columns], duckdb.sql(f"FROM {name} ORDER BY id").fetchall()


for kind in kinds:
    ops = set()
    duckdb.sql(f"CREATE OR REPLACE TABLE documents AS FROM '{kind}.0.parquet'")
    for night in count(1):
        delta = Path(f"{kind}.{night}.delta.parquet")
        if not delta.exists():
            break
        shutil.copy(delta, "delta.parquet")
        duckdb.sql(apply)
        duckdb.sql(f"CREATE OR REPLACE TABLE scratch AS FROM '{kind}.{night}.parquet'")
        assert table("documents") == table("scratch"), f"{kind}, night {night}"
        ops.update(op for (op,) in duckdb.sql("SELECT op FROM 'delta.parquet'").fetchall())
    assert ops == {"added", "changed", "removed"}, ops
    print(f"{kind}: {night - 1} nights, {len(table('scratch')[1])} rows at the end")
