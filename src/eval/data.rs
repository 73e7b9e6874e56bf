//! Files of a test set in, what stands in them out: pairs with a score, or questions, documents and judgments as BEIR has
//! them. In a test set nothing may be wrong: the first failure ends the run.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::Value;

use crate::error::{ContentError, DocumentError, Failure};
use crate::source::{Document, Fields, Filter, Found, Limits, Raw, Reading, Roots, Workers};
use crate::text::clean::clean;

/// Where the language of a pair or a question stands, the first that is there.
const LANGUAGE: [&str; 2] = ["language", "lang"];

/// Those of `build` by default.
const LIMITS: Limits = Limits { document_bytes: 256 << 20, seconds: 60, expansion: 100 };

/// Two texts, and how alike they are.
pub struct Pair {
    /// The texts.
    pub texts: [String; 2],
    /// In any unit.
    pub score: f64,
    /// Where the data says.
    pub language: Option<String>,
    /// File and line.
    pub place: String,
}

/// A question, or a document.
pub struct CorpusEntry {
    /// Unique in its file.
    pub id: String,
    /// Clean.
    pub text: String,
}

/// A question and its language, where the data says.
pub struct Question {
    /// The question.
    pub entry: CorpusEntry,
    /// Its language.
    pub language: Option<String>,
}

/// How relevant documents are: of each question, by document.
pub type Judgments = HashMap<String, HashMap<String, i64>>;

/// The rows of a file: which columns they have, and what is said where one is missing.
struct TestRows<'a> {
    file: &'a Path,
    text: &'a [&'a str],
    keep: &'a [&'a str],
    expected: &'a str,
    program: &'a Path,
}

/// Pairs with these fields or columns: the first text, the second, and the score. `program` is this program, which may be
/// started again to read the file.
///
/// # Errors
/// The file cannot be read, is empty, or a row has not these fields, or no number as a score.
pub fn pairs(file: &Path, fields: &[String; 3], program: &Path) -> anyhow::Result<Vec<Pair>> {
    let [first, second, score] = fields.each_ref().map(String::as_str);
    let keep = [first, second, score, LANGUAGE[0], LANGUAGE[1]];
    let expected = "name the columns of texts and score with --fields A,B,SCORE";
    let mut pairs = Vec::new();
    TestRows { file, text: &[first, second], keep: &keep, expected, program }.each(|row| {
        let text = |at: usize| match row.kept[at].as_str().map(clean) {
            None => Err(anyhow!("no field `{}`; {expected}", keep[at])),
            Some(text) if text.is_empty() => Err(anyhow!("field `{}` is empty; remove the pair", keep[at])),
            Some(text) => Ok(text),
        };
        let number = number(&row.kept[2]).filter(|score: &f64| score.is_finite());
        let score = number
            .with_context(|| format!("field `{score}` is no number but {}; {expected}", row.kept[2]))?;
        let (texts, language) = ([text(0)?, text(1)?], language(&row.kept[3..]));
        pairs.push(Pair { texts, score, language, place: row.place() });
        Ok(())
    })?;
    Ok(pairs)
}

/// The questions of `queries.jsonl`.
///
/// # Errors
/// The file cannot be read, is empty, or a line has no `_id` or `text`, or the `_id` of an earlier one.
pub fn questions(file: &Path, program: &Path) -> anyhow::Result<Vec<Question>> {
    let mut questions = Vec::new();
    entries(file, &["text"], program, |entry, language| {
        ensure!(!entry.text.is_empty(), "question `{}` is empty; remove it", entry.id);
        questions.push(Question { entry, language });
        Ok(())
    })?;
    Ok(questions)
}

/// The documents of `corpus.jsonl`, title and text in one. Texts may be empty.
///
/// # Errors
/// As [`questions`].
pub fn corpus(file: &Path, program: &Path) -> anyhow::Result<Vec<CorpusEntry>> {
    let mut documents = Vec::new();
    entries(file, &["title", "text"], program, |entry, _| {
        documents.push(entry);
        Ok(())
    })?;
    Ok(documents)
}

