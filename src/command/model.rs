//! What all commands that embed have in common: the model as typed -> the model as usable.

use std::num::NonZeroUsize;
use std::thread;

use serde_json::Value;

use crate::chunk;
use crate::cli::ModelArguments;
use crate::embed::Embedder;
use crate::error::Usage;
use crate::model::{Model, Resources, Texts};
use crate::report::{Level, LogFormat, eprint_line};
use crate::texts::TextEmbedder;
use crate::tokenize::Tokenizer;

/// Tokens of a chunk where neither the user nor the model says otherwise.
const MAX_TOKENS: usize = 2048;

/// The smallest dimension that Qwen3-Embedding was trained for.
pub const DIM_MIN: usize = 32;

/// The task of Qwen3-Embedding's model card for questions, where none is named.
const RETRIEVAL: &str = "Given a web search query, retrieve relevant passages that answer the query";

/// Finds the model's files. Where a folder has several graphs and none is named, it is that of this name, if any.
pub fn open(arguments: &ModelArguments, file: Option<&str>) -> anyhow::Result<Model> {
    let file = file.filter(|_| arguments.model.is_dir());
    Model::open(&arguments.model, arguments.model_file.as_deref().or(file), arguments.device.clone())
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

/// Loads the model for texts of so many tokens in one chunk, in memory. `dim` as asked for.
pub fn load(
    arguments: &ModelArguments,
    model: &Model,
    tokenizer: Tokenizer,
    max_tokens: usize,
    asked: Option<usize>,
    format: LogFormat,
) -> anyhow::Result<TextEmbedder> {
    let texts = Texts { max_tokens, prefix: tokenizer.shared_ids()? };
    let mut loaded = model.load(&resources(arguments), &texts)?;
    if let Some(warning) = loaded.warning() {
        let message = format!("model {}: {warning}", model.folder.onnx.display());
        eprint_line(format, Level::Warning, &message, Value::Null);
    }
    let dim = dim(asked, loaded.fingerprint.width)?;
    // Who waits for a few texts has nothing to share between devices.
    let embedder: Box<dyn Embedder> = Box::new(loaded.embedders.swap_remove(0));
    Ok(TextEmbedder::new(embedder, tokenizer, max_tokens, dim))
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
