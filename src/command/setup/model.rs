//! Turns the arguments about the model into the model, its limits and its fingerprint.

use serde_json::Value;

use crate::cli::ModelArguments;
use crate::command::process::TOOL;
use crate::console::{Level, LogFormat, eprint_line};
use crate::error::Usage;
use crate::index::{Fingerprint, Metadata, RowKind, VectorType};
use crate::model::export::Quality;
use crate::model::{Model, ModelFingerprint, Preparation, Resources, Workload, default_threads, prompts};
use crate::source::extract;
use crate::text::chunk::ChunkRules;
use crate::text::tokenize::Tokenizer;
use crate::text::{chunk, clean};
use crate::vector::embedder::Embedder;
use crate::vector::texts::TextEmbedder;

/// The default limit on tokens per chunk. The limit of the model is used instead if it is lower.
const MAX_TOKENS: usize = 2048;

/// The default limit on tokens of a row that is a chunk. docs/eval.md has the measurement.
const CHUNK_TOKENS: usize = 256;

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
        whole_pages: false,
        scans: false,
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
    Metadata {
        tool: TOOL.to_owned(),
        model_file,
        model,
        quality,
        fingerprint,
        stale: 0,
        outdated: Vec::new(),
        shard: None,
    }
}

/// Returns the workload of the model: chunks of at most `max_tokens` tokens, which all begin with the same prompt.
///
/// # Errors
/// The limit leaves no room for text.
pub fn workload(tokenizer: &Tokenizer, max_tokens: usize) -> anyhow::Result<Workload> {
    check_room(tokenizer, max_tokens, "--max-tokens")?;
    Ok(Workload::of_many(max_tokens, tokenizer.prefix_ids()?))
}

/// Loads the model, for texts with `prompt` before them. `workload` receives the tokenizer with the prompt. Returns an embedder for
/// texts in memory, and the fingerprint of the model.
pub fn load(
    arguments: &ModelArguments,
    model: &Model,
    prompt: &str,
    preparation: Preparation,
    workload: &(dyn Fn(&Tokenizer) -> anyhow::Result<Workload> + Sync),
    asked: Option<usize>,
    format: LogFormat,
) -> anyhow::Result<(TextEmbedder, ModelFingerprint)> {
    let tokenizer = || model.tokenizer()?.with_prompt(prompt);
    let mut loaded = model.load(&resources(arguments), preparation, &|| workload(&tokenizer()?))?;
    for warning in [loaded.head_warning(), loaded.batching_warning()].into_iter().flatten() {
        let message = format!("model {}: {warning}", model.folder.onnx.display());
        eprint_line(format, Level::Warning, &message, Value::Null);
    }
    let dim = dim(asked, loaded.fingerprint.width)?;
    let embedder: Box<dyn Embedder> = Box::new(loaded.embedders.swap_remove(0));
    let embedder = TextEmbedder::new(embedder, tokenizer()?, loaded.workload.max_tokens, dim);
    Ok((embedder, loaded.fingerprint))
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

/// Returns the limit on tokens per chunk. [`workload`] checks that it leaves room for text.
pub fn max_tokens(asked: Option<usize>, model: &Model) -> anyhow::Result<usize> {
    let most = model.folder.max_tokens()?.unwrap_or(usize::MAX);
    let max_tokens = asked.unwrap_or(MAX_TOKENS.min(most));
    if max_tokens > most {
        return Err(Usage(format!(
            "--max-tokens {max_tokens}: is too large; the model accepts at most {most} tokens"
        ))
        .into());
    }
    Ok(max_tokens)
}

/// Checks that a limit on tokens per chunk leaves room for text. `option` sets the limit.
pub fn check_room(tokenizer: &Tokenizer, max_tokens: usize, option: &str) -> Result<(), Usage> {
    if max_tokens < least_tokens(tokenizer) {
        return Err(Usage(format!(
            "{option} {max_tokens}: is too small: the instruction and special tokens take {} tokens, and the text needs {}; shorten --instruction or raise {option}",
            tokenizer.overhead(),
            chunk::ROOM_MIN
        )));
    }
    Ok(())
}

/// Returns the limit on tokens of a row that is a chunk.
///
/// # Errors
/// The argument is larger than `max_tokens`.
pub fn chunk_tokens(asked: Option<usize>, max_tokens: usize) -> Result<usize, Usage> {
    let tokens = asked.unwrap_or(CHUNK_TOKENS.min(max_tokens));
    if tokens > max_tokens {
        return Err(Usage(format!(
            "--chunk-tokens {tokens}: is too large; --max-tokens or the model allows at most {max_tokens}"
        )));
    }
    Ok(tokens)
}

/// Returns the limit on tokens per document.
pub fn document_tokens(asked: u64) -> usize {
    usize::try_from(asked).unwrap_or(usize::MAX)
}

/// Returns the smallest limit on tokens per chunk: room for the prompt, the special tokens and some text.
pub fn least_tokens(tokenizer: &Tokenizer) -> usize {
    tokenizer.overhead() + chunk::ROOM_MIN
}
