//! `embed`: texts in, vectors on standard output; of lines on standard input, each as soon as it is there.

mod arrow;

use std::io::{self, BufRead, BufWriter, Stdout, Write};
use std::thread;

use anyhow::Context;
use crossbeam_channel::{Receiver, bounded};
use serde::Serialize;

use crate::cli::{EmbedArguments, VectorFormat};
use crate::command::advice::explained;
use crate::command::process::{Exit, printed};
use crate::command::setup::model;
use crate::console::LogFormat;
use crate::error::DocumentError;
use crate::index::VectorStream;
use crate::model::Model;
use crate::vector::embedding::Embedding;
use crate::vector::texts::TextEmbedder;

/// TextLines that go through the model together, where so many are there.
const LINES: usize = 256;

pub fn run(arguments: EmbedArguments, format: LogFormat) -> anyhow::Result<Exit> {
    if arguments.arrow {
        return arrow::run(&arguments, format);
    }
    let mut embedder = embedder(&arguments, format)?;
    let mut output = VectorOutput::new(arguments.format, embedder.dim())?;
    if arguments.texts.is_empty() {
        let mut lines = TextLines::read();
        while let Some(texts) = lines.together()? {
            let vectors = embedder.embed(&texts)?;
            output.write(&texts, vectors)?;
        }
    } else {
        let vectors = embedder.embed(&arguments.texts)?;
        output.write(&arguments.texts, vectors)?;
    }
    output.finish()
}

fn embedder(arguments: &EmbedArguments, format: LogFormat) -> anyhow::Result<TextEmbedder> {
    let model = model::open_on_one(&arguments.model, None, format)?;
    let tokenizer = model::tokenizer(&model, instruction(arguments, &model))?;
    let max_tokens = model::max_tokens(arguments.max_tokens, &model, &tokenizer)?;
    let texts = model::texts(&tokenizer, max_tokens)?;
    let loaded = model::load(&arguments.model, &model, tokenizer, &texts, arguments.dim, format)?;
    Ok(loaded.0)
}

fn instruction<'a>(arguments: &'a EmbedArguments, model: &Model) -> Option<&'a str> {
    let of_query = model::query_instruction(model).filter(|_| arguments.query);
    arguments.instruction.as_deref().or(of_query)
}

/// The lines of standard input, read ahead.
struct TextLines {
    read: Receiver<io::Result<String>>,
    /// Comes after the lines before it have been answered.
    failed: Option<io::Error>,
}

impl TextLines {
    fn read() -> Self {
        let (sender, read) = bounded(2 * LINES);
        thread::spawn(move || {
            for line in io::stdin().lock().lines() {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        TextLines { read, failed: None }
    }

    /// Waits for a line, and takes what else is there; `None` at the end.
    fn together(&mut self) -> anyhow::Result<Option<Vec<String>>> {
        let mut texts = Vec::new();
        let first = self.failed.take().map_or_else(|| self.read.recv().ok(), |e| Some(Err(e)));
        for line in first.into_iter().chain(self.read.try_iter()).take(LINES) {
            match line {
                Ok(line) => texts.push(line),
                Err(e) if texts.is_empty() => {
                    return Err(e).context("standard input: cannot be read as lines of UTF-8");
                }
                Err(e) => {
                    self.failed = Some(e);
                    break;
                }
            }
        }
        Ok((!texts.is_empty()).then_some(texts))
    }
}

/// Where vectors go.
struct VectorOutput {
    format: VectorSink,
    /// How many texts there have been.
    texts: usize,
    has_failures: bool,
}

enum VectorSink {
    JsonLines(BufWriter<Stdout>),
    /// Their number stands before the first of them, so all are kept until then.
    Npy {
        dim: usize,
        values: Vec<f32>,
    },
    Arrow(Box<VectorStream<Stdout>>),
}

#[derive(Serialize)]
#[serde(untagged)]
enum VectorLine<'a> {
    Made { text: &'a str, vector: &'a [f32] },
    Failed { text: &'a str, error: String },
}

impl VectorOutput {
    fn new(format: VectorFormat, dim: usize) -> anyhow::Result<Self> {
        let format = match format {
            VectorFormat::JsonLines => VectorSink::JsonLines(BufWriter::new(io::stdout())),
            VectorFormat::Npy => VectorSink::Npy { dim, values: Vec::new() },
            VectorFormat::Arrow => {
                VectorSink::Arrow(Box::new(printed(VectorStream::new(io::stdout(), dim))?))
            }
        };
        Ok(VectorOutput { format, texts: 0, has_failures: false })
    }

    /// A text without a vector is a failure of its line or, in a format that has no place for one, of the run.
    fn write(
        &mut self,
        texts: &[String],
        vectors: Vec<Result<Embedding, DocumentError>>,
    ) -> anyhow::Result<()> {
        if let VectorSink::JsonLines(out) = &mut self.format {
            self.has_failures |= vectors.iter().any(Result::is_err);
            return printed(write_lines(out, texts, &vectors));
        }
        let mut made = Vec::with_capacity(vectors.len());
        for vector in vectors {
            self.texts += 1;
            made.push(vector.with_context(|| format!("text {}", self.texts))?);
        }
        match &mut self.format {
            VectorSink::JsonLines(_) => Ok(()),
            VectorSink::Npy { values, .. } => {
                made.iter().for_each(|vector| values.extend(vector.values()));
                Ok(())
            }
            VectorSink::Arrow(stream) => printed(stream.write(texts, &made)),
        }
    }

    fn finish(self) -> anyhow::Result<Exit> {
        match self.format {
            VectorSink::JsonLines(_) => {}
            VectorSink::Npy { dim, values } => {
                printed(write_npy(&mut BufWriter::new(io::stdout()), &values, dim))?
            }
            VectorSink::Arrow(mut stream) => printed(stream.finish())?,
        }
        Ok(if self.has_failures { Exit::Partial } else { Exit::Done })
    }
}

fn write_lines(
    out: &mut impl Write,
    texts: &[String],
    vectors: &[Result<Embedding, DocumentError>],
) -> io::Result<()> {
    for (text, vector) in texts.iter().zip(vectors) {
        let line = match vector {
            Ok(vector) => VectorLine::Made { text, vector: vector.values() },
            Err(error) => VectorLine::Failed { text, error: explained(error) },
        };
        serde_json::to_writer(&mut *out, &line)?;
        writeln!(out)?;
    }
    out.flush()
}

/// An array of 32-bit floats `[values / dim, dim]` in NumPy's format, version 1.0 (NEP 1).
fn write_npy(out: &mut impl Write, values: &[f32], dim: usize) -> io::Result<()> {
    let shape = format!("({}, {dim})", values.len() / dim);
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    // With the ten bytes before it and a line end, a multiple of 64.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&(length as u16).to_le_bytes())?;
    writeln!(out, "{header:<0$}", length - 1)?;
    for value in values {
        out.write_all(&value.to_le_bytes())?;
    }
    out.flush()
}
