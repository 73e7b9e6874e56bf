//! Other programs read what is written: pyarrow, polars and DuckDB the files, a validator the report.

use std::fs;
use std::path::PathBuf;

use crate::util::{self, Playground, repository};

const SCRIPT: &str = r#"
import sys
import duckdb, polars, pyarrow, pyarrow.parquet

path = sys.argv[1]
table = pyarrow.parquet.read_table(path)
vector = pyarrow.list_(pyarrow.field("element", pyarrow.float32(), nullable=False), 64)
assert table.schema.field("id") == pyarrow.field("id", pyarrow.utf8(), nullable=False), table.schema
assert table.schema.field("text") == pyarrow.field("text", pyarrow.utf8(), nullable=False), table.schema
assert table.schema.field("vector") == pyarrow.field("vector", vector, nullable=False), table.schema
assert b"qwen3-index" in pyarrow.parquet.read_metadata(path).metadata
codecs = {pyarrow.parquet.read_metadata(path).row_group(0).column(n).compression for n in range(3)}
assert codecs == {"ZSTD", "UNCOMPRESSED"}, codecs

frame = polars.read_parquet(path)
assert frame.schema["vector"] == polars.Array(polars.Float32, 64), frame.schema
rows = table.to_pylist()
assert frame.to_dicts() == rows

assert duckdb.sql(f"SELECT * FROM '{path}'").fetchall() == [(r["id"], r["text"], r["vector"]) for r in rows]
nearest = duckdb.sql(f"""
    SELECT id FROM '{path}'
    ORDER BY array_cosine_distance(vector::FLOAT[64], (SELECT vector::FLOAT[64] FROM '{path}' WHERE id = 'faq-003'))
    LIMIT 1""").fetchall()
assert nearest == [("faq-003",)], nearest
print(len(rows))
"#;

/// Takes the schema, a report, and a delta with the files before and after it.
const NIGHT: &str = r#"
import json, sys
import duckdb, fastjsonschema

schema, report, delta, old, new = sys.argv[1:]
fastjsonschema.compile(json.load(open(schema)))(json.load(open(report)))

duckdb.sql(f"CREATE TABLE documents AS SELECT * FROM '{old}'")
# As in docs/nightly.md.
duckdb.sql(f"""
BEGIN;
DELETE FROM documents WHERE id IN (SELECT id FROM '{delta}');
INSERT INTO documents SELECT * EXCLUDE (op) FROM '{delta}' WHERE op <> 'removed';
COMMIT;
""")
rows = lambda table: duckdb.sql(f"SELECT * FROM {table} ORDER BY id").fetchall()
assert rows("documents") == rows(f"'{new}'")
"#;

fn python(script: &str, arguments: &[PathBuf]) -> String {
    let output = util::python("readers").arg("-c").arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn pyarrow_polars_and_duckdb_read_the_file() {
    let playground = Playground::new();
    let rows = playground.build(repository("fixtures/corpus").to_str().unwrap(), &[]);
    let said = python(SCRIPT, &[playground.path("out.parquet")]);
    assert_eq!(said.trim(), rows.len().to_string());
}

#[test]
fn reports_are_as_their_schema_says_and_duckdb_applies_a_delta() {
    let playground = Playground::new();
    for name in ["a.txt", "b.txt", "c.txt", "d.txt"] {
        playground.write(&format!("docs/{name}"), format!("the text of {name}"));
    }
    let arguments =
        ["build", "docs", "-o", "out.parquet", "--delta", "delta.parquet", "--report", "report.json"];
    playground.run(&arguments).expect(0);
    let path = |name: &str| playground.path(name);
    let check = |old: &str| {
        let schema = repository("docs/report.schema.json");
        let files = [path("report.json"), path("delta.parquet"), path(old), path("out.parquet")];
        python(NIGHT, &[&[schema][..], &files].concat());
    };
    check("out.parquet");
    fs::copy(path("out.parquet"), path("old.parquet")).unwrap();
    fs::remove_file(path("docs/a.txt")).unwrap();
    playground.write("docs/b.txt", "another text");
    playground.write("docs/c.txt", b"%PDF-1.7 by another name");
    playground.write("docs/e.txt", "a new text");
    playground.run(&arguments).expect(3);
    check("old.parquet");
    // One that ended early, and one that was dry.
    fs::rename(path("docs"), path("gone")).unwrap();
    playground.run(&arguments).expect(1);
    check("old.parquet");
    playground.run(&["build", "gone", "-o", "out.parquet", "--report", "report.json", "--dry-run"]).expect(3);
    check("old.parquet");
}
