//! `embed`: embeds texts and writes the vectors to standard output. The run answers each line of standard input without
//! waiting for the next line.

mod arrow;

use std::io::{self, BufWriter, Stdout, Write};

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;

use crate::cli::{EmbedArguments, VectorFormat};
use crate::command::advice::explained;
use crate::command::lines::InputLines;
use crate::command::process::{Exit, binary_output, printed};
use crate::command::setup::locate::{self, DefaultGraph};
use crate::command::setup::model;
use crate::console::{Level, LogFormat, eprint_line};
use crate::error::DocumentError;
use crate::index::VectorStream;
use crate::model::{Model, Preparation, Workload};
use crate::text::clean::clean;
use crate::text::tokenize::Tokenizer;
use crate::vector::embedding::Embedding;
use crate::vector::texts::TextEmbedder;

/// The most lines of standard input that are embedded together.
const LINES_TOGETHER: usize = 256;

pub fn run(arguments: EmbedArguments, format: LogFormat) -> anyhow::Result<Exit> {
    if arguments.arrow {
        return arrow::run(&arguments, format);
    }
    if arguments.format != VectorFormat::JsonLines {
        binary_output()?;
    }
    let mut embedder = embedder(&arguments, format)?;
    let mut output = VectorOutput::new(arguments.format, embedder.dim())?;
    if arguments.texts.is_empty() {
        let mut lines = InputLines::start(LINES_TOGETHER);
        while let Some(texts) = lines.take()? {
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
    let model = locate::open_on_one(&arguments.model, DefaultGraph::Model, format)?.model;
    let prompt = prompt(arguments, &model, format)?;
    let max_tokens = model::max_tokens(arguments.max_tokens, &model)?;
    let workload = |tokenizer: &Tokenizer| {
        let of_many = model::workload(tokenizer, max_tokens)?;
        let [text] = arguments.texts.as_slice() else { return Ok(of_many) };
        // A text that cannot be tokenized is a failure of that text, not of the run.
        let tokens = tokenizer.encode(&clean(text)).ok().map(|encoding| encoding.len());
        Ok(match tokens.filter(|&tokens| tokens <= max_tokens) {
            Some(tokens) => Workload::of_one(tokens.max(model::least_tokens(tokenizer))),
            None => of_many,
        })
    };
    let preparation = Preparation::for_texts(&arguments.texts);
    let loaded =
        model::load(&arguments.model, &model, &prompt, preparation, &workload, arguments.dim, format)?;
    Ok(loaded.0.with_text_limit(model::document_tokens(arguments.max_document_tokens)))
}

/// Returns the words to put before each text, and prints a message if they are the model's own prompt for documents.
fn prompt(arguments: &EmbedArguments, model: &Model, format: LogFormat) -> anyhow::Result<String> {
    if arguments.query {
        return model::query_prompt(model, None);
    }
    let instruction = arguments.instruction.as_deref();
    let prompt = model::document_prompt(model, instruction)?;
    if let Some(message) = model::about_prompt(&prompt, instruction) {
        eprint_line(format, Level::Info, &message, Value::Null);
    }
    Ok(prompt)
}

/// Writes vectors to standard output in one of the formats.
struct VectorOutput {
    sink: VectorSink,
    /// The number of texts written so far, in all formats except JSON Lines. An error message shows this number as the
    /// position of the failed text.
    texts: usize,
    has_failures: bool,
}

enum VectorSink {
    JsonLines(BufWriter<Stdout>),
    /// The header of a NumPy file contains the number of vectors, so all vectors stay in memory until the last text is
    /// embedded.
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
        let sink = match format {
            VectorFormat::JsonLines => VectorSink::JsonLines(BufWriter::new(io::stdout())),
            VectorFormat::Npy => VectorSink::Npy { dim, values: Vec::new() },
            VectorFormat::Arrow => {
                VectorSink::Arrow(Box::new(printed(VectorStream::new(io::stdout(), dim))?))
            }
        };
        Ok(VectorOutput { sink, texts: 0, has_failures: false })
    }

    /// Writes the vectors of texts. In JSON Lines, the line of a text without a vector has an error in place of the vector.
    /// The other formats cannot hold errors, so the run fails at the first text without a vector.
    fn write(
        &mut self,
        texts: &[String],
        vectors: Vec<Result<Embedding, DocumentError>>,
    ) -> anyhow::Result<()> {
        if let VectorSink::JsonLines(out) = &mut self.sink {
            self.has_failures |= vectors.iter().any(Result::is_err);
            return printed(write_lines(out, texts, &vectors));
        }
        let mut made = Vec::with_capacity(vectors.len());
        for vector in vectors {
            self.texts += 1;
            made.push(vector.with_context(|| format!("text {}", self.texts))?);
        }
        match &mut self.sink {
            VectorSink::JsonLines(_) => Ok(()),
            VectorSink::Npy { values, .. } => {
                made.iter().for_each(|vector| values.extend(vector.values()));
                Ok(())
            }
            VectorSink::Arrow(stream) => printed(stream.write(texts, &made)),
        }
    }

    fn finish(self) -> anyhow::Result<Exit> {
        match self.sink {
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

/// Writes 32-bit floats as an array `[values / dim, dim]` in NumPy's format, version 1.0 (NEP 1).
fn write_npy(out: &mut impl Write, values: &[f32], dim: usize) -> io::Result<()> {
    let shape = format!("({}, {dim})", values.len() / dim);
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    // In this format, the total size of the magic, the length, the header and the line end must be a multiple of 64 bytes.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    // The length fits into 16 bits, because the header is about 100 bytes long.
    let length = u16::try_from(length).map_err(io::Error::other)?;
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&length.to_le_bytes())?;
    writeln!(out, "{header:<0$}", usize::from(length) - 1)?;
    for value in values {
        out.write_all(&value.to_le_bytes())?;
    }
    out.flush()
}
