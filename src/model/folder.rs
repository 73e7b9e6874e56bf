//! Finds the graph and the tokenizer of a model in a local folder with the layout of a hub repository. Reads the pooling and the
//! maximum length of a text from the configuration files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::fingerprint::external_data;
use super::head::{Head, MODULES, layers, module_files};
use super::prompts::Prompts;
use super::settings::{cannot_read, has_file, json};
use crate::storage::found::is_absent;
use crate::vector::pool::Pooling;

/// The default paths of the graph in a model folder. The first path that exists is used.
const DEFAULT_GRAPHS: [&str; 2] = ["onnx/model.onnx", "model.onnx"];

/// The architecture of Qwen3-Embedding. This tool always uses last-token pooling for a model of this architecture, because some
/// exports have a pooling file that wrongly names mean pooling.
pub const QWEN3: &str = "qwen3";

/// The file of sentence-transformers that says how hidden states are pooled.
const POOLING: &str = "1_Pooling/config.json";

/// The token that ends every text of a Qwen3 model.
pub const END_TOKEN: &str = "<|endoftext|>";

/// The configuration file, which every model has.
pub const CONFIG: &str = "config.json";

/// The tokenizer file, which every model has.
pub const TOKENIZER: &str = "tokenizer.json";

/// The files that this tool reads if a model has them.
pub const SETTINGS: [&str; 4] = [POOLING, MODULES, SENTENCE, PROMPTS];

/// The file of sentence-transformers that says how many tokens a text may have.
const SENTENCE: &str = "sentence_bert_config.json";

/// The file of sentence-transformers that has the prompts of the model.
const PROMPTS: &str = "config_sentence_transformers.json";

/// The fields of `config.json` that this tool uses.
#[derive(Debug, Deserialize)]
struct Config {
    model_type: String,
    hidden_size: Option<usize>,
    /// DistilBERT's name for `hidden_size`.
    dim: Option<usize>,
    max_position_embeddings: Option<usize>,
    pad_token_id: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: Option<usize>,
}

/// The error for a folder or a repository without the graph to use.
#[derive(Debug, thiserror::Error)]
#[error("has no {graph}")]
pub struct GraphMissing {
    graph: String,
    /// The graphs that the folder or the repository has.
    pub others: Vec<String>,
}

impl GraphMissing {
    /// Makes the error. `file` is the graph that the user named.
    pub(super) fn new(file: Option<&str>, others: Vec<String>) -> Self {
        GraphMissing { graph: file.unwrap_or("model.onnx").to_owned(), others }
    }
}

/// The paths of a model's files, and the content of its `config.json`.
#[derive(Debug)]
pub struct ModelFolder {
    /// The path of the graph.
    pub onnx: PathBuf,
    /// The path of `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// The folders to search for all files except the graph, in the order of the search.
    folders: Vec<PathBuf>,
    config: Config,
}

impl ModelFolder {
    /// Finds the files of a model and reads `config.json`. `path` is a model folder or a graph. If `path` is a folder, `file`
    /// may choose a graph in the folder; otherwise, `file` has no effect.
    ///
    /// # Errors
    /// A file is missing or cannot be parsed.
    pub fn open(path: &Path, file: Option<&str>) -> anyhow::Result<Self> {
        let onnx = graph(path, file)?;
        let folders = folders(&onnx);
        ModelFolder::of_files(onnx, folders)
    }

    /// Returns the folder of a model whose graph is elsewhere.
    ///
    /// # Errors
    /// A file is missing or cannot be parsed.
    pub(super) fn with_graph(onnx: PathBuf, folder: &Path) -> anyhow::Result<Self> {
        ModelFolder::of_files(onnx, vec![folder.to_owned()])
    }

