//! `search`: prints, for each question, the nearest rows of an index.

use std::fs;
use std::io::{self, StdoutLock, Write};
use std::path::Path;
use std::slice;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use ndarray::Array2;
use serde::Serialize;
use serde_json::{Map, Value};

use super::lines::InputLines;
use super::process::{Exit, printed};
use super::setup::locate::{self, DefaultGraph, LocatedModel};
use super::setup::model;
use super::terminal::Screen;
use crate::cli::SearchArguments;
use crate::console::{LogFormat, counted, shown};
use crate::index::provenance;
use crate::index::search::{self, Neighbor, nearest};
use crate::index::{Metadata, Parts, Row};
use crate::model::{Model, Preparation, Workload};
use crate::text::clean::clean;
use crate::text::snippet::{question_words, snippet};
use crate::text::tokenize::Tokenizer;
use crate::vector::texts::TextEmbedder;

/// The most tokens of a question, including the instruction, as the model card of Qwen3-Embedding recommends.
const QUESTION_TOKENS_MAX: usize = 8192;

/// The most questions per pass over the index. A pass keeps the nearest rows of each question in memory.
const QUESTIONS_PER_PASS: usize = 1024;

/// The width of the rank and the score before the id of a hit, in columns.
const HIT_INDENT: usize = 13;

pub fn run(arguments: &SearchArguments, format: LogFormat) -> anyhow::Result<Exit> {
    let parts = Parts::open(slice::from_ref(&arguments.index))?;
    let questions = Questions::open(arguments)?;
    let started = Instant::now();
    let graph = DefaultGraph::Index(&parts.metadata().model_file);
    let model_arguments = locate::with_model_of(&arguments.model, Some(parts.metadata()))?;
    let LocatedModel { model, .. } = locate::open_on_one(&model_arguments, graph, format)?;
    check_model(&model, &parts)?;
    let prompt = prompt(&model, arguments.instruction.as_deref(), arguments.no_instruction)?;
    let tokens_max = tokens_max(&model)?;
    let known = questions.known();
    let workload = |tokenizer: &Tokenizer| match known {
        Some(questions) => {
            let longest = longest(questions, tokenizer, tokens_max)?;
            match questions.len() {
                1 => Ok(Workload::of_one(longest)),
                _ => model::workload(tokenizer, longest),
            }
        }
        None => model::workload(tokenizer, tokens_max.max(model::least_tokens(tokenizer))),
    };
    let preparation = known.map_or(Preparation::Full, Preparation::for_texts);
    let dim = parts.metadata().fingerprint.dim;
    let (embedder, loaded) =
        model::load(&model_arguments, &model, &prompt, preparation, &workload, Some(dim), format)?;
    // Only the loaded graph shows whether it pools by itself.
    let metadata = parts.metadata();
    if let Some(differs) = loaded.difference(&metadata.fingerprint.model) {
        return Err(other_model(&model, metadata, differs));
    }
    let mut session = SearchSession {
        arguments,
        parts: &parts,
        embedder,
        screen: Screen::stdout(),
        out: io::stdout().lock(),
        answered: 0,
        loading: started.elapsed(),
        answering: Duration::ZERO,
    };
    match questions {
        Questions::Known(questions) => {
            questions.chunks(QUESTIONS_PER_PASS).try_for_each(|questions| session.answer(questions))?;
        }
        Questions::Lines(mut lines) => {
            let tokenizer = model.tokenizer()?.with_prompt(&prompt)?;
            while let Some(questions) = lines.take()? {
                longest(&questions, &tokenizer, tokens_max)?;
                session.answer(&questions)?;
            }
        }
    }
    printed(session.finish())?;
    Ok(Exit::Done)
}

/// The questions after cleaning. No question is empty.
enum Questions {
    /// The question in the arguments, or the lines of a file.
    Known(Vec<String>),
    /// The lines of standard input. The run answers each line without waiting for the next line.
    Lines(QuestionLines),
}

impl Questions {
    fn open(arguments: &SearchArguments) -> anyhow::Result<Self> {
        let Some(file) = &arguments.questions else {
            let question = arguments.question.as_deref().map(clean).unwrap_or_default();
            ensure!(!question.is_empty(), "question: is empty; write a question with visible characters");
            return Ok(Questions::Known(vec![question]));
        };
        if file == Path::new("-") {
            let lines = InputLines::start(QUESTIONS_PER_PASS);
            return Ok(Questions::Lines(QuestionLines { lines, count: 0, failed: None }));
        }
        let text = fs::read_to_string(file).map_err(|e| {
            anyhow!(
                "questions {}: cannot be read: {e}; name a UTF-8 text file with one question per line",
                file.display()
            )
        })?;
        let questions: Vec<String> = text
            .lines()
            .zip(1..)
            .map(|(line, number)| question(line, file, number))
            .collect::<Result<_, _>>()?;
        ensure!(!questions.is_empty(), "questions {}: is empty; write one question per line", file.display());
        Ok(Questions::Known(questions))
    }

