//! What all commands that embed have in common: the model as typed -> the model as usable.

use std::env;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, anyhow};
use serde_json::Value;

use crate::cli::ModelArguments;
use crate::command::process::TOOL;
use crate::console::{Level, LogFormat, Transfer, eprint_line};
use crate::error::Usage;
use crate::index::{Fingerprint, Metadata, RowKind};
use crate::model::hub::{self, Hub, OnProgress, Progress, Repository};
use crate::model::{DeviceChoice, Model, ModelFingerprint, Resources, Workload, bundle};
use crate::source::extract;
use crate::text::tokenize::Tokenizer;
use crate::text::{chunk, clean};
use crate::vector::embedder::Embedder;
use crate::vector::texts::TextEmbedder;

/// Tokens of a chunk where neither the user nor the model says otherwise.
const MAX_TOKENS: usize = 2048;

/// The smallest dimension that Qwen3-Embedding was trained for.
pub const DIM_MIN: usize = 32;

/// The task of Qwen3-Embedding's model card for questions, where none is named.
pub const RETRIEVAL: &str = "Given a web search query, retrieve relevant passages that answer the query";

/// Finds the model's files, or gets them from the hub. Where there are several graphs and none is named, it is that of this
/// name, if any.
pub fn open(
    arguments: &ModelArguments,
    file: Option<&str>,
    format: Option<LogFormat>,
) -> anyhow::Result<Model> {
    open_on(arguments, arguments.device.clone(), file, format)
}

/// As [`open`], for a few texts, which several devices would only wait for.
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
    let beside = beside();
    let named = arguments.model.as_deref().or(beside.as_deref());
    let is_graph = named.is_some_and(Path::is_file);
    let file = arguments.model_file.as_deref().or(file.filter(|_| !is_graph));
    let path = match named {
        Some(path) if path.exists() => path.to_owned(),
        _ => {
            let name = named.map(|path| path.to_string_lossy());
            // A folder that is not there yet is no wrong call.
            let repository = repository(name.as_deref()).map_err(|Usage(why)| anyhow!(why))?;
            let got = transfer(format, |tell| {
                Hub::from_environment(arguments.offline)?.get(&repository, file, tell)
            });
            match name {
                Some(name) => {
                    got.with_context(|| format!("--model {name}: no folder or file here; on the hub"))?
                }
                None => got?,
            }
        }
    };
    Model::open(&path, file, device)
}

/// The model of a bundle.
fn beside() -> Option<PathBuf> {
    let folder = env::current_exe().ok()?.parent()?.join(bundle::MODEL);
    folder.is_dir().then_some(folder)
}

/// The hub's name of a model.
pub fn repository(name: Option<&str>) -> Result<Repository, Usage> {
    if let Some(path) = name.filter(|name| Path::new(name).exists()) {
        return Err(Usage(format!("model {path}: is a folder or file here; name a model of the hub")));
    }
    name.unwrap_or(hub::DEFAULT).parse()
}

/// Does what may download, and shows how far it is, unless nothing is to be told.
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
    // A second thread of the same core has no arithmetic of its own to add, and a container may have less than that.
    let allowed = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Resources {
        threads: arguments.threads.map_or_else(|| allowed().min(num_cpus::get_physical()), usize::from),
        gpu_memory: arguments.gpu_memory.map(|gib| usize::from(gib) << 30),
    }
}

/// The model's tokenizer, with what is to stand before every text.
pub fn tokenizer(model: &Model, instruction: Option<&str>) -> anyhow::Result<Tokenizer> {
    match instruction {
        Some(instruction) => model.tokenizer.with_instruction(instruction),
        None => Ok(model.tokenizer.clone()),
    }
}

/// What vectors that are made by this version and with these settings depend on.
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

/// What an index of all documents says of itself.
pub fn metadata(model: &Model, fingerprint: Fingerprint) -> Metadata {
    let model_file = model.folder.onnx.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Metadata { tool: TOOL.to_owned(), model_file, fingerprint, stale: 0, shard: None }
}

/// What goes through the model with this tokenizer, of so many tokens in one chunk.
pub fn texts(tokenizer: &Tokenizer, max_tokens: usize) -> anyhow::Result<Workload> {
    Ok(Workload { max_tokens, batch_tokens: None, prefix: tokenizer.prefix_ids()? })
}

/// Loads the model for texts in memory. `dim` as asked for. Gives back what the model is recognised by, too.
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

/// What stands before questions, where no other instruction is named. Other architectures have not been trained for it.
pub fn query_instruction(model: &Model) -> Option<&'static str> {
    model.folder.is_qwen3().then_some(RETRIEVAL)
}

pub fn dim(asked: Option<usize>, width: usize) -> Result<usize, Usage> {
    match asked {
        None => Ok(width),
        Some(dim) if (DIM_MIN..=width).contains(&dim) => Ok(dim),
        Some(dim) => Err(Usage(format!(
            "--dim {dim}: the model's vectors have {width} numbers; choose {DIM_MIN} to {width}"
        ))),
    }
}

pub fn max_tokens(asked: Option<usize>, model: &Model, tokenizer: &Tokenizer) -> anyhow::Result<usize> {
    let most = model.folder.max_tokens()?.unwrap_or(usize::MAX);
    let max_tokens = asked.unwrap_or(MAX_TOKENS.min(most));
    let least = least_tokens(tokenizer);
    if max_tokens > most {
        return Err(Usage(format!("--max-tokens {max_tokens}: the model takes {most} at most")).into());
    }
    if max_tokens < least {
        return Err(Usage(format!(
            "{max_tokens} tokens in a chunk are too few: {} go to the instruction and special tokens, and {} are needed for text; shorten --instruction or raise --max-tokens",
            tokenizer.overhead(),
            chunk::ROOM_MIN
        ))
        .into());
    }
    Ok(max_tokens)
}

/// Tokens that a chunk must have room for.
pub fn least_tokens(tokenizer: &Tokenizer) -> usize {
    tokenizer.overhead() + chunk::ROOM_MIN
}