    fn of_files(onnx: PathBuf, folders: Vec<PathBuf>) -> anyhow::Result<Self> {
        let needed = |name: &str| {
            find(&folders, name)?.with_context(|| {
                let searched: Vec<String> =
                    folders.iter().map(|folder| folder.display().to_string()).collect();
                format!(
                    "model {}: no {name} in {}; copy it there from the model's own repository",
                    onnx.display(),
                    searched.join(" or ")
                )
            })
        };
        let (tokenizer, config) = (needed(TOKENIZER)?, json(&needed(CONFIG)?)?);
        Ok(ModelFolder { onnx, tokenizer, folders, config })
    }

    /// Returns the value of `model_type` in config.json.
    pub fn architecture(&self) -> &str {
        &self.config.model_type
    }

    /// Returns whether the model has the architecture of Qwen3-Embedding.
    pub fn is_qwen3(&self) -> bool {
        self.config.model_type == QWEN3
    }

    /// Returns the number of dimensions of the hidden states, if config.json has this number.
    pub fn width(&self) -> Option<usize> {
        self.config.hidden_size.or(self.config.dim)
    }

    /// Returns the number of tokens in the vocabulary, if config.json has this number.
    pub fn vocabulary(&self) -> Option<usize> {
        self.config.vocab_size
    }

    /// Returns the number of key-value heads and the number of dimensions per head. Returns `None` if config.json does not say
    /// enough to compute both numbers.
    pub fn cache_shape(&self) -> Option<(usize, usize)> {
        let heads = self.config.num_attention_heads?;
        // In Qwen3-Embedding-0.6B, head_dim is 128 although hidden_size / heads is 64.
        let head_dim = self.config.head_dim.or_else(|| self.width()?.checked_div(heads))?;
        Some((self.config.num_key_value_heads.unwrap_or(heads), head_dim))
    }