    /// Returns the questions, if they are known before the model is loaded.
    fn known(&self) -> Option<&[String]> {
        if let Questions::Known(questions) = self { Some(questions) } else { None }
    }
}

fn question(line: &str, file: &Path, number: usize) -> anyhow::Result<String> {
    let question = clean(line);
    ensure!(
        !question.is_empty(),
        "questions {}:{number}: is empty; write one question per line",
        file.display()
    );
    Ok(question)
}

struct QuestionLines {
    lines: InputLines,
    /// The number of lines read so far.
    count: usize,
    /// The error of a line that the previous call has read. The next call of [`QuestionLines::take`] returns this error.
    failed: Option<anyhow::Error>,
}

impl QuestionLines {
    /// Waits for one question. Returns this question, followed by all further questions that have already arrived. Returns
    /// `None` at the end of standard input.
    fn take(&mut self) -> anyhow::Result<Option<Vec<String>>> {
        let input = Path::new("-");
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let Some(lines) = self.lines.take()? else {
            ensure!(self.count > 0, "questions -: is empty; write one question per line");
            return Ok(None);
        };
        let mut questions = Vec::new();
        for line in lines {
            self.count += 1;
            match question(&line, input, self.count) {
                Ok(question) => questions.push(question),
                Err(error) if questions.is_empty() => return Err(error),
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        Ok(Some(questions))
    }
}

/// Checks that the vectors of the index were made with this model, because vectors of different models cannot be compared.
pub fn check_model(model: &Model, parts: &Parts) -> anyhow::Result<()> {
    let metadata = parts.metadata();
    let wanted = &metadata.fingerprint.model;
    let here = model.fingerprint_as(wanted)?;
    let differs = match here {
        None => "other weights",
        Some(here) => match here.difference(wanted) {
            Some(differs) => differs,
            None => return Ok(()),
        },
    };
    Err(other_model(model, metadata, differs))
}

fn other_model(model: &Model, metadata: &Metadata, differs: &str) -> anyhow::Error {
    anyhow!(
        "model {}: is not the model of the index ({differs}; the index was made with {}); name the model of the index with --model and --model-file",
        model.folder.onnx.display(),
        metadata.model_name()
    )
}

/// Returns the words to put before questions: the instruction of the user, or else the model's own prompt. Returns an empty
/// string if `is_none` is true.
pub fn prompt(model: &Model, instruction: Option<&str>, is_none: bool) -> anyhow::Result<String> {
    if is_none { Ok(String::new()) } else { model::query_prompt(model, instruction) }
}

/// Returns the tokenizer for questions, and the number of tokens of the longest question.
pub fn tokenizer(questions: &[String], model: &Model, prompt: &str) -> anyhow::Result<(Tokenizer, usize)> {
    let tokenizer = model.tokenizer()?.with_prompt(prompt)?;
    let max_tokens = longest(questions, &tokenizer, tokens_max(model)?)?;
    Ok((tokenizer, max_tokens))
}

/// Returns the vectors of questions, `[questions, dim]`. The embedder must use the tokenizer and the number of tokens that
/// [`tokenizer`] returns for these questions.
pub fn embed(questions: &[String], embedder: &mut TextEmbedder) -> anyhow::Result<Array2<f32>> {
    let (vectors, dim) = (embedder.embed(questions)?, embedder.dim());
    let mut values = Vec::with_capacity(questions.len() * dim);
    for (vector, question) in vectors.into_iter().zip(questions) {
        values.extend(vector.with_context(|| named(question))?.into_values());
    }
    Ok(Array2::from_shape_vec((questions.len(), dim), values)?)
}

/// Returns the largest number of tokens that a question may have.
fn tokens_max(model: &Model) -> anyhow::Result<usize> {
    Ok(QUESTION_TOKENS_MAX.min(model.folder.max_tokens()?.unwrap_or(usize::MAX)))
}

/// Returns the number of tokens of the longest question, but at least [`model::least_tokens`].
fn longest(questions: &[String], tokenizer: &Tokenizer, tokens_max: usize) -> anyhow::Result<usize> {
    let mut longest = model::least_tokens(tokenizer);
    for question in questions {
        let tokens = tokenizer.encode(question).with_context(|| named(question))?.len();
        ensure!(
            tokens <= tokens_max,
            "{}: has {tokens} tokens, but the model accepts at most {tokens_max}; shorten the question",
            named(question)
        );
        longest = longest.max(tokens);
    }
    Ok(longest)
}

fn named(question: &str) -> String {
    format!("question {:?}", snippet(question, ""))
}

/// Answers questions with a loaded model and an index.
struct SearchSession<'a> {
    arguments: &'a SearchArguments,
    parts: &'a Parts,
    embedder: TextEmbedder,
    screen: Screen,
    out: StdoutLock<'static>,
    /// The number of questions answered so far.
    answered: u64,
    /// The time spent on loading the model.
    loading: Duration,
    /// The time spent on embedding questions and searching.
    answering: Duration,
}

/// A question and its hits.
struct Answer<'a> {
    question: &'a str,
    parts: &'a Parts,
    hits: Vec<(&'a Neighbor, Row)>,
}

#[derive(Serialize)]
struct AnswerJson<'a> {
    question: &'a str,
    hits: Vec<HitJson<'a>>,
}

