"""Runs the code blocks of a page of docs/ in order, in the working folder, and checks what each of them finds.

tests/suite/recipes.rs prepares the folder and calls this.
"""

import importlib.util
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet

HEADING_OR_BLOCK = re.compile(r"^#+ ([^\n]*)$|^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# DuckDB computes with 32-bit floats, this file with 64-bit floats.
TOLERANCE = 1e-5
# Stands in for the extension, to test the SQL around it: the same call, with scores for some documents.
STAND_IN = """
CREATE SCHEMA fts_main_documents;
CREATE MACRO fts_main_documents.match_bm25(document, question) AS
    CASE WHEN contains(document, 'e') THEN length(document || question)::DOUBLE END;
"""


def blocks(page):
    """Returns the code blocks of a page: the heading above, the language and the code."""
    text = page.read_text(encoding="utf-8")
    heading, found = None, []
    for part in HEADING_OR_BLOCK.finditer(text):
        if part[1]:
            heading = part[1]
        else:
            found.append((heading, part[2], part[3]))
    assert found and 2 * len(found) == text.count("```"), f"{page}: {len(found)} blocks found"
    return found


def delta_statements(page):
    """Returns the SQL by which docs/nightly.md applies a delta."""
    [code] = [code for _, language, code in blocks(page) if language == "sql" and "delta.parquet" in code]
    return code


def question():
    return json.loads(Path("question.jsonl").read_text(encoding="utf-8"))


def rows(path="vectors.parquet"):
    return pyarrow.parquet.read_table(path).to_pylist()


def cosine(one, other):
    return math.fsum(a * b for a, b in zip(one, other)) / math.hypot(*one) / math.hypot(*other)


def near(found, to):
    return {row["id"]: cosine(row["vector"], to) for row in found}


def expect_best(found, scores):
    """Asserts that these are the ten best ids with their scores, best first, equal scores in any order."""
    best = sorted(scores.values(), reverse=True)[:10]
    assert len(found) == len(best) == len({id for id, _ in found}), found
    for (id, score), expected in zip(found, best):
        assert math.isclose(score, expected, abs_tol=TOLERANCE), (id, score, expected)
        assert math.isclose(scores[id], expected, abs_tol=TOLERANCE), (id, scores[id], expected)


def ids_and_scores(found, id="id"):
    return [(row[id], row["score"]) for row in found]


def nearest(found, _):
    expect_best(ids_and_scores(found), near(rows(), question()["vector"]))


def nearest_of_small(found, _):
    small = rows("small.parquet")
    if "score" in found[0]:
        expect_best(ids_and_scores(found), near(small, question()["vector"]))
    else:
        exact = {row["id"]: row["vector"] for row in rows()}
        assert len(found) == len(small) == len(exact)
        assert all(cosine(row["vector"], exact[row["id"]]) > 0.999 for row in found)
        assert all(abs(math.hypot(*row["vector"]) - 1) < 0.1 for row in found)


def nearest_to_a_row(found, _):
    one = "en/returns-policy.md"
    [vector] = [row["vector"] for row in rows() if row["id"] == one]
    expect_best(ids_and_scores(found), near([row for row in rows() if row["id"] != one], vector))


def nearest_of_some(found, _):
    some = [row for row in rows() if row["language"] in ("en", "ja") and (row["year"] or 0) >= 2018]
    assert 10 < len(some) < len(rows()), len(some)
    expect_best(ids_and_scores(found), near(some, question()["vector"]))


def nearest_documents(found, _):
    chunks = near(rows("chunks.parquet"), question()["vector"])
    best = {}
    for chunk in sorted(chunks, key=chunks.get):
        best[chunk.rpartition("#")[0]] = chunk
    assert len(best) < len(chunks)
    expect_best(ids_and_scores(found, "document"), {document: chunks[chunk] for document, chunk in best.items()})
    texts = {row["id"]: row["text"] for row in rows("chunks.parquet")}
    assert all(row["text"] == texts[best[row["document"]]] for row in found), found


def nearest_of_all_files(found, _):
    files = {path: near(rows(path), question()["vector"]) for path in ["vectors.parquet", "chunks.parquet"]}
    assert all(row["id"] in files[Path(row["filename"]).name] for row in found), found
    expect_best(ids_and_scores(found), files["vectors.parquet"] | files["chunks.parquet"])


def before_and_after(found, _):
    def texts(path):
        lines = map(json.loads, Path(path).read_text(encoding="utf-8").splitlines())
        return {line["id"]: line["text"] for line in lines}

    before, after = texts("articles.jsonl"), texts("tonight.jsonl")
    edits = {id: (before.get(id), after.get(id)) for id in before | after if before.get(id) != after.get(id)}
    assert {row["id"]: (row["before"], row["after"]) for row in found} == edits, (found, edits)
    assert {row["op"] for row in found} == {"added", "changed", "removed"}, found


def fused(found, connection):
    words = connection.execute(
        "SELECT id, fts_main_documents.match_bm25(id, ?) FROM documents", [question()["text"]]
    ).fetchall()
    words = {id: score for id, score in words if score is not None}
    table = connection.execute("SELECT id, vector FROM documents").fetchall()
    assert 0 < len(words) < len(table), len(words)
    assert not extension() or max(words, key=words.get) == "en/how-a-barometer-works.md", words
    by_nearness = near([{"id": id, "vector": vector} for id, vector in table], question()["vector"])

    def part(scores, id):
        return 1 / (61 + sum(other > scores[id] for other in scores.values())) if id in scores else 0

    expect_best(ids_and_scores(found), {id: part(by_nearness, id) + part(words, id) for id in by_nearness})


CHECKS = {
    "The ten nearest": nearest,
    "Smaller vectors": nearest_of_small,
    "Nearest to a row": nearest_to_a_row,
    "Among some rows only": nearest_of_some,
    "The best chunk of each document": nearest_documents,
    "Several files": nearest_of_all_files,
    "As a table": before_and_after,
    "With full-text search": fused,
}


def extension():
    """Returns the path of DuckDB's full-text search extension, or None if no package has it."""
    package = importlib.util.find_spec("duckdb_extension_fts")
    return package and next(Path(package.origin).parent.glob(f"extensions/v{duckdb.__version__}/*"), None)


def run_sql(connection, heading, code):
    if "INSTALL fts" in code and not extension():
        print(f"skipped: full-text search, since no package has it for DuckDB {duckdb.__version__}; a stand-in ranks")
        code = STAND_IN
    result = connection.execute(code)
    if code.startswith(("SELECT", "WITH")):
        names = [column[0] for column in result.description]
        CHECKS[heading]([dict(zip(names, row)) for row in result.fetchall()], connection)


def run_python(names, heading, code):
    exec(compile(code, heading, "exec"), names)  # noqa: S102
    # The first block only loads what the others use.
    if heading != "Recipes":
        scores = near(rows(), question()["vector"])
        expect_best([(id, scores[id]) for id in names.pop("nearest")], scores)


def run(page):
    connection = duckdb.connect(config={"extension_directory": str(Path.cwd() / "extensions")})
    if extension():
        # INSTALL on the page then finds it without a network.
        connection.execute(f"INSTALL '{extension()}'")
    names = {"__name__": page.stem}
    for heading, language, code in blocks(page):
        print(f"{page.name}: {heading}: {language}")
        if language == "sh":
            subprocess.run(["bash", "-euo", "pipefail", "-c", code], check=True)
        elif language == "sql":
            run_sql(connection, heading, code)
        elif language == "python":
            run_python(names, heading, code)
        else:
            raise ValueError(f"{page}: nothing runs a block of the language {language!r}")


if __name__ == "__main__":
    run(Path(sys.argv[1]))
