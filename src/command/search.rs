//! `search`: an index and questions in, the nearest rows on standard output.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use ndarray::{Array2, Axis};
use serde::Serialize;
use serde_json::{Map, Value};

use super::process::{Exit, printed};
use super::setup::model;
use crate::cli::SearchArguments;
use crate::console::{LogFormat, shown};
use crate::index::search::{self, Neighbor, nearest};
use crate::index::{Parts, Row};
use crate::model::{Model, Workload};
use crate::text::clean::clean;
use crate::text::snippet::snippet;
use crate::text::tokenize::Tokenizer;
use crate::vector::texts::TextEmbedder;

/// Tokens of a question, instruction included, at most: what Qwen3-Embedding's model card recommends as the longest input.
const QUESTION_TOKENS_MAX: usize = 8192;

/// Questions that are answered in one pass over the index: of each, the nearest rows so far are in memory.
const TOGETHER: usize = 1024;

pub fn run(arguments: &SearchArguments, format: LogFormat) -> anyhow::Result<Exit> {
    let parts = Parts::open(std::slice::from_ref(&arguments.index))?;
    let questions = questions(arguments)?;
    let model = model::open_on_one(&arguments.model, Some(&parts.metadata().model_file), format)?;
    check_model(&model, &parts)?;
    let instruction = instruction(&model, arguments.instruction.as_deref(), arguments.no_instruction);
    let dim = parts.metadata().fingerprint.dim;
    let (tokenizer, max_tokens) = tokenizer(&questions, &model, instruction)?;
    // Mostly one question, for which no more is tried.
    let batch_tokens = (questions.len() == 1).then_some(max_tokens);
    let texts = Workload { batch_tokens, ..model::texts(&tokenizer, max_tokens)? };
    let (mut embedder, _) = model::load(&arguments.model, &model, tokenizer, &texts, Some(dim), format)?;
    let vectors = embed(&questions, &mut embedder)?;
    let search = search::Search { most: arguments.top as usize, by_document: arguments.by_document };
    let mut out = io::stdout().lock();
    let mut number = 0;
    for (questions, vectors) in questions.chunks(TOGETHER).zip(vectors.axis_chunks_iter(Axis(0), TOGETHER)) {
        let found = nearest(&parts, vectors, search)?;
        for (question, found) in questions.iter().zip(found) {
            let rows = parts.rows_at(&found.iter().map(|near| near.row).collect::<Vec<_>>())?;
            let answer = Answer { question, parts: &parts, hits: found.iter().zip(rows).collect() };
            let is_one_of_many = arguments.questions.is_some();
            printed(match arguments.json {
                true => answer.print_json(&mut out),
                false => answer.print(&mut out, is_one_of_many.then_some(number)),
            })?;
            number += 1;
        }
    }
    Ok(Exit::Done)
}

fn questions(arguments: &SearchArguments) -> anyhow::Result<Vec<String>> {
    let Some(file) = &arguments.questions else {
        let question = arguments.question.as_deref().map(clean).unwrap_or_default();
        ensure!(!question.is_empty(), "question: is empty: nothing in it can be seen");
        return Ok(vec![question]);
    };
    let text = if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(file)
    };
    let named = || format!("questions {}", file.display());
    let text = text.with_context(|| format!("{}: cannot be read", named()))?;
    let mut questions = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let question = clean(line);
        ensure!(!question.is_empty(), "{}:{number}: is empty; a line must be a question", named());
        questions.push(question);
    }
    ensure!(!questions.is_empty(), "{}: is empty; a line must be a question", named());
    Ok(questions)
}

/// Vectors of another model have nothing to do with those of the index.
pub fn check_model(model: &Model, parts: &Parts) -> anyhow::Result<()> {
    let metadata = parts.metadata();
    let wanted = &metadata.fingerprint.model;
    let here = model.fingerprint_as(wanted)?;
    let differs = match &here {
        None => "other weights",
        Some(here) if here.tokenizer != wanted.tokenizer => "another tokenizer",
        Some(here) if here.architecture != wanted.architecture => "another architecture",
        Some(here) if here.pooling != wanted.pooling => "another pooling",
        Some(_) => return Ok(()),
    };
    Err(anyhow!(
        "model {}: is not the one that the index was made with ({differs}; that was {}); name that with --model and --model-file",
        model.folder.onnx.display(),
        metadata.model_file
    ))
}

