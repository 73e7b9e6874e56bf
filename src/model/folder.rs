//! What a model folder is: which file is the graph, which the tokenizer, and what the configuration
//! files say of pooling and length. Read from a local folder laid out like a hub repository.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Usage;
use crate::pool::Pooling;

/// Graphs that a folder is searched for, the first wins.
const PLAIN: [&str; 2] = ["onnx/model.onnx", "model.onnx"];

/// The architecture that is always pooled at its end token, whatever a stray pooling file says: there
/// are exports of Qwen3-Embedding with the configuration of a mean-pooled model beside them.
const QWEN3: &str = "qwen3";

/// The part of `config.json` that is used.
#[derive(Debug, Deserialize)]
struct Config {
    model_type: String,
    hidden_size: usize,
    max_position_embeddings: Option<usize>,
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
    /// How hidden states become a vector.
    pub pooling: Pooling,
    /// Tokens that the model can take, where its configuration says so.
    pub max_tokens: Option<usize>,
    /// Length of the vectors.
    pub width: usize,
    /// Key and value heads, and numbers in each, of a cache; where the configuration says so.
    pub cache_shape: Option<(usize, usize)>,
    /// Tokens in the vocabulary.
    pub vocabulary: Option<usize>,
    /// `model_type` of the configuration.
    pub architecture: String,
}

impl ModelFolder {
    /// Takes a folder or a graph in one; `file` names a graph in the folder.
    ///
    /// # Errors
    /// A file that is missing or cannot be understood, with its path and what to do.
    pub fn open(path: &Path, file: Option<&str>) -> anyhow::Result<Self> {
        let onnx = graph(path, file)?;
        let parent = onnx.parent().unwrap_or(Path::new(""));
        // Hub repositories keep the graphs in `onnx/` and all else above it.
        let mut folders = vec![parent.to_owned()];
        if parent.file_name().is_some_and(|name| name == "onnx") {
            folders.push(parent.parent().unwrap_or(Path::new("")).to_owned());
        }
        let tokenizer = beside(&onnx, &folders, "tokenizer.json")?;
        let config_path = beside(&onnx, &folders, "config.json")?;
        let config: Config = json(&config_path)?;
        let root = config_path.parent().unwrap_or(Path::new(""));
        let heads = config.num_key_value_heads.or(config.num_attention_heads);
        // head_dim is its own number in Qwen3: 128, where hidden_size / heads is 64.
        let head_dim =
            config.head_dim.or_else(|| config.num_attention_heads.map(|n| config.hidden_size / n.max(1)));
        Ok(ModelFolder {
            pooling: pooling(&config, root)?,
            max_tokens: max_tokens(&config, root)?,
            width: config.hidden_size,
            cache_shape: heads.zip(head_dim),
            vocabulary: config.vocab_size,
            architecture: config.model_type,
            onnx,
            tokenizer,
        })
    }

    /// The token that must end every text, for a model that is pooled there.
    pub fn end_token(&self) -> Option<&'static str> {
        (self.architecture == QWEN3).then_some("<|endoftext|>")
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
    let candidates: Vec<PathBuf> = match file {
        Some(name) => vec![path.join(name), path.join("onnx").join(name)],
        None => PLAIN.iter().map(|name| path.join(name)).collect(),
    };
    if let Some(found) = candidates.iter().find(|candidate| candidate.is_file()) {
        return Ok(found.clone());
    }
    let others = graphs(path);
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

fn beside(onnx: &Path, folders: &[PathBuf], name: &str) -> anyhow::Result<PathBuf> {
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| {
        let looked: Vec<String> = folders.iter().map(|folder| format!("{}/", folder.display())).collect();
        format!(
            "model {}: no {name} in {}; copy it there from the model's own repository",
            onnx.display(),
            looked.join(" or ")
        )
    })
}

fn json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| {
        format!("{}: cannot be understood; take the file of the model's own repository", path.display())
    })
}

/// A configuration file that need not be there.
fn optional_json(path: &Path) -> anyhow::Result<Option<Value>> {
    if path.is_file() { json(path).map(Some) } else { Ok(None) }
}

fn pooling(config: &Config, root: &Path) -> anyhow::Result<Pooling> {
    if config.model_type == QWEN3 {
        return Ok(Pooling::LastToken);
    }
    let modules = optional_json(&root.join("modules.json"))?;
    refuse_unknown_modules(modules.as_ref(), root)?;
    let path = root.join("1_Pooling/config.json");
    let Some(settings) = optional_json(&path)? else {
        bail!(
            "{}: is missing, so how a {} model is pooled cannot be known; copy it from the model's own repository",
            path.display(),
            config.model_type
        );
    };
    pooling_of(&settings).with_context(|| {
        format!("{}: names no pooling that is known here (lasttoken, mean or cls)", path.display())
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

/// A Dense layer behind the pooling is not in the graph: without it the vectors would be wrong.
fn refuse_unknown_modules(modules: Option<&Value>, root: &Path) -> anyhow::Result<()> {
    let kinds = modules
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|module| module.get("type")?.as_str());
    for kind in kinds {
        let name = kind.rsplit('.').next().unwrap_or(kind);
        if !["Transformer", "Pooling", "Normalize"].contains(&name) {
            bail!(
                "{}: the model ends in a `{name}` module, which is not run here, so its vectors would be wrong; use another model",
                root.join("modules.json").display()
            );
        }
    }
    Ok(())
}

fn max_tokens(config: &Config, root: &Path) -> anyhow::Result<Option<usize>> {
    let settings = optional_json(&root.join("sentence_bert_config.json"))?;
    let sentence = settings.and_then(|s| s.get("max_seq_length")?.as_u64()).map(|n| n as usize);
    Ok([config.max_position_embeddings, sentence].into_iter().flatten().min())
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