#[derive(Serialize)]
struct HitJson<'a> {
    id: String,
    score: f32,
    text: &'a str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    kept: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl SearchSession<'_> {
    fn answer(&mut self, questions: &[String]) -> anyhow::Result<()> {
        let started = Instant::now();
        let vectors = embed(questions, &mut self.embedder)?;
        let search =
            search::Search { most: self.arguments.top as usize, by_document: self.arguments.by_document };
        let found = nearest(self.parts, vectors.view(), search)?;
        self.answering += started.elapsed();
        for (question, found) in questions.iter().zip(found) {
            let started = Instant::now();
            let rows = self.parts.rows_at(&found.iter().map(|near| near.row).collect::<Vec<_>>())?;
            self.answering += started.elapsed();
            let answer = Answer { question, parts: self.parts, hits: found.iter().zip(rows).collect() };
            printed(self.print(&answer))?;
            self.answered += 1;
        }
        Ok(())
    }

    fn print(&mut self, answer: &Answer) -> io::Result<()> {
        if self.arguments.json {
            return answer.print_json(&mut self.out);
        }
        let is_first = self.answered == 0;
        if self.arguments.questions.is_some() {
            if !is_first {
                writeln!(self.out)?;
            }
            let question = shown(answer.question);
            let heading = self.screen.mark(&question, slice::from_ref(&(0..question.len())));
            self.screen.write(&mut self.out, "", 0, &heading)?;
        }
        answer.print(self.screen, &mut self.out)
    }

    /// Prints how many rows were searched and how long the search took. Prints nothing with `--json`, and nothing if standard
    /// output is not a terminal.
    fn finish(mut self) -> io::Result<()> {
        if self.arguments.json || !self.screen.is_terminal() {
            return Ok(());
        }
        let questions = match self.answered {
            1 => String::new(),
            count => format!(" for {}", counted(count, "question")),
        };
        let (rows, answering) = (counted(self.parts.rows(), "row"), self.answering.as_secs_f64());
        let loading = self.loading.as_secs_f64();
        let summary =
            format!("{rows} searched{questions} in {answering:.2} s, model loaded in {loading:.2} s");
        writeln!(self.out)?;
        self.screen.write(&mut self.out, "", 0, &summary)
    }
}

impl Answer<'_> {
    fn print_json(&self, out: &mut impl Write) -> io::Result<()> {
        let hits = self.hits.iter().map(|(near, row)| self.hit(near, row)).collect();
        serde_json::to_writer(&mut *out, &AnswerJson { question: self.question, hits })?;
        writeln!(out)
    }

    /// Returns the path of the file that has the row. Returns `None` if the index is a single file.
    fn file_of(&self, near: &Neighbor) -> Option<String> {
        (self.parts.paths().len() > 1).then(|| self.parts.path(near.row).display().to_string())
    }

    fn hit<'a>(&self, near: &Neighbor, row: &'a Row) -> HitJson<'a> {
        let names = self.parts.kept().iter().cloned();
        HitJson {
            id: row.id.to_string(),
            score: near.score,
            text: &row.text,
            kept: names.zip(row.kept.iter().cloned()).collect(),
            file: self.file_of(near),
        }
    }

    /// Returns the place of a chunk, or the id of another row.
    fn place(&self, row: &Row) -> String {
        let names = self.parts.kept();
        let value = |name: &str| row.kept.get(names.iter().position(|other| other == name)?);
        let place = row.id.chunk.and_then(|_| provenance::shown(value));
        place.unwrap_or_else(|| row.id.to_string())
    }

    fn print(&self, screen: Screen, out: &mut impl Write) -> io::Result<()> {
        for ((near, row), rank) in self.hits.iter().zip(1..) {
            if rank > 1 && screen.is_terminal() {
                writeln!(out)?;
            }
            let file = self.file_of(near).map_or(String::new(), |file| format!("  ({file})"));
            let head = format!("{rank:>3}  {:.4}  ", near.score);
            screen.write(out, &head, HIT_INDENT, &shown(&format!("{}{file}", self.place(row))))?;
            let part = snippet(&row.text, self.question);
            // Replaces line ends by spaces, so that a file or a pipe receives each text as one line.
            let part = shown(&part.split_whitespace().collect::<Vec<_>>().join(" "));
            let marked = screen.mark(&part, &question_words(&part, self.question));
            screen.write(out, &" ".repeat(HIT_INDENT), HIT_INDENT, &marked)?;
        }
        Ok(())
    }
}
