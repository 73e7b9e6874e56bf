//! The code of the READMEs, docs/duckdb.md and docs/recipes.md, and the SQL of docs/nightly.md, work as printed.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::make::gzip;
use crate::util::{self, Playground, json_lines, repository};

#[derive(Clone, Deserialize, Serialize)]
struct Article {
    id: String,
    text: String,
    language: Option<String>,
    year: Option<u16>,
}

/// Returns the texts of the corpus with two kept columns.
fn articles() -> Vec<Article> {
    let mut articles: Vec<Article> = json_lines("fixtures/expected.jsonl");
    for (at, article) in articles.iter_mut().enumerate() {
        article.language = article.id.split_once('/').map(|(language, _)| language.to_owned());
        article.year = (at % 10 != 9).then(|| 2016 + u16::try_from(at % 10).unwrap());
    }
    articles
}

fn lines(articles: &[Article]) -> String {
    articles.iter().map(|article| serde_json::to_string(article).unwrap() + "\n").collect()
}

/// Makes a folder with the files that the pages start from.
fn playground() -> Playground {
    let playground = Playground::new();
    let mut articles = articles();
    playground.write("articles.jsonl", lines(&articles));
    articles.remove(3);
    articles[5].text = "Another text.".to_owned();
    articles.push(Article {
        id: "en/new.md".to_owned(),
        text: "A new text.".to_owned(),
        ..articles[0].clone()
    });
    playground.write("tonight.jsonl", lines(&articles));
    symlink(repository("fixtures/corpus"), playground.path("docs")).unwrap();
    playground
}

/// Runs a script of tests/python with sets of packages. Earlier sets take precedence.
fn python(playground: &Playground, packages: &[&str], script: &str, arguments: &[&str]) -> String {
    let mut command = util::python(packages[0]);
    let sites = packages.iter().map(|set| repository(&format!("target/python/{set}")));
    command.env("PYTHONPATH", env::join_paths(sites).unwrap());
    let path = env::var_os("PATH").unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_qwen3-index")).parent().unwrap().to_owned();
    let paths = [bin].into_iter().chain(env::split_paths(&path));
    command.env("PATH", env::join_paths(paths).unwrap());
    command.env("QWEN3_INDEX_MODEL", repository("fixtures/qwen3-tiny")).current_dir(playground.path(""));
    command.arg(repository("tests/python").join(script)).args(arguments);
    let ran = playground.output(&mut command, "").expect(0);
    print!("{}", ran.stdout);
    ran.stdout
}

fn page(name: &str) -> String {
    repository(&format!("docs/{name}")).to_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_code_of_the_page_on_duckdb_works_with_full_text_search() {
    let said = python(&playground(), &["recipes", "readers"], "pages.py", &[&page("duckdb.md")]);
    assert!(!said.contains("skipped"), "{said}");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_code_of_the_page_on_duckdb_works_with_the_other_duckdb_version() {
    python(&playground(), &["readers"], "pages.py", &[&page("duckdb.md")]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn all_recipes_find_the_nearest_rows() {
    python(&playground(), &["recipes", "readers"], "pages.py", &[&page("recipes.md")]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn both_readmes_have_the_same_commands_and_they_work() {
    let playground = playground();
    let row = "{\"url\": \"page\", \"text\": \"A page.\", \"body\": \"A page.\"}\n";
    playground.write("notes.md", "# Notes");
    playground.write("crawl.jsonl", row);
    playground.write("crawl.jsonl.gz", gzip(row.as_bytes()));
    fs::remove_file(playground.path("docs")).unwrap();
    playground.write("docs/handbook.md", "# Handbook");
    for article in articles() {
        playground.write(&format!("docs/{}.txt", article.id), article.text);
    }
    let pages = ["README.md", "README.zh-CN.md"].map(|name| repository(name).to_str().unwrap().to_owned());
    python(&playground, &["recipes", "readers"], "readmes.py", &[&pages[0], &pages[1]]);
}

/// Returns a pseudo-random number below `most`, the same in every run.
fn dice(state: &mut u64, most: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % most
}

/// Edits documents: removes some, changes texts, kept values and names, and adds some.
fn edit(articles: &mut Vec<Article>, texts: &[String], day: usize, state: &mut u64) {
    for edit in 0..12 {
        let at = dice(state, articles.len());
        // The new texts have other chunks, or more or fewer of them.
        let text = || texts[(day * 17 + edit * 5) % texts.len()].clone() + " Day " + &day.to_string();
        match edit % 5 {
            0 => drop(articles.remove(at)),
            1 => articles[at].text = text(),
            2 => articles[at].year = articles[at].year.map_or(Some(2000), |_| None),
            3 => articles[at].id = format!("renamed/{day}/{edit}"),
            _ => articles.insert(
                at,
                Article { id: format!("new/{day}/{edit}"), text: text(), ..articles[at].clone() },
            ),
        }
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn deltas_applied_to_duckdb_equal_the_file_of_each_night() {
    const NIGHTS: usize = 8;
    let playground = Playground::new();
    let mut articles = articles();
    let texts: Vec<String> = articles.iter().map(|article| article.text.clone()).collect();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for night in 0..=NIGHTS {
        playground.write("articles.jsonl", lines(&articles));
        for (kind, options) in [("documents", ""), ("chunks", "--chunks --max-tokens 64")] {
            let delta = format!("{kind}.{night}.delta.parquet");
            let build = format!(
                "build articles.jsonl -o {kind}.parquet --delta {delta} --keep language --keep year {options}"
            );
            playground.run(&build.split_whitespace().collect::<Vec<_>>()).expect(0);
            let (file, copy) = (format!("{kind}.parquet"), format!("{kind}.{night}.parquet"));
            fs::copy(playground.path(&file), playground.path(&copy)).unwrap();
        }
        edit(&mut articles, &texts, night, &mut state);
    }
    let said = python(&playground, &["readers"], "nights.py", &[&page("nightly.md"), "documents", "chunks"]);
    for kind in ["documents", "chunks"] {
        assert!(said.contains(&format!("{kind}: {NIGHTS} nights")), "{said}");
    }
}