    /// Returns the token that must end every text of a Qwen3 model; `None` for other models.
    pub fn end_token(&self) -> Option<&'static str> {
        self.is_qwen3().then_some(END_TOKEN)
    }

    /// Returns the largest number of tokens that a text may have; `None` if no file of the model sets a limit.
    ///
    /// # Errors
    /// A file cannot be read or parsed.
    pub fn max_tokens(&self) -> anyhow::Result<Option<usize>> {
        // In these architectures, the positions of a text start at `pad_token_id` + 1, so a text cannot use the lower
        // positions.
        let reserved = match self.config.model_type.as_str() {
            "roberta" | "xlm-roberta" | "camembert" | "mpnet" => self.config.pad_token_id.unwrap_or(1) + 1,
            _ => 0,
        };
        let positions = self.config.max_position_embeddings.map(|n| n.saturating_sub(reserved));
        let sentence = self.optional(SENTENCE)?;
        let sentence = sentence
            .and_then(|(_, settings)| usize::try_from(settings.get("max_seq_length")?.as_u64()?).ok());
        Ok([positions, sentence].into_iter().flatten().min())
    }

    /// Returns what turns the hidden states of this model into vectors.
    ///
    /// # Errors
    /// A file is missing or wrong, or this tool does not support the pooling or a layer after it.
    pub fn head(&self) -> anyhow::Result<Head> {
        let modules = find(&self.folders, MODULES)?;
        let layers =
            modules.as_deref().map(|path| layers(path, |name| find(&self.folders, name))).transpose()?;
        let pooling = if self.is_qwen3() { Pooling::LastToken } else { self.pooling()? };
        // Repositories with exports of Qwen3 often lack the file. The model has no layer after the pooling.
        let layers = match layers {
            None if self.is_qwen3() => Vec::new(),
            layers => layers.with_context(|| {
                format!("no {MODULES}, the file that names the layers after the pooling; copy the file from the model's own repository")
            })?,
        };
        Ok(Head { pooling, layers })
    }

    fn pooling(&self) -> anyhow::Result<Pooling> {
        let Some((path, settings)) = self.optional(POOLING)? else {
            bail!(
                "no {POOLING}, the file that names the pooling of a {} model; copy the file from the model's own repository",
                self.config.model_type
            );
        };
        let pooling = pooling_of(&settings).with_context(|| {
            format!(
                "{}: this tool supports lasttoken, mean and cls pooling only; use another model",
                path.display()
            )
        })?;
        let includes_prompt = settings.get("include_prompt").and_then(Value::as_bool) != Some(false);
        ensure!(
            includes_prompt || pooling != Pooling::Mean,
            "{}: the pooling leaves out the prompt (include_prompt), which this tool does not do; use another model",
            path.display()
        );
        Ok(pooling)
    }

    /// Returns the prompts of the model.
    ///
    /// # Errors
    /// The file of the prompts cannot be read or parsed.
    pub fn prompts(&self) -> anyhow::Result<Prompts> {
        let settings = self.optional(PROMPTS)?.map(|(_, settings)| settings);
        Ok(Prompts::new(settings.as_ref(), self.is_qwen3()))
    }

    /// Returns the path of the pooling file if the model is a Qwen3 model and the pooling file does not name last-token
    /// pooling. Such a pooling file is wrong.
    ///
    /// # Errors
    /// The file cannot be read or parsed.
    pub fn stray_pooling(&self) -> anyhow::Result<Option<PathBuf>> {
        let file = self.optional(POOLING)?.filter(|_| self.is_qwen3());
        let stray = file.filter(|(_, settings)| pooling_of(settings) != Some(Pooling::LastToken));
        Ok(stray.map(|(path, _)| path))
    }

    /// Returns whether the model has the architecture, hidden size, number of layers and vocabulary size of Qwen3-Embedding-0.6B.
    pub fn has_shape_of_0_6b(&self) -> bool {
        let Config { hidden_size, num_hidden_layers, vocab_size, .. } = self.config;
        self.is_qwen3()
            && (hidden_size, num_hidden_layers, vocab_size) == (Some(1024), Some(28), Some(151_669))
    }

    /// Returns the model folder: the one that all files of the model are in or below.
    pub fn root(&self) -> &Path {
        self.folders.last().map_or(Path::new("."), PathBuf::as_path)
    }

    /// Returns all files of the model. Each pair is the path of a file, and the relative path of the file's copy in a new model
    /// folder.
    ///
    /// # Errors
    /// The graph or modules.json cannot be read.
    pub fn files(&self) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
        let mut files: Vec<(PathBuf, PathBuf)> = [&self.onnx, &self.tokenizer]
            .map(|path| (path.clone(), PathBuf::from(path.file_name().unwrap_or_default())))
            .into();
        files.extend(
            external_data(&self.onnx)?.into_iter().map(|name| (self.onnx.with_file_name(&name), name.into())),
        );
        let mut names: Vec<String> = [CONFIG].into_iter().chain(SETTINGS).map(str::to_owned).collect();
        if let Some(modules) = find(&self.folders, MODULES)? {
            names.extend(module_files(&modules)?);
        }
        for name in names {
            files.extend(find(&self.folders, &name)?.map(|path| (path, PathBuf::from(name))));
        }
        Ok(files)
    }

    /// Finds and reads an optional configuration file. Returns `None` if the model does not have the file.
    fn optional(&self, name: &str) -> anyhow::Result<Option<(PathBuf, Value)>> {
        find(&self.folders, name)?.map(|path| Ok((path.clone(), json(&path)?))).transpose()
    }
}

/// Returns the value of `model_type` in a config.json.
///
/// # Errors
/// The file cannot be read or parsed.
pub fn architecture(config: &Path) -> anyhow::Result<String> {
    json(config).map(|config: Config| config.model_type)
}

/// Returns the folders to search for all files of a model except the graph: the folder of the graph and, if this folder is
/// called `onnx`, its parent folder. Hub repositories have graphs in `onnx/`, and all other files in the parent folder.
fn folders(onnx: &Path) -> Vec<PathBuf> {
    let here = |path: &Path| if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() };
    let parent = here(onnx.parent().unwrap_or(Path::new("")));
    // A path such as `.` does not contain the name of the folder, but the absolute path does.
    let is_onnx = std::path::absolute(&parent).is_ok_and(|path| path.ends_with("onnx"));
    let above = parent.file_name().and_then(|_| parent.parent()).map_or(PathBuf::from(".."), here);
    if is_onnx { vec![parent, above] } else { vec![parent] }
}

