//! What a model folder is: which file is the graph, which the tokenizer, and what the configuration
//! files say of pooling and length. Read from a local folder laid out like a hub repository.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fingerprint::external_data;
use crate::error::Usage;
use crate::vector::pool::Pooling;

/// Graphs that a folder is searched for, the first wins.
const PLAIN: [&str; 2] = ["onnx/model.onnx", "model.onnx"];

/// The architecture that is always pooled at its end token, whatever a stray pooling file says: there
/// are exports of Qwen3-Embedding with the configuration of a mean-pooled model beside them.
const QWEN3: &str = "qwen3";

/// Where sentence-transformers says how hidden states become a vector.
const POOLING: &str = "1_Pooling/config.json";

/// Where it says what the model ends in.
const MODULES: &str = "modules.json";

/// The configuration, which every model has beside its graph.
pub const CONFIG: &str = "config.json";

/// The tokenizer, likewise.
pub const TOKENIZER: &str = "tokenizer.json";

/// What a model may have beside them, and is read.
pub const SETTINGS: [&str; 3] = [POOLING, MODULES, SENTENCE];

/// Where it says how long texts may be.
const SENTENCE: &str = "sentence_bert_config.json";

/// The part of `config.json` that is used.
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

/// The files of a model, and what they say.
#[derive(Debug)]
pub struct ModelFolder {
    /// The graph.
    pub onnx: PathBuf,
    /// `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// Where its other files may lie, the first wins.
    folders: Vec<PathBuf>,
    config: Config,
}

impl ModelFolder {
    /// Takes a folder or a graph in one; `file` names a graph in the folder.
    ///
    /// # Errors
    /// A file that is missing or cannot be understood, with its path and what to do.
    pub fn open(path: &Path, file: Option<&str>) -> anyhow::Result<Self> {
        let onnx = graph(path, file)?;
        let folders = folders(&onnx);
        let needed = |name: &str| {
            find(&folders, name).with_context(|| {
                let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
                format!(
                    "model {}: no {name} in {}; copy it there from the model's own repository",
                    onnx.display(),
                    looked.join(" or ")
                )
            })
        };
        let (tokenizer, config) = (needed(TOKENIZER)?, json(&needed(CONFIG)?)?);
        Ok(ModelFolder { onnx, tokenizer, folders, config })
    }

    /// `model_type` of the configuration.
    pub fn architecture(&self) -> &str {
        &self.config.model_type
    }

    /// Whether it is of the kind that this tool is made for.
    pub fn is_qwen3(&self) -> bool {
        self.config.model_type == QWEN3
    }

    /// Length of the hidden states, where the configuration says so.
    pub fn width(&self) -> Option<usize> {
        self.config.hidden_size.or(self.config.dim)
    }

    /// Tokens in the vocabulary, where the configuration says so.
    pub fn vocabulary(&self) -> Option<usize> {
        self.config.vocab_size
    }

    /// Key and value heads, and numbers in each, of a cache; where the configuration says so.
    pub fn cache_shape(&self) -> Option<(usize, usize)> {
        let heads = self.config.num_attention_heads?;
        // head_dim is a number of its own in Qwen3: 128, where hidden_size / heads is 64.
        let head_dim = self.config.head_dim.or_else(|| self.width()?.checked_div(heads))?;
        Some((self.config.num_key_value_heads.unwrap_or(heads), head_dim))
    }

