//! `build`: documents in, one Parquet file out.

use std::num::NonZeroUsize;
use std::thread;
use std::time::Instant;

use indicatif::{DecimalBytes, HumanCount};

use super::Exit;
use crate::cli::Build;
use crate::error::Usage;
use crate::index::{Fingerprint, IndexWriter, RowKind};
use crate::model::Model;
use crate::pipeline::{self, Settings};
use crate::report::{Reporter, tokens_per_second};
use crate::source::{Fields, Roots};
use crate::tokenize::Tokenizer;
use crate::{chunk, clean};

/// Tokens of a chunk where neither the user nor the model says otherwise.
const MAX_TOKENS: usize = 2048;

/// The smallest dimension that Qwen3-Embedding was trained for.
const DIM_MIN: usize = 32;

pub fn run(arguments: Build) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let reporter = Reporter::new(arguments.quiet);
    let roots = Roots::new(&arguments.inputs)?;
    let threads = threads(&arguments);
    let mut model = Model::load(&arguments.model, arguments.model_file.as_deref(), threads)?;
    if let Some(warning) = model.warning() {
        reporter.warn(&warning);
    }
    let tokenizer = match &arguments.instruction {
        Some(instruction) => model.tokenizer.with_instruction(instruction)?,
        None => model.tokenizer,
    };
    let rows = if arguments.chunks { RowKind::Chunks } else { RowKind::Documents };
    let settings = Settings {
        fields: Fields { id: arguments.id_field, text: arguments.text_field },
        max_tokens: max_tokens(arguments.max_tokens, model.folder.max_tokens, &tokenizer)?,
        batching: model.probe.batching(),
        batch_tokens: arguments.batch_tokens as usize,
        rows,
        dim: dim(arguments.dim, model.fingerprint.width)?,
    };
    let fingerprint = Fingerprint {
        tool: concat!("qwen3-index ", env!("CARGO_PKG_VERSION")).to_owned(),
        model: model.fingerprint,
        dim: settings.dim,
        instruction: arguments.instruction,
        max_tokens: settings.max_tokens,
        rows,
        cleaning: clean::VERSION,
        chunking: chunk::VERSION,
    };
    let mut writer = IndexWriter::create(&arguments.output, &fingerprint)?;
    reporter.info(&format!(
        "model {}, {} numbers a vector, CPU, {threads} threads",
        model.folder.onnx.display(),
        settings.dim
    ));
    let embedding = Instant::now();
    let counts = thread::scope(|scope| {
        scope.spawn(|| roots.total_bytes().into_iter().for_each(|bytes| reporter.total_bytes(bytes)));
        pipeline::run(&roots, &settings, &tokenizer, &mut model.embedder, &reporter, &mut |row| {
            writer.push(row)
        })
    });
    reporter.finish();
    let counts = counts?;
    let speed = tokens_per_second(counts.tokens, embedding.elapsed());
    let published = writer.publish()?;
    reporter.info(&counts.to_string());
    reporter.info(&format!(
        "{} rows, {} in {}; {} tokens in {} chunks, {:.1} s, {speed}",
        HumanCount(published.rows as u64),
        DecimalBytes(published.bytes),
        arguments.output.display(),
        HumanCount(counts.tokens),
        HumanCount(counts.chunks),
        started.elapsed().as_secs_f64(),
    ));
    Ok(if counts.failed == 0 { Exit::Done } else { Exit::Partial })
}

fn threads(arguments: &Build) -> usize {
    let cores = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
    arguments.threads.map_or_else(cores, usize::from)
}

fn dim(asked: Option<usize>, width: usize) -> Result<usize, Usage> {
    match asked {
        None => Ok(width),
        Some(dim) if (DIM_MIN..=width).contains(&dim) => Ok(dim),
        Some(dim) => Err(Usage(format!(
            "--dim {dim}: the model's vectors have {width} numbers; choose {DIM_MIN} to {width}"
        ))),
    }
}

fn max_tokens(asked: Option<usize>, model: Option<usize>, tokenizer: &Tokenizer) -> Result<usize, Usage> {
    let most = model.unwrap_or(usize::MAX);
    let max_tokens = asked.unwrap_or(MAX_TOKENS.min(most));
    let least = tokenizer.overhead() + chunk::ROOM_MIN;
    if max_tokens > most {
        return Err(Usage(format!("--max-tokens {max_tokens}: the model takes {most} at most")));
    }
    if max_tokens < least {
        return Err(Usage(format!(
            "--max-tokens {max_tokens}: at least {least} are needed, {} for the instruction and special tokens and {} for text",
            tokenizer.overhead(),
            chunk::ROOM_MIN
        )));
    }
    Ok(max_tokens)
}
