//! pyarrow, polars and DuckDB read the file.

use std::process::Command;

use crate::util::{Playground, repository};

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
assert codecs == {"ZSTD"}, codecs

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

#[test]
fn pyarrow_polars_and_duckdb_read_the_file() {
    let playground = Playground::new();
    let rows = playground.build(repository("fixtures/corpus").to_str().unwrap(), &[]);
    let site = repository("target/python");
    assert!(site.is_dir(), "run scripts/readers first, or the tests by scripts/test");
    let mut python = Command::new("python3");
    python.arg("-c").arg(SCRIPT).arg(playground.path("out.parquet")).env("PYTHONPATH", site);
    let output = python.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), rows.len().to_string());
}