    /// The token that must end every text, for a model that is pooled there.
    pub fn end_token(&self) -> Option<&'static str> {
        self.is_qwen3().then_some("<|endoftext|>")
    }

    /// Tokens that the model can take, where its files say so.
    ///
    /// # Errors
    /// A file that cannot be understood.
    pub fn max_tokens(&self) -> anyhow::Result<Option<usize>> {
        // These number positions from behind the padding token's, so that fewer are left.
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

    /// How hidden states become a vector.
    ///
    /// # Errors
    /// No file that says so, or a pooling that is not known here.
    pub fn pooling(&self) -> anyhow::Result<Pooling> {
        if self.is_qwen3() {
            return Ok(Pooling::LastToken);
        }
        self.refuse_unknown_modules()?;
        let Some((path, settings)) = self.optional(POOLING)? else {
            bail!(
                "model {}: no {POOLING}, so how a {} model is pooled cannot be known; copy it from the model's own repository",
                self.onnx.display(),
                self.config.model_type
            );
        };
        pooling_of(&settings).with_context(|| {
            format!(
                "{}: names no pooling that is known here (lasttoken, mean or cls); use another model",
                path.display()
            )
        })
    }

    /// A file that names another pooling than that of the architecture, as some exports have it.
    ///
    /// # Errors
    /// It cannot be understood.
    pub fn stray_pooling(&self) -> anyhow::Result<Option<PathBuf>> {
        let said = self.optional(POOLING)?.filter(|_| self.is_qwen3());
        Ok(said
            .filter(|(_, settings)| pooling_of(settings) != Some(Pooling::LastToken))
            .map(|(path, _)| path))
    }

    /// Whether its shape is that of Qwen3-Embedding-0.6B.
    pub fn has_shape_of_0_6b(&self) -> bool {
        let Config { hidden_size, num_hidden_layers, vocab_size, .. } = self.config;
        self.is_qwen3()
            && (hidden_size, num_hidden_layers, vocab_size) == (Some(1024), Some(28), Some(151_669))
    }

    /// Its files, and what they are called in a folder of their own.
    ///
    /// # Errors
    /// The graph cannot be read.
    pub fn files(&self) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
        let mut files: Vec<(PathBuf, PathBuf)> = [&self.onnx, &self.tokenizer]
            .map(|path| (path.clone(), PathBuf::from(path.file_name().unwrap_or_default())))
            .into();
        files.extend(
            external_data(&self.onnx)?.into_iter().map(|name| (self.onnx.with_file_name(&name), name.into())),
        );
        let found = |name: &str| Some((find(&self.folders, name)?, PathBuf::from(name)));
        files.extend([CONFIG].into_iter().chain(SETTINGS).filter_map(found));
        Ok(files)
    }

    /// A Dense layer behind the pooling is not in the graph: without it the vectors would be wrong.
    fn refuse_unknown_modules(&self) -> anyhow::Result<()> {
        let Some((path, modules)) = self.optional(MODULES)? else { return Ok(()) };
        let modules = modules.as_array().into_iter().flatten();
        for kind in modules.filter_map(|module| module.get("type")?.as_str()) {
            let name = kind.rsplit('.').next().unwrap_or(kind);
            if !["Transformer", "Pooling", "Normalize"].contains(&name) {
                bail!(
                    "{}: the model ends in a `{name}` module, which is not run here, so its vectors would be wrong; use another model",
                    path.display()
                );
            }
        }
        Ok(())
    }

    /// A configuration file that need not be there.
    fn optional(&self, name: &str) -> anyhow::Result<Option<(PathBuf, Value)>> {
        find(&self.folders, name).map(|path| Ok((path.clone(), json(&path)?))).transpose()
    }
}

/// The graph's folder; hub repositories keep the graphs in `onnx/` and all else above it.
fn folders(onnx: &Path) -> Vec<PathBuf> {
    let here = |path: &Path| if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() };
    let parent = here(onnx.parent().unwrap_or(Path::new("")));
    // Of `.` only the absolute path has the name.
    let is_onnx = std::path::absolute(&parent).is_ok_and(|path| path.ends_with("onnx"));
    let above = parent.file_name().and_then(|_| parent.parent()).map_or(PathBuf::from(".."), here);
    if is_onnx { vec![parent, above] } else { vec![parent] }
}

fn find(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Where in a folder the graph of this name may lie, the first wins.
pub fn graph_names(file: Option<&str>) -> Vec<String> {
    match file {
        Some(name) => vec![name.to_owned(), format!("onnx/{name}")],
        None => PLAIN.map(str::to_owned).into(),
    }
}

fn graph(path: &Path, file: Option<&str>) -> anyhow::Result<PathBuf> {
    let metadata = fs::metadata(path).with_context(|| {
        format!("model {}; give a model folder or an .onnx file with --model", path.display())
    })?;
    if metadata.is_file() {
        return match file {
            Some(_) => Err(Usage(format!(
                "model {}: is a file, so --model-file cannot choose one; give its folder",
                path.display()
            ))
            .into()),
            None => Ok(path.to_owned()),
        };
    }
    let candidates = graph_names(file).into_iter().map(|name| path.join(name));
    if let Some(found) = candidates.into_iter().find(|candidate| candidate.is_file()) {
        return Ok(found);
    }
    let others = graphs(path);
    if let ([only], None) = (others.as_slice(), file) {
        return Ok(path.join(only));
    }
    let advice = if others.is_empty() {
        "export the model to ONNX, or download an ONNX build of it".to_owned()
    } else {
        format!("choose one with --model-file: {}", others.join(", "))
    };
    bail!("model {}: no {}; {advice}", path.display(), file.unwrap_or("model.onnx"))
}

/// The graphs of a folder, as `--model-file` takes them.
fn graphs(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for prefix in ["", "onnx/"] {
        let entries = fs::read_dir(folder.join(prefix)).into_iter().flatten().flatten();
        let files = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.extend(files.filter(|name| name.ends_with(".onnx")).map(|name| format!("{prefix}{name}")));
    }
    names.sort();
    names
}

fn json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| {
        format!("{}: cannot be understood; take the file of the model's own repository", path.display())
    })
}

/// Both ways that sentence-transformers has written it: one name, or one flag a mode.
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
