//! Turns the arguments about the model into the model, its limits and its fingerprint.

use std::env;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::Context;
use serde_json::Value;

use crate::cli::ModelArguments;
use crate::command::process::TOOL;
use crate::console::{Level, LogFormat, Transfer, eprint_line};
use crate::error::Usage;
use crate::index::{Fingerprint, Metadata, RowKind};
use crate::model::hub::{self, Hub, NotARepository, OnProgress, Progress, Repository};
use crate::model::{DeviceChoice, Model, ModelFingerprint, Resources, Workload, bundle};
use crate::source::extract;
use crate::text::tokenize::Tokenizer;
use crate::text::{chunk, clean};
use crate::vector::embedder::Embedder;
use crate::vector::texts::TextEmbedder;

/// The default limit on tokens per chunk. The limit of the model is used instead if it is lower.
const MAX_TOKENS: usize = 2048;

/// The smallest number of dimensions that Qwen3-Embedding was trained for.
pub const DIM_MIN: usize = 32;

/// The default instruction for questions, from Qwen3-Embedding's model card.
pub const RETRIEVAL: &str = "Given a web search query, retrieve relevant passages that answer the query";

/// Finds the files of the model, or downloads them from the hub. If the user names no ONNX file, this function uses `file`.
pub fn open(
    arguments: &ModelArguments,
    file: Option<&str>,
    format: Option<LogFormat>,
) -> anyhow::Result<Model> {
    open_on(arguments, arguments.device.clone(), file, format)
}

/// Opens the model as [`open`] does, but on one device only, because a few texts do not keep several devices busy.
pub fn open_on_one(
    arguments: &ModelArguments,
    file: Option<&str>,
    format: LogFormat,
) -> anyhow::Result<Model> {
    open_on(arguments, arguments.device.clone().first(), file, Some(format))
}

fn open_on(
    arguments: &ModelArguments,
    device: DeviceChoice,
    file: Option<&str>,
    format: Option<LogFormat>,
) -> anyhow::Result<Model> {
    let named = named(arguments);
    let is_graph = named.as_deref().is_some_and(Path::is_file);
    let file = arguments.model_file.as_deref().or(file.filter(|_| !is_graph));
    let path = match named {
        Some(path) if is_graph && arguments.model_file.is_some() => {
            return Err(Usage(format!(
                "model {}: is a file, but --model-file chooses a graph in a folder; name the folder, or leave out --model-file",
                path.display()
            ))
            .into());
        }
        Some(path) if path.exists() => path,
        _ => {
            let name = named.as_ref().map(|path| path.to_string_lossy());
            // For a wrong name, the exit code is 1, not 2, because the same arguments succeed once the folder exists.
            let repository: Repository = name.as_deref().unwrap_or(hub::DEFAULT).parse()?;
            let got = transfer(format, |tell| {
                Hub::from_environment(arguments.offline)?.get(&repository, file, tell)
            });
            match name {
                Some(name) => got.with_context(|| {
                    format!(
                        "--model {name}: is not a local folder or file, and cannot be fetched from the hub"
                    )
                })?,
                None => got?,
            }
        }
    };
    Model::open(&path, file, device)
}

/// Returns the name of a model in messages: the path of the ONNX file, or the name on the hub and the name of the ONNX file.
pub fn name(arguments: &ModelArguments, model: &Model) -> String {
    let onnx = &model.folder.onnx;
    let named = named(arguments);
    if named.as_deref().is_some_and(Path::exists) {
        return onnx.display().to_string();
    }
    let repository = named.map_or(hub::DEFAULT.to_owned(), |path| path.display().to_string());
    format!("{repository} ({})", onnx.file_name().unwrap_or_default().display())
}

/// Returns the path or the hub name in the arguments. Without this argument, returns the model folder beside this program, if
/// any.
fn named(arguments: &ModelArguments) -> Option<PathBuf> {
    arguments.model.clone().or_else(beside)
}

/// Returns the model folder beside this program, which exists if the program is part of a bundle.
fn beside() -> Option<PathBuf> {
    let folder = env::current_exe().ok()?.parent()?.join(bundle::MODEL);
    folder.is_dir().then_some(folder)
}

/// Parses a model's name on the hub. Without a name, returns the default model.
pub fn repository(name: Option<&str>) -> Result<Repository, Usage> {
    if let Some(path) = name.filter(|name| Path::new(name).exists()) {
        return Err(Usage(format!("model {path}: is a local folder or file; name a model of the hub")));
    }
    let parsed = name.unwrap_or(hub::DEFAULT).parse();
    parsed.map_err(|e: NotARepository| Usage(format!("{e}; name a model of the hub")))
}

/// Runs a download, and shows the progress unless `format` is `None`.
pub fn transfer<T>(format: Option<LogFormat>, get: impl FnOnce(OnProgress) -> T) -> T {
    let mut shown = Transfer::new("downloading", format);
    let got = get(&mut |event| match event {
        Progress::File { name, bytes } => shown.begin(name, bytes),
        Progress::Bytes(bytes) => shown.show(bytes),
        Progress::Waiting(why) => shown.tell(&why),
    });
    shown.finish();
    got
}

