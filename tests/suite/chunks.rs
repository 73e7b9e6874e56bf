//! Rows of chunks: where texts are cut, what the columns say, and what an edit costs.

use std::fs;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::util::{Playground, json_lines, repository};

const PARAGRAPH: &str =
    "Send the station back within thirty days, in its own box, and tell us the number on the lid first.";

/// Returns a Markdown document with two levels of headings, a table and code.
fn handbook() -> String {
    let mut text = "---\ntitle: The handbook\n---\n# Handbook\n\n".to_owned();
    for chapter in ["Returns", "Repairs", "Prices"] {
        text += &format!("## {chapter}\n\n{PARAGRAPH}\n\n");
        for part in ["Europe", "Asia"] {
            text += &format!("### {chapter} in {part}\n\n{PARAGRAPH}\n\n{PARAGRAPH} {chapter}.\n\n");
        }
    }
    text += "## Parts\n\n| part | price |\n|---|---|\n";
    (0..40).for_each(|row| text += &format!("| mast {row} | {} euros, with screws |\n", row * 3));
    text
}

/// Returns the rows of an index as JSON objects.
fn rows(playground: &Playground, index: &str) -> Vec<Value> {
    let ran = playground.run(&["search", index, "x", "-k", "5000", "--json"]).expect(0);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    let mut rows = answer["hits"].as_array().unwrap().clone();
    rows.sort_by_key(|row| row["kept"]["chunk"].as_i64());
    rows
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn columns_say_where_a_chunk_stands() {
    let playground = Playground::new();
    playground.write("docs/handbook.md", handbook());
    playground.run(&["build", "docs", "-o", "documents.parquet"]).expect(0);
    let text = rows(&playground, "documents.parquet")[0]["text"].as_str().unwrap().to_owned();
    let characters: Vec<char> = text.chars().collect();
    playground.run(&["build", "docs", "-o", "out.parquet", "--chunks", "--chunk-tokens", "120"]).expect(0);
    let rows = rows(&playground, "out.parquet");
    assert!(rows.len() > 8, "{}", rows.len());
    let mut end = 0;
    for (row, number) in rows.iter().zip(0..) {
        assert_eq!(
            (&row["kept"]["document"], &row["kept"]["chunk"]),
            (&json!("handbook.md"), &json!(number))
        );
        assert_eq!((&row["kept"]["title"], &row["kept"]["page"]), (&json!("The handbook"), &json!(null)));
        assert!(row["kept"]["tokens"].as_u64().unwrap() <= 120);
        let [from, to] = ["start", "end"].map(|name| row["kept"][name].as_u64().unwrap() as usize);
        let span: String = characters[from..to].iter().collect();
        let shown = row["text"].as_str().unwrap();
        if shown.starts_with("| part | price | mast") && span.starts_with("| mast") {
            assert_eq!(shown, format!("| part | price {span}"), "a table that is cut repeats its header");
        } else {
            assert_eq!(shown, span);
        }
        assert!(characters[end..from].iter().all(|&c| c == ' '));
        end = to;
    }
    assert_eq!(end, characters.len());
    let of = |words: &str| rows.iter().find(|row| row["text"].as_str().unwrap().starts_with(words)).unwrap();
    assert_eq!(
        of("### Repairs in Asia")["kept"]["headings"],
        json!(["Handbook", "Repairs", "Repairs in Asia"])
    );
    assert!(rows.last().unwrap()["text"].as_str().unwrap().starts_with("| part | price | mast"));
    assert_eq!(rows.last().unwrap()["kept"]["headings"], json!(["Handbook", "Parts"]));
    let shown = playground.run(&["search", "out.parquet", "x", "-k", "1000"]).expect(0).stdout;
    assert!(shown.contains("  handbook.md › Handbook › Repairs › Repairs in Asia\n"), "{shown}");
}

/// `fixtures/provenance.jsonl` was not written by this tool. It holds where a person finds the words of a document.
#[test]
#[ignore = "needs what scripts/test installs"]
fn chunks_of_the_corpus_have_the_headings_and_pages_that_a_person_sees() {
    let playground = Playground::new();
    let corpus = repository("fixtures/corpus");
    playground
        .run(&["build", corpus.to_str().unwrap(), "-o", "out.parquet", "--chunks", "--chunk-tokens", "160"])
        .expect(0);
    let rows = rows(&playground, "out.parquet");
    for Place { document, words, headings, page } in json_lines("fixtures/provenance.jsonl") {
        let has_words = |row: &&Value| {
            row["kept"]["document"] == document && row["text"].as_str().unwrap().contains(&words)
        };
        let row = &rows.iter().find(has_words).unwrap_or_else(|| panic!("{document}: {words}"))["kept"];
        assert_eq!(
            (&row["headings"], &row["page"], &row["page_end"]),
            (&json!(headings), &json!(page), &json!(page)),
            "{words}"
        );
    }
}

#[derive(Deserialize)]
struct Place {
    document: String,
    words: String,
    headings: Vec<String>,
    page: Option<u32>,
}

/// After each edit, the index is that of a run from scratch, and few chunks are embedded.
#[test]
#[ignore = "needs what scripts/test installs"]
fn an_edit_embeds_few_chunks() {
    let playground = Playground::new();
    let paragraphs: Vec<String> =
        (0..200).map(|n| format!("Paragraph {n} tells {} things. {PARAGRAPH}", n * 7919 % 1000)).collect();
    let edits: [fn(&mut Vec<String>); 4] = [
        |paragraphs| paragraphs.insert(90, "A new paragraph about the weather in Rotterdam.".to_owned()),
        |paragraphs| drop(paragraphs.remove(20)),
        |paragraphs| paragraphs[150] = "Changed from its first word to its last.".to_owned(),
        |paragraphs| paragraphs.insert(0, "The first paragraph is another one now.".to_owned()),
    ];
    for more in [
        &["--chunks", "--chunk-tokens", "200"][..],
        &["--chunks", "--chunk-tokens", "200", "--context", "headings"],
    ] {
        let mut paragraphs = paragraphs.clone();
        let build = [&["build", "docs", "-o", "out.parquet", "--report", "report.json"], more].concat();
        playground.write("docs/a.md", format!("# Guide\n\n{}", paragraphs.join("\n\n")));
        playground.run(&[&build[..], &["--rebuild"]].concat()).expect(0);
        let report = |name: &str| {
            let report: Value =
                serde_json::from_slice(&fs::read(playground.path("report.json")).unwrap()).unwrap();
            report[name].as_u64().unwrap()
        };
        assert!(report("chunks") > 60, "{}", report("chunks"));
        for edit in edits {
            edit(&mut paragraphs);
            playground.write("docs/a.md", format!("# Guide\n\n{}", paragraphs.join("\n\n")));
            playground.run(&build).expect(0);
            assert!((1..=3).contains(&report("chunks")), "{} chunks", report("chunks"));
            let grown = fs::read(playground.path("out.parquet")).unwrap();
            let scratch = [&["build", "docs", "-o", "scratch.parquet", "--rebuild"], more].concat();
            playground.run(&scratch).expect(0);
            assert!(grown == fs::read(playground.path("scratch.parquet")).unwrap(), "other bytes");
        }
    }
}

/// The vectors of the chunks of a document with one row are a cache: whatever happens to the file, the output has the same bytes.
#[test]
#[ignore = "needs what scripts/test installs"]
fn the_vectors_of_chunks_are_kept_beside_the_output() {
    const STORE: &str = ".out.parquet.chunks";
    let playground = Playground::new();
    let text =
        |n: usize| (0..n).map(|n| format!("Paragraph {n}. {PARAGRAPH}")).collect::<Vec<_>>().join("\n\n");
    let build = ["build", "docs", "-o", "out.parquet", "--max-tokens", "200", "--report", "report.json"];
    let chunks = |playground: &Playground| {
        let report: Value =
            serde_json::from_slice(&fs::read(playground.path("report.json")).unwrap()).unwrap();
        report["chunks"].as_u64().unwrap()
    };
    playground.write("docs/short.txt", "A short text has no chunks to keep.");
    playground.run(&build).expect(0);
    assert!(!playground.path(STORE).exists());
    playground.write("docs/a.txt", text(60));
    playground.write("docs/b.txt", format!("Another document. {}", text(50)));
    playground.run(&build).expect(0);
    let whole = fs::read(playground.path(STORE)).unwrap();
    for (damage, least) in [
        (whole.clone(), 1),
        (Vec::new(), 10),
        (whole[..whole.len() / 2].to_vec(), 1),
        ([&whole[..400], &whole[401..]].concat(), 10),
    ] {
        playground.write("docs/a.txt", text(60));
        playground.run(&build).expect(0);
        fs::write(playground.path(STORE), &damage).unwrap();
        playground.write("docs/a.txt", text(61));
        playground.run(&build).expect(0);
        let embedded = chunks(&playground);
        assert!(
            (least..=if least == 1 && damage.len() == whole.len() { 3 } else { 40 }).contains(&embedded),
            "{embedded}"
        );
        let grown = fs::read(playground.path("out.parquet")).unwrap();
        playground
            .run(&["build", "docs", "-o", "scratch.parquet", "--max-tokens", "200", "--rebuild"])
            .expect(0);
        assert!(grown == fs::read(playground.path("scratch.parquet")).unwrap());
        let kept = fs::metadata(playground.path(STORE)).unwrap().len();
        assert!(kept < whole.len() as u64 * 6 / 5, "only the chunks of the documents that are there: {kept}");
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn another_heading_embeds_its_chunks_again_if_it_is_context() {
    let playground = Playground::new();
    let build = |more: &[&str]| {
        let ran = playground.run(
            &[&["build", "docs", "-o", "out.parquet", "--chunks", "--chunk-tokens", "60"], more].concat(),
        );
        ran.expect(0).stderr.clone()
    };
    let page =
        |title: &str| format!("# {title}\n\n{PARAGRAPH}\n\n{PARAGRAPH} Twice.\n\n{PARAGRAPH} Thrice.\n");
    for (more, again) in [(&["--context", "none"][..], 1), (&["--context", "headings"], 3), (&[], 3)] {
        playground.write("docs/a.md", page("Returns"));
        build(&[more, &["--rebuild"]].concat());
        playground.write("docs/a.md", page("Refunds"));
        let said = build(more);
        assert!(said.contains(&format!("in {again} chunk")), "{more:?}: {said}");
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn wrong_settings_are_refused() {
    let playground = Playground::new();
    playground.write("docs/a.txt", "text");
    let build = ["build", "docs", "-o", "out.parquet"];
    for (more, says) in [
        (
            &["--chunks", "--chunk-tokens", "5000"][..],
            "--chunk-tokens 5000: is too large; --max-tokens or the model allows at most 2048",
        ),
        (&["--chunks", "--chunk-tokens", "9"], "--chunk-tokens 9: is too small"),
        (&["--chunks", "--keep", "page"], "--keep page: the output already has a column of this name"),
        (&["--overlap", "9"], "--chunks"),
        (&["--chunks", "--context", "author"], "possible values: title, headings, none"),
    ] {
        playground.run(&[&build[..], more].concat()).expect(2).says(says);
    }
    playground.run(&[&build[..], &["--chunks", "--context", "none", "--overlap", "20"]].concat()).expect(0);
    playground
        .run(&[&build[..], &["--chunks"]].concat())
        .expect(1)
        .says("the overlap (20 before, now 0 tokens)");
    playground
        .run(&[&build[..], &["--chunks", "--context", "none", "--overlap", "0"]].concat())
        .expect(0)
        .says("split in another way");
}

/// Columns of documents have the same values if the vector is new, if the old file has the columns, and if it does not.
#[test]
#[ignore = "needs what scripts/test installs"]
fn documents_say_their_title_and_their_size() {
    let playground = Playground::new();
    playground.write("docs/a.md", handbook());
    playground.write("docs/b.txt", "short");
    let build = ["build", "docs", "-o", "out.parquet", "--max-tokens", "200"];
    let more = ["--columns", "tokens,title,chunks"];
    playground.run(&[&build[..], &more].concat()).expect(0);
    let first = fs::read(playground.path("out.parquet")).unwrap();
    let rows = rows(&playground, "out.parquet");
    let of = |id: &str| rows.iter().find(|row| row["id"] == id).unwrap()["kept"].clone();
    assert_eq!(of("b.txt"), json!({"chunks": 1, "title": null, "tokens": 4}));
    assert_eq!(of("a.md")["title"], "The handbook");
    assert!(of("a.md")["chunks"].as_u64().unwrap() > 3 && of("a.md")["tokens"].as_u64().unwrap() > 400);
    playground.run(&[&build[..], &more].concat()).expect(0).says("is unchanged");
    playground.run(&build).expect(0).says("0 embedded, 2 reused");
    assert!(fs::read(playground.path("out.parquet")).unwrap() != first);
    playground.run(&[&build[..], &more].concat()).expect(0).says("0 embedded, 2 reused");
    assert!(fs::read(playground.path("out.parquet")).unwrap() == first);
}
