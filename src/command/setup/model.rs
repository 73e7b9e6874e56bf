//! Turns the arguments about the model into the model, its limits and its fingerprint.

use serde_json::Value;

use crate::cli::ModelArguments;
use crate::command::process::TOOL;
use crate::console::{Level, LogFormat, eprint_line};
use crate::error::Usage;
use crate::index::{Fingerprint, Metadata, RowKind, VectorType};
use crate::model::export::Quality;
use crate::model::{Model, ModelFingerprint, Resources, Workload, default_threads, prompts};
use crate::source::extract;
use crate::text::chunk::ChunkRules;
use crate::text::tokenize::Tokenizer;
use crate::text::{chunk, clean};
use crate::vector::embedder::Embedder;
use crate::vector::texts::TextEmbedder;

/// The default limit on tokens per chunk. The limit of the model is used instead if it is lower.
const MAX_TOKENS: usize = 2048;

/// The default limit on tokens of a row that is a chunk. docs/eval.md has the measurement.
const CHUNK_TOKENS: usize = 512;

/// The smallest number of dimensions that Qwen3-Embedding was trained for.
pub const DIM_MIN: usize = 32;

pub fn resources(arguments: &ModelArguments) -> Resources {
    Resources {
        threads: arguments.threads.map_or_else(default_threads, usize::from),
        gpu_memory: arguments.gpu_memory.map(|gib| usize::from(gib) << 30),
    }
}

/// Returns the words to put before each document: the instruction of the user, or else the model's own prompt.
///
/// # Errors
/// The file with the model's prompts cannot be read.
pub fn document_prompt(model: &Model, instruction: Option<&str>) -> anyhow::Result<String> {
    let prompts = model.folder.prompts()?;
    Ok(instruction.map_or_else(|| prompts.document.clone(), |text| prompts.with_instruction(text)))
}

/// Returns the words to put before each question: the instruction of the user, or else the model's own prompt.
///
/// # Errors
/// The file with the model's prompts cannot be read.
pub fn query_prompt(model: &Model, instruction: Option<&str>) -> anyhow::Result<String> {
    let prompts = model.folder.prompts()?;
    Ok(instruction.map_or_else(|| prompts.query.clone(), |text| prompts.with_instruction(text)))
}

/// Returns the message about a prompt that the model's own files put before each document. Returns `None` if there is no prompt,
/// or if the prompt is an instruction of the user.
pub fn about_prompt(prompt: &str, instruction: Option<&str>) -> Option<String> {
    let is_of_model = !prompt.is_empty() && instruction.is_none();
    is_of_model.then(|| format!("the model's own prompt {prompt:?} is put before each document"))
}

/// Returns the fingerprint of an index: everything that the vectors depend on. For extraction, cleaning and chunking, the
/// fingerprint has the versions of this program's rules. `prompt` is what is put before each text.
pub fn fingerprint(
    model: ModelFingerprint,
    dim: usize,
    chunking: &ChunkRules,
    prompt: &str,
    rows: RowKind,
) -> Fingerprint {
    let instruction = prompts::instruction_in(prompt);
    let is_other = instruction.is_none() && !prompt.is_empty();
    Fingerprint {
        model,
        dim,
        instruction: instruction.map(str::to_owned),
        prompt: is_other.then(|| prompt.to_owned()),
        max_tokens: chunking.tokens,
        rows,
        extraction: extract::VERSION,
        cleaning: clean::VERSION,
        chunking: chunk::VERSION,
        chunk_by: chunking.by,
        overlap: chunking.overlap,
        context: chunking.context,
        vector_type: VectorType::default(),
    }
}

/// Returns the metadata of an index that is not a shard. `source` is the model's place or name on the hub.
pub fn metadata(model: &Model, source: &str, fingerprint: Fingerprint) -> Metadata {
    let model_file = model.folder.onnx.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let quality = Quality::stored_in(&model.folder.onnx);
    let model = Some(source.to_owned());
    Metadata { tool: TOOL.to_owned(), model_file, model, quality, fingerprint, stale: 0, shard: None }
}

/// Returns the workload of the model: chunks of at most `max_tokens` tokens, which all begin with the same prompt.
pub fn workload(tokenizer: &Tokenizer, max_tokens: usize) -> anyhow::Result<Workload> {
    Ok(Workload::of_many(max_tokens, tokenizer.prefix_ids()?))
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
    for warning in [loaded.head_warning(), loaded.batching_warning()].into_iter().flatten() {
        let message = format!("model {}: {warning}", model.folder.onnx.display());
        eprint_line(format, Level::Warning, &message, Value::Null);
    }
    let dim = dim(asked, loaded.fingerprint.width)?;
    let embedder: Box<dyn Embedder> = Box::new(loaded.embedders.swap_remove(0));
    Ok((TextEmbedder::new(embedder, tokenizer, texts.max_tokens, dim), loaded.fingerprint))
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

/// Returns the limit on tokens of a row that is a chunk.
///
/// # Errors
/// The argument is larger than `max_tokens`, or leaves no room for text.
pub fn chunk_tokens(asked: Option<usize>, max_tokens: usize, tokenizer: &Tokenizer) -> Result<usize, Usage> {
    let (tokens, least) = (asked.unwrap_or(CHUNK_TOKENS.min(max_tokens)), least_tokens(tokenizer));
    if (least..=max_tokens).contains(&tokens) {
        return Ok(tokens);
    }
    Err(Usage(format!(
        "--chunk-tokens {tokens}: is out of range; choose {least} to {max_tokens} (--max-tokens)"
    )))
}

/// Returns the limit on tokens per document.
pub fn document_tokens(asked: u64) -> usize {
    usize::try_from(asked).unwrap_or(usize::MAX)
}

/// Returns the smallest limit on tokens per chunk: room for the prompt, the special tokens and some text.
pub fn least_tokens(tokenizer: &Tokenizer) -> usize {
    tokenizer.overhead() + chunk::ROOM_MIN
}