pub fn resources(arguments: &ModelArguments) -> Resources {
    // Uses at most one thread per core, because a second thread per core does not make the model faster. A container may
    // allow fewer cores than the machine has.
    let allowed = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Resources {
        threads: arguments.threads.map_or_else(|| allowed().min(num_cpus::get_physical()), usize::from),
        gpu_memory: arguments.gpu_memory.map(|gib| usize::from(gib) << 30),
    }
}

/// Returns the model's tokenizer. If an instruction is given, the tokenizer puts it before every text.
pub fn tokenizer(model: &Model, instruction: Option<&str>) -> anyhow::Result<Tokenizer> {
    match instruction {
        Some(instruction) => model.tokenizer.with_instruction(instruction),
        None => Ok(model.tokenizer.clone()),
    }
}

/// Returns the fingerprint of an index: everything that the vectors depend on. For extraction, cleaning and chunking, the
/// fingerprint has the versions of this program's rules.
pub fn fingerprint(
    model: ModelFingerprint,
    dim: usize,
    max_tokens: usize,
    instruction: Option<&str>,
    rows: RowKind,
) -> Fingerprint {
    Fingerprint {
        model,
        dim,
        instruction: instruction.map(str::to_owned),
        max_tokens,
        rows,
        extraction: extract::VERSION,
        cleaning: clean::VERSION,
        chunking: chunk::VERSION,
    }
}

/// Returns the metadata of an index that is not a shard.
pub fn metadata(model: &Model, fingerprint: Fingerprint) -> Metadata {
    let model_file = model.folder.onnx.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Metadata { tool: TOOL.to_owned(), model_file, fingerprint, stale: 0, shard: None }
}

/// Returns the workload of the model: chunks of at most `max_tokens` tokens, which all begin with the same instruction.
pub fn workload(tokenizer: &Tokenizer, max_tokens: usize) -> anyhow::Result<Workload> {
    Ok(Workload { max_tokens, batch_tokens: None, prefix: tokenizer.prefix_ids()? })
}

/// Loads the model. Returns an embedder for texts in memory, and the fingerprint of the model.
pub fn load(
    arguments: &ModelArguments,
    model: &Model,
    tokenizer: Tokenizer,
    texts: &Workload,
    asked: Option<usize>,
    format: LogFormat,
) -> anyhow::Result<(TextEmbedder, ModelFingerprint)> {
    let mut loaded = model.load(&resources(arguments), texts)?;
    if let Some(warning) = loaded.warning() {
        let message = format!("model {}: {warning}", model.folder.onnx.display());
        eprint_line(format, Level::Warning, &message, Value::Null);
    }
    let dim = dim(asked, loaded.fingerprint.width)?;
    let embedder: Box<dyn Embedder> = Box::new(loaded.embedders.swap_remove(0));
    Ok((TextEmbedder::new(embedder, tokenizer, texts.max_tokens, dim), loaded.fingerprint))
}

/// Returns the default instruction for questions. Returns `None` for architectures that were not trained with this
/// instruction.
pub fn query_instruction(model: &Model) -> Option<&'static str> {
    model.folder.is_qwen3().then_some(RETRIEVAL)
}

pub fn dim(asked: Option<usize>, width: usize) -> Result<usize, Usage> {
    match asked {
        None => Ok(width),
        Some(dim) if (DIM_MIN..=width).contains(&dim) => Ok(dim),
        Some(dim) => Err(Usage(format!(
            "--dim {dim}: the model's vectors have {width} dimensions; choose {DIM_MIN} to {width}"
        ))),
    }
}

pub fn max_tokens(asked: Option<usize>, model: &Model, tokenizer: &Tokenizer) -> anyhow::Result<usize> {
    let most = model.folder.max_tokens()?.unwrap_or(usize::MAX);
    let max_tokens = asked.unwrap_or(MAX_TOKENS.min(most));
    let least = least_tokens(tokenizer);
    if max_tokens > most {
        return Err(Usage(format!(
            "--max-tokens {max_tokens}: is too large; the model accepts at most {most} tokens"
        ))
        .into());
    }
    if max_tokens < least {
        return Err(Usage(format!(
            "--max-tokens {max_tokens}: is too small: the instruction and special tokens take {} tokens, and the text needs {}; shorten --instruction or raise --max-tokens",
            tokenizer.overhead(),
            chunk::ROOM_MIN
        ))
        .into());
    }
    Ok(max_tokens)
}

/// Returns the smallest limit on tokens per chunk: room for the instruction, the special tokens and some text.
pub fn least_tokens(tokenizer: &Tokenizer) -> usize {
    tokenizer.overhead() + chunk::ROOM_MIN
}