fn entries(
    file: &Path,
    text: &[&str],
    program: &Path,
    mut take: impl FnMut(CorpusEntry, Option<String>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let expected = "each line must be an object like {\"_id\": \"1\", \"text\": \"…\"}";
    let mut seen = HashSet::new();
    TestRows { file, text, keep: &["_id", LANGUAGE[0], LANGUAGE[1]], expected, program }.each(|row| {
        ensure!(!row.kept[0].is_null(), "no field `_id`; {expected}");
        ensure!(seen.insert(row.id.clone()), "the id `{}` is there twice; ids must be unique", row.id);
        take(CorpusEntry { text: clean(&row.text), id: row.id }, language(&row.kept[1..]))
    })
}

/// The judgments of a file such as `qrels/test.tsv`, a table with the columns `query-id`, `corpus-id` and `score`.
///
/// # Errors
/// The file cannot be read, is empty, lacks a column, has a score that is no whole number, or judges a document twice.
pub fn judgments(file: &Path, program: &Path) -> anyhow::Result<Judgments> {
    let keep = ["query-id", "corpus-id", "score"];
    let expected =
        "the first line must name the columns query-id, corpus-id and score, with tabs between them";
    let mut judged = Judgments::new();
    TestRows { file, text: &keep[1..2], keep: &keep, expected, program }.each(|row| {
        let id = |at: usize| row.kept[at].as_str().with_context(|| format!("no {}; {expected}", keep[at]));
        let (question, document) = (id(0)?, id(1)?);
        let relevance = number(&row.kept[2])
            .with_context(|| format!("the score is no whole number but {}; {expected}", row.kept[2]))?;
        let of_question = judged.entry(question.to_owned()).or_default();
        let before = of_question.insert(document.to_owned(), relevance);
        ensure!(
            before.is_none(),
            "question `{question}` and document `{document}` are there twice; keep one"
        );
        Ok(())
    })?;
    Ok(judged)
}

impl TestRows<'_> {
    /// Hands over one row after the other.
    fn each(&self, mut take: impl FnMut(Document) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let reading = Reading {
            fields: Fields { id: "_id".to_owned(), text: owned(self.text), keep: owned(self.keep) },
            encoding: None,
            limits: LIMITS,
            workers: Workers::new(self.program.to_owned(), LIMITS),
        };
        let roots = Roots::new(&[self.file.to_owned()], Filter::new(&[], &[], false, false)?, false)?;
        for found in roots.documents(&reading) {
            match found {
                Found::Raw(Raw::File { location, .. }) => bail!(
                    "{}: has no rows; name a file that ends in .jsonl, .csv, .tsv or .parquet",
                    location
                ),
                Found::Raw(raw) => {
                    let row = raw.read(&reading).map_err(|failure| self.failed(failure))?;
                    let place = row.place();
                    take(row).context(place)?;
                }
                Found::Failed(failure) => return Err(self.failed(failure)),
                Found::Nothing(name) => bail!("{name}: is empty; {}", self.expected),
                Found::LeftOut(_) => {}
            }
        }
        Ok(())
    }

    fn failed(&self, Failure { place, cause, .. }: Failure) -> anyhow::Error {
        let has_other_fields = matches!(
            cause,
            DocumentError::FieldMissing { .. }
                | DocumentError::FieldType { .. }
                | DocumentError::Content(ContentError::ColumnMissing { .. })
        );
        if has_other_fields {
            anyhow!("{place}: {cause}; {}", self.expected)
        } else {
            anyhow!("{place}: {cause}")
        }
    }
}

/// As JSON has it, or as text, which is all that CSV has.
fn number<T: std::str::FromStr>(value: &Value) -> Option<T> {
    match value {
        Value::Number(number) => number.to_string().parse().ok(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn language(kept: &[Value]) -> Option<String> {
    kept.iter().filter_map(Value::as_str).find(|name| !name.is_empty()).map(str::to_owned)
}