/// What stands before questions.
pub fn instruction<'a>(model: &Model, asked: Option<&'a str>, is_none: bool) -> Option<&'a str> {
    asked.or_else(|| model::query_instruction(model)).filter(|_| !is_none)
}

/// What encodes questions, and tokens that the longest of them may have.
pub fn tokenizer(
    questions: &[String],
    model: &Model,
    instruction: Option<&str>,
) -> anyhow::Result<(Tokenizer, usize)> {
    let tokenizer = model::tokenizer(model, instruction)?;
    let most = QUESTION_TOKENS_MAX.min(model.folder.max_tokens()?.unwrap_or(usize::MAX));
    let max_tokens = longest(questions, &tokenizer, most)?.max(model::least_tokens(&tokenizer));
    Ok((tokenizer, max_tokens))
}

/// `[questions, dim]`, by an embedder with what [`tokenizer`] gives.
pub fn embed(questions: &[String], embedder: &mut TextEmbedder) -> anyhow::Result<Array2<f32>> {
    let (vectors, dim) = (embedder.embed(questions)?, embedder.dim());
    let mut values = Vec::with_capacity(questions.len() * dim);
    for (vector, question) in vectors.into_iter().zip(questions) {
        values.extend(vector.with_context(|| named(question))?.into_values());
    }
    Ok(Array2::from_shape_vec((questions.len(), dim), values)?)
}

/// Tokens of the longest question.
fn longest(questions: &[String], tokenizer: &Tokenizer, most: usize) -> anyhow::Result<usize> {
    let mut longest = 0;
    for question in questions {
        let tokens = tokenizer.encode(question).with_context(|| named(question))?.len();
        ensure!(tokens <= most, "{}: has {tokens} tokens, {most} are the most; shorten it", named(question));
        longest = longest.max(tokens);
    }
    Ok(longest)
}

fn named(question: &str) -> String {
    format!("question {:?}", snippet(question, ""))
}

/// A question, and what was found.
struct Answer<'a> {
    question: &'a str,
    parts: &'a Parts,
    hits: Vec<(&'a Neighbor, Row)>,
}

/// An answer, for programs.
#[derive(Serialize)]
struct JsonHit<'a> {
    question: &'a str,
    hits: Vec<Hit<'a>>,
}

/// A row that was found, for programs.
#[derive(Serialize)]
struct Hit<'a> {
    id: String,
    score: f32,
    text: &'a str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    kept: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl Answer<'_> {
    fn print_json(&self, out: &mut impl Write) -> io::Result<()> {
        let hits = self.hits.iter().map(|(near, row)| self.hit(near, row)).collect();
        serde_json::to_writer(&mut *out, &JsonHit { question: self.question, hits })?;
        writeln!(out)
    }

    /// Where there are several.
    fn file_of(&self, near: &Neighbor) -> Option<String> {
        (self.parts.paths().count() > 1).then(|| self.parts.path(near.row).display().to_string())
    }

    fn hit<'a>(&self, near: &Neighbor, row: &'a Row) -> Hit<'a> {
        let names = self.parts.kept().into_iter().map(str::to_owned);
        Hit {
            id: row.id.to_string(),
            score: near.score,
            text: &row.text,
            kept: names.zip(row.kept.iter().cloned()).collect(),
            file: self.file_of(near),
        }
    }

    /// Under the question, where it is one of several.
    fn print(&self, out: &mut impl Write, number: Option<usize>) -> io::Result<()> {
        if let Some(number) = number {
            writeln!(out, "{}{}", if number > 0 { "\n" } else { "" }, self.question)?;
        }
        for ((near, row), rank) in self.hits.iter().zip(1..) {
            let file = self.file_of(near).map_or(String::new(), |file| format!("  ({file})"));
            writeln!(out, "{rank:>3}  {:.4}  {}", near.score, shown(&format!("{}{file}", row.id)))?;
            writeln!(out, "             {}", shown(&snippet(&row.text, self.question)))?;
        }
        Ok(())
    }
}