/// Returns the first of these folders' files with this name, if any.
///
/// # Errors
/// The file system does not say whether a folder has the file.
fn find(folders: &[PathBuf], name: &str) -> anyhow::Result<Option<PathBuf>> {
    for path in folders.iter().map(|folder| folder.join(name)) {
        if has_file(&path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Returns the paths to try for the graph, relative to the model folder. The first path that exists is used. `file` is the value
/// of `--model-file`.
pub fn graph_names(file: Option<&str>) -> Vec<String> {
    match file {
        Some(name) => vec![name.to_owned(), format!("onnx/{name}")],
        None => DEFAULT_GRAPHS.map(str::to_owned).into(),
    }
}

fn graph(path: &Path, file: Option<&str>) -> anyhow::Result<PathBuf> {
    let metadata = fs::metadata(path).map_err(|e| {
        anyhow!("model {}: cannot be read: {e}; name a model folder or an .onnx file", path.display())
    })?;
    if metadata.is_file() {
        return Ok(path.to_owned());
    }
    for name in graph_names(file) {
        if let Some(found) = find(&[path.to_owned()], &name)? {
            return Ok(found);
        }
    }
    let others = graphs(path)?;
    if let ([only], None) = (others.as_slice(), file) {
        return Ok(path.join(only));
    }
    Err(GraphMissing::new(file, others)).with_context(|| format!("model {}", path.display()))
}

/// Returns the names of all graphs in a model folder, in the form that `--model-file` expects.
///
/// # Errors
/// A folder cannot be read.
pub fn graphs(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for prefix in ["", "onnx/"] {
        let folder = folder.join(prefix);
        let entries = match fs::read_dir(&folder) {
            Err(e) if is_absent(&e) => continue,
            entries => entries.map_err(|e| cannot_read(&folder, &e))?,
        };
        for entry in entries {
            let name =
                entry.map_err(|e| cannot_read(&folder, &e))?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".onnx") {
                names.push(format!("{prefix}{name}"));
            }
        }
    }
    names.sort();
    Ok(names)
}

/// Reads the pooling from the content of a pooling file. Returns `None` if this tool does not support the pooling. New pooling
/// files name the mode, and old pooling files have one flag per mode.
fn pooling_of(settings: &Value) -> Option<Pooling> {
    if let Some(mode) = settings.get("pooling_mode").and_then(Value::as_str) {
        return match mode {
            "lasttoken" => Some(Pooling::LastToken),
            "mean" => Some(Pooling::Mean),
            "cls" => Some(Pooling::Cls),
            _ => None,
        };
    }
    let modes = settings
        .as_object()?
        .iter()
        .filter(|(name, on)| name.starts_with("pooling_mode_") && on.as_bool() == Some(true));
    match modes.map(|(name, _)| name.as_str()).collect::<Vec<_>>()[..] {
        ["pooling_mode_lasttoken"] => Some(Pooling::LastToken),
        ["pooling_mode_mean_tokens"] => Some(Pooling::Mean),
        ["pooling_mode_cls_token"] => Some(Pooling::Cls),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pooling_is_read_in_both_forms_and_never_guessed() {
        assert_eq!(pooling_of(&json!({"pooling_mode": "cls"})), Some(Pooling::Cls));
        assert_eq!(
            pooling_of(&json!({"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true})),
            Some(Pooling::Mean)
        );
        assert_eq!(pooling_of(&json!({"pooling_mode_lasttoken": true})), Some(Pooling::LastToken));
        assert_eq!(
            pooling_of(&json!({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true})),
            None
        );
        assert_eq!(pooling_of(&json!({"pooling_mode": "weightedmean"})), None);
    }
}
