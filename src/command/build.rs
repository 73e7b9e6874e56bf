//! `build`: documents in, one Parquet file out.

use std::env;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::{Context, ensure};

use super::Exit;
use crate::cli::Build;
use crate::error::Usage;
use crate::index::{COLUMNS, Fingerprint, IndexWriter, Metadata, RowKind};
use crate::model::{Model, OnnxEmbedder};
use crate::pipeline::{self, Job};
use crate::report::{DecimalBytes, HumanCount, Reporter, tokens_per_second};
use crate::source::{Charset, Fields, Filter, Limits, Reading, Roots, Workers, extract};
use crate::tokenize::Tokenizer;
use crate::{chunk, clean};

/// Tokens of a chunk where neither the user nor the model says otherwise.
const MAX_TOKENS: usize = 2048;

/// The smallest dimension that Qwen3-Embedding was trained for.
const DIM_MIN: usize = 32;

pub fn run(arguments: Build) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let output = arguments.output.clone();
    let reporter = Arc::new(Reporter::new(arguments.quiet));
    let Settled { job, metadata, mut embedder } = settle(arguments, &reporter)?;
    let mut writer = IndexWriter::create(&output, &metadata, &job.reading.fields.keep)?;
    measure(&job, &reporter);
    let embedding = Instant::now();
    let counts = pipeline::run(&job, &mut embedder, &reporter, &mut |row| writer.push(row));
    reporter.finish();
    let counts = counts?;
    let speed = tokens_per_second(counts.tokens, embedding.elapsed());
    // One bad document costs itself; all of them are a wrong field or folder, and no new index.
    ensure!(
        counts.embedded > 0 || counts.failed == 0,
        "no document could be embedded: {counts}; mend what failed first (output {} is untouched)",
        output.display()
    );
    let published = writer.publish()?;
    for column in &published.empty_columns {
        reporter.warn(&format!("--keep {column}: no document has it, so the column is empty"));
    }
    reporter.info(&counts.to_string());
    reporter.info(&format!(
        "{} rows, {} in {}; {} tokens in {} chunks, {:.1} s, {speed}",
        HumanCount(published.rows as u64),
        DecimalBytes(published.bytes),
        output.display(),
        HumanCount(counts.tokens),
        HumanCount(counts.chunks),
        started.elapsed().as_secs_f64(),
    ));
    Ok(if counts.failed == 0 { Exit::Done } else { Exit::Partial })
}

/// Arguments that have been checked against each other and the model.
struct Settled {
    job: Arc<Job>,
    metadata: Metadata,
    embedder: OnnxEmbedder,
}

fn settle(arguments: Build, reporter: &Reporter) -> anyhow::Result<Settled> {
    let filter = Filter::new(&arguments.include, &arguments.exclude, arguments.hidden, arguments.follow)?;
    let roots = Roots::new(&arguments.inputs, filter)?;
    check_not_input(&arguments)?;
    let reading = reading(&arguments)?;
    let threads = threads(&arguments);
    let model = Model::load(&arguments.model, arguments.model_file.as_deref(), threads)?;
    if let Some(warning) = model.warning() {
        reporter.warn(&warning);
    }
    let tokenizer = match &arguments.instruction {
        Some(instruction) => model.tokenizer.with_instruction(instruction)?,
        None => model.tokenizer,
    };
    let fingerprint = Fingerprint {
        dim: dim(arguments.dim, model.fingerprint.width)?,
        max_tokens: max_tokens(arguments.max_tokens, model.folder.max_tokens()?, &tokenizer)?,
        model: model.fingerprint,
        instruction: arguments.instruction,
        rows: if arguments.chunks { RowKind::Chunks } else { RowKind::Documents },
        extraction: extract::VERSION,
        cleaning: clean::VERSION,
        chunking: chunk::VERSION,
    };
    let onnx = model.folder.onnx;
    reporter.info(&format!(
        "model {}, {} numbers a vector, CPU, {threads} threads",
        onnx.display(),
        fingerprint.dim
    ));
    let job = Job {
        roots,
        reading,
        tokenizer,
        max_tokens: fingerprint.max_tokens,
        batching: model.probe.batching(),
        batch_tokens: arguments.batch_tokens as usize,
        rows: fingerprint.rows,
        dim: fingerprint.dim,
    };
    let metadata = Metadata {
        tool: concat!("qwen3-index ", env!("CARGO_PKG_VERSION")).to_owned(),
        model_file: onnx.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        fingerprint,
    };
    Ok(Settled { job: Arc::new(job), metadata, embedder: model.embedder })
}

/// Walks the roots a second time, beside the run, to know how much there is to do.
fn measure(job: &Arc<Job>, reporter: &Arc<Reporter>) {
    let (job, reporter) = (job.clone(), reporter.clone());
    thread::spawn(move || job.roots.total_bytes().into_iter().for_each(|bytes| reporter.total_bytes(bytes)));
}

fn threads(arguments: &Build) -> usize {
    let cores = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
    arguments.threads.map_or_else(cores, usize::from)
}

/// What is written must not be what is read.
fn check_not_input(arguments: &Build) -> Result<(), Usage> {
    let Ok(output) = arguments.output.canonicalize() else { return Ok(()) };
    match arguments.inputs.iter().find(|input| input.canonicalize().is_ok_and(|input| input == output)) {
        Some(input) => {
            Err(Usage(format!("input {}: is the output too; name another with -o", input.display())))
        }
        None => Ok(()),
    }
}

fn reading(arguments: &Build) -> anyhow::Result<Reading> {
    let limits = Limits {
        document_bytes: arguments.max_document_mib << 20,
        seconds: arguments.max_document_seconds,
        expansion: arguments.max_expansion,
    };
    Ok(Reading {
        fields: Fields {
            id: arguments.id_field.clone(),
            text: arguments.text_fields.clone(),
            keep: keep(&arguments.keep)?,
        },
        encoding: arguments.encoding.as_deref().map(encoding).transpose()?,
        workers: Workers::new(this_program()?, limits),
        limits,
    })
}

fn keep(names: &[String]) -> Result<Vec<String>, Usage> {
    // Readers of the file may not tell capital letters from small ones.
    let mut taken: Vec<String> = COLUMNS.map(str::to_owned).into();
    for name in names {
        if name.is_empty() || taken.contains(&name.to_lowercase()) {
            return Err(Usage(format!("--keep {name}: the output has a column of this name already")));
        }
        taken.push(name.to_lowercase());
    }
    Ok(names.to_vec())
}

/// For the workers. On Linux this is the program that runs, even when its file has been replaced since.
fn this_program() -> anyhow::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() {
        return Ok(running.to_owned());
    }
    env::current_exe().context("this program cannot be found, to be started again; see that /proc is mounted")
}

fn encoding(name: &str) -> Result<&'static Charset, Usage> {
    Charset::for_label(name.as_bytes())
        .ok_or_else(|| Usage(format!("--encoding {name}: unknown; use a name as on the web, such as gb18030, big5, shift_jis, euc-kr, windows-1252 or utf-16le")))
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
            "{max_tokens} tokens in a chunk are too few: {} go to the instruction and special tokens, and {} are needed for text; shorten --instruction or raise --max-tokens",
            tokenizer.overhead(),
            chunk::ROOM_MIN
        )));
    }
    Ok(max_tokens)
}
