//! Reads a test set: pairs with a score, or questions, documents and judgments in BEIR's layout. The first failure ends the
//! run, because figures on a part of a test set cannot be compared with figures on the whole test set.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::Value;

use crate::error::{ContentError, DocumentError, Failure};
use crate::source::{Document, Fields, Filter, Found, Limits, Raw, Reading, Roots, Workers};
use crate::text::blocks::Structured;
use crate::text::clean::clean;

/// The fields that may hold the language of a pair or a question. The first field with a value is used.
const LANGUAGE: [&str; 2] = ["language", "lang"];

/// The limits for reading a test set: the default limits of `build`.
const LIMITS: Limits = Limits { document_bytes: 256 << 20, seconds: 60, expansion: 100 };

/// Two texts and their similarity.
pub struct Pair {
    /// The two texts of the pair, cleaned.
    pub texts: [String; 2],
    /// The known similarity, in any unit.
    pub score: f64,
    /// The language, if the data names it.
    pub language: Option<String>,
    /// The place of the pair: the file, and the line or row in the file.
    pub place: String,
}

/// A question or a document of a test set.
pub struct CorpusEntry {
    /// The id, which is unique within the file.
    pub id: String,
    /// The cleaned text.
    pub content: Structured,
}

/// A question and its language.
pub struct Question {
    /// The id and the text of the question.
    pub entry: CorpusEntry,
    /// The language, if the data names it.
    pub language: Option<String>,
}

/// The relevance of each judged document. The key of the outer map is the id of the question, the key of the inner map is the
/// id of the document.
pub type Judgments = HashMap<String, HashMap<String, i64>>;

/// What a file of a test set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Pairs of texts with a score.
    Pairs,
    /// Questions or documents with an id.
    Entries,
    /// Judgments of documents.
    Judgments,
}

/// The error for a file that is empty, or that lacks a value which its layout needs.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct LayoutError {
    /// The layout that was expected.
    pub layout: Layout,
    cause: String,
}

impl Layout {
    fn error(self, cause: String) -> anyhow::Error {
        LayoutError { layout: self, cause }.into()
    }
}

/// The file and the columns to read.
struct TestRows<'a> {
    file: &'a Path,
    text: &'a [&'a str],
    keep: &'a [&'a str],
    layout: Layout,
    program: &'a Path,
}

/// Reads pairs. `fields` names the fields or columns of the first text, the second text and the score. `program` is the path
/// of this program, which is started again as a worker if the format of the file needs a worker.
///
/// # Errors
/// The file cannot be read or is empty; a row lacks a field, or its score is not a number.
pub fn pairs(file: &Path, fields: &[String; 3], program: &Path) -> anyhow::Result<Vec<Pair>> {
    let [first, second, score] = fields.each_ref().map(String::as_str);
    let keep = [first, second, score, LANGUAGE[0], LANGUAGE[1]];
    let layout = Layout::Pairs;
    let mut pairs = Vec::new();
    TestRows { file, text: &[first, second], keep: &keep, layout, program }.each(|row| {
        let text = |name: &str, value: &Value| match value.as_str().map(clean) {
            None => Err(layout.error(format!("no field `{name}`"))),
            Some(text) if text.is_empty() => Err(anyhow!("field `{name}` is empty; remove the pair")),
            Some(text) => Ok(text),
        };
        let [of_first, of_second, of_score, languages @ ..] = &*row.kept else {
            unreachable!("a row has the columns asked for")
        };
        let texts = [text(first, of_first)?, text(second, of_second)?];
        let score = number(of_score)
            .filter(|score: &f64| score.is_finite())
            .ok_or_else(|| layout.error(format!("field `{score}` is {of_score}, not a number")))?;
        pairs.push(Pair { texts, score, language: language(languages), place: row.place() });
        Ok(())
    })?;
    Ok(pairs)
}

