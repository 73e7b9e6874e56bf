"""Checks a report against its schema, and that delta.parquet turns the table of the night before into the new one.

night.py PAGE SCHEMA REPORT OLD NEW
"""

import json
import sys
from pathlib import Path

import duckdb
import fastjsonschema
from pages import delta_statements

page, schema, report, old, new = sys.argv[1:]
validate = fastjsonschema.compile(json.loads(Path(schema).read_text(encoding="utf-8")))
validate(json.loads(Path(report).read_text(encoding="utf-8")))


def rows(table):
    return duckdb.sql(f"FROM {table} ORDER BY id").fetchall()


duckdb.sql(f"CREATE TABLE documents AS FROM '{old}'")
duckdb.sql(delta_statements(Path(page)))
assert rows("documents") == rows(f"'{new}'")
