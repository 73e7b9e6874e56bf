//! Other programs read what the tool writes: pyarrow, polars and DuckDB read the files, a JSON Schema validator the report.

use std::fs;

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

#[test]
#[ignore = "needs what scripts/test installs"]
fn pyarrow_polars_and_duckdb_read_the_file() {
    let playground = Playground::new();
    let rows = playground.build(repository("fixtures/corpus").to_str().unwrap(), &[]);
    let mut python = util::python("readers");
    python.args(["-c", SCRIPT, "out.parquet"]).current_dir(playground.path(""));
    let said = playground.output(&mut python, "").expect(0).stdout;
    assert_eq!(said.trim(), rows.len().to_string());
}

const SMALL_SCRIPT: &str = r#"
import math, sys
import duckdb, polars, pyarrow, pyarrow.parquet

exact = pyarrow.parquet.read_table("f32.parquet").to_pylist()
for kind, arrow, of_polars, of_duckdb in [
    ("f16", pyarrow.float16(), polars.Float16, "FLOAT[]"),
    ("i8", pyarrow.int8(), polars.Int8, "TINYINT[]"),
]:
    path = f"{kind}.parquet"
    table = pyarrow.parquet.read_table(path)
    vector = pyarrow.list_(pyarrow.field("element", arrow, nullable=False), 64)
    assert table.schema.field("vector") == pyarrow.field("vector", vector, nullable=False), table.schema
    metadata = pyarrow.parquet.read_metadata(path).metadata
    scale = float(metadata.get(b"qwen3-index.scale", 1))
    assert (scale == 1) == (kind == "f16"), scale
    rows = table.to_pylist()
    for row, other in zip(rows, exact, strict=True):
        assert (row["id"], row["text"]) == (other["id"], other["text"])
        off = max(abs(a * scale - b) for a, b in zip(row["vector"], other["vector"]))
        assert off <= (0.001 if kind == "f16" else scale * 0.501), (kind, row["id"], off)

    frame = polars.read_parquet(path)
    assert frame.schema["vector"] == polars.Array(of_polars, 64), frame.schema
    assert frame["vector"].cast(polars.Array(polars.Float32, 64)).to_list() == [row["vector"] for row in rows]

    types = dict(duckdb.sql(f"SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM '{path}')").fetchall())
    assert types["vector"] == of_duckdb, types
    assert duckdb.sql(f"SELECT * FROM '{path}'").fetchall() == [(r["id"], r["text"], r["vector"]) for r in rows]
print(len(rows))
"#;

#[test]
#[ignore = "needs what scripts/test installs"]
fn pyarrow_polars_and_duckdb_read_half_floats_and_integers() {
    let playground = Playground::new();
    let corpus = repository("fixtures/corpus");
    for kind in ["f32", "f16", "i8"] {
        let out = format!("{kind}.parquet");
        let arguments = ["build", corpus.to_str().unwrap(), "-o", &out, "--vector-type", kind, "-q"];
        playground.run(&arguments).expect(0);
    }
    let mut python = util::python("readers");
    python.args(["-c", SMALL_SCRIPT]).current_dir(playground.path(""));
    let said = playground.output(&mut python, "").expect(0).stdout;
    assert_eq!(said.trim(), util::rows(&playground.path("i8.parquet")).len().to_string());
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn reports_follow_their_schema_and_duckdb_applies_a_delta() {
    let playground = Playground::new();
    for name in ["a.txt", "b.txt", "c.txt", "d.txt"] {
        playground.write(&format!("docs/{name}"), format!("the text of {name}"));
    }
    let arguments =
        ["build", "docs", "-o", "out.parquet", "--delta", "delta.parquet", "--report", "report.json"];
    playground.run(&arguments).expect(0);
    let path = |name: &str| playground.path(name);
    let check = |old: &str| {
        let mut python = util::python("readers");
        let known = ["tests/python/night.py", "docs/nightly.md", "docs/report.schema.json"].map(repository);
        python.args(known).args(["report.json", old, "out.parquet"]).current_dir(playground.path(""));
        playground.output(&mut python, "").expect(0);
    };
    check("out.parquet");
    fs::copy(path("out.parquet"), path("old.parquet")).unwrap();
    fs::remove_file(path("docs/a.txt")).unwrap();
    playground.write("docs/b.txt", "another text");
    playground.write("docs/c.txt", b"%PDF-1.7 by another name");
    playground.write("docs/e.txt", "a new text");
    playground.run(&arguments).expect(3);
    check("old.parquet");
    // A run that failed early, and a dry run.
    fs::rename(path("docs"), path("gone")).unwrap();
    playground.run(&arguments).expect(1);
    check("old.parquet");
    playground.run(&["build", "gone", "-o", "out.parquet", "--report", "report.json", "--dry-run"]).expect(3);
    check("old.parquet");
}