/// Reads the questions of `queries.jsonl`.
///
/// # Errors
/// The file cannot be read or is empty; a line lacks `_id` or `text`, or repeats an `_id`.
pub fn questions(file: &Path, program: &Path) -> anyhow::Result<Vec<Question>> {
    let mut questions = Vec::new();
    entries(file, &["text"], program, |entry, language| {
        ensure!(!entry.content.text().is_empty(), "question `{}` is empty; remove it", entry.id);
        questions.push(Question { entry, language });
        Ok(())
    })?;
    Ok(questions)
}

/// Reads the documents of `corpus.jsonl`, with title and text joined. Texts may be empty.
///
/// # Errors
/// The file cannot be read or is empty; a line lacks `_id`, has neither `title` nor `text`, or repeats an `_id`.
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
    let layout = Layout::Entries;
    let mut seen = HashSet::new();
    TestRows { file, text, keep: &["_id", LANGUAGE[0], LANGUAGE[1]], layout, program }.each(|row| {
        let [id, languages @ ..] = &*row.kept else { unreachable!("a row has the columns asked for") };
        if id.is_null() {
            return Err(layout.error("no field `_id`".to_owned()));
        }
        ensure!(
            seen.insert(row.id.clone()),
            "the id `{}` is used twice; give each line a different id",
            row.id
        );
        take(CorpusEntry { content: row.content.clean(), id: row.id.clone() }, language(languages))
    })
}

/// Reads judgments from a file such as `qrels/test.tsv`: a table with the columns `query-id`, `corpus-id` and `score`.
///
/// # Errors
/// The file cannot be read or is empty, lacks a column, has a score that is not a whole number, or judges a document twice.
pub fn judgments(file: &Path, program: &Path) -> anyhow::Result<Judgments> {
    let keep @ [query_id, corpus_id, _] = ["query-id", "corpus-id", "score"];
    let layout = Layout::Judgments;
    let mut judged = Judgments::new();
    TestRows { file, text: &[corpus_id], keep: &keep, layout, program }.each(|row| {
        let [question, document, score] = &*row.kept else { unreachable!("a row has the columns asked for") };
        let id = |name: &str, value: &Value| {
            value.as_str().map(str::to_owned).ok_or_else(|| layout.error(format!("no {name}")))
        };
        let (question, document) = (id(query_id, question)?, id(corpus_id, document)?);
        let relevance =
            number(score).ok_or_else(|| layout.error(format!("the score is {score}, not a whole number")))?;
        let before = judged.entry(question.clone()).or_default().insert(document.clone(), relevance);
        ensure!(
            before.is_none(),
            "question `{question}` and document `{document}` are judged twice; keep one line"
        );
        Ok(())
    })?;
    Ok(judged)
}

impl TestRows<'_> {
    /// Passes each row to `take`.
    fn each(&self, mut take: impl FnMut(Document) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let reading = Reading {
            fields: Fields { id: "_id".to_owned(), text: owned(self.text), keep: owned(self.keep) },
            seen: Arc::default(),
            encoding: None,
            wants_title: false,
            limits: LIMITS,
            workers: Workers::new(self.program.to_owned(), LIMITS),
            ocr: None,
        };
        let roots = Roots::new(&[self.file.to_owned()], Filter::new(&[], &[], false, false)?, false)?;
        for found in roots.documents(&reading) {
            match found {
                Found::Raw(Raw::File(file)) => bail!(
                    "{}: has no rows; name a file that ends in .jsonl, .csv, .tsv or .parquet",
                    file.location
                ),
                Found::Raw(raw) => {
                    let row = raw.read(&reading).map_err(|failure| self.failed(failure))?;
                    let place = row.place();
                    take(row).context(place)?;
                }
                Found::Failed(failure) => return Err(self.failed(failure)),
                Found::Nothing(name) => return Err(self.layout.error(format!("{name}: is empty"))),
                Found::LeftOut(_) | Found::Ignored(_) => {}
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
            self.layout.error(format!("{place}: {cause}"))
        } else {
            anyhow!("{place}: {cause}")
        }
    }
}

/// Parses a number: a JSON number, or a text as in CSV.
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
