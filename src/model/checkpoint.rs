//! A checkpoint: a folder with a model's own weights in safetensors and no ONNX file, as Qwen publishes its models. This tool
//! exports the model to ONNX before using it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde::Deserialize;

use super::folder::{CONFIG, SETTINGS, TOKENIZER, graphs};

/// The file that names the weight files of a checkpoint with several.
pub const WEIGHT_INDEX: &str = "model.safetensors.index.json";

/// The weight file of a checkpoint with only one.
const WEIGHTS: &str = "model.safetensors";

/// The files of a checkpoint that are copied into exports for other programs, if the checkpoint has them.
pub const COPIED: [&str; 1] = ["tokenizer_config.json"];

/// The start of the name of a repository's folder in the cache of Hugging Face's tools.
const REPOSITORY: &str = "models--";

/// Characters of the folder's name in [`Checkpoint::id`], at most.
const NAME_CHARS_MAX: usize = 100;

/// A folder with weights in safetensors.
#[derive(Debug)]
pub struct Checkpoint {
    pub folder: PathBuf,
    /// Identifies the content of the folder. The id is a valid file name.
    pub id: String,
}

impl Checkpoint {
    /// Returns the checkpoint in a folder. Returns `None` if `folder` is not a folder, has an ONNX file, or has no weights.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn at(folder: &Path) -> anyhow::Result<Option<Self>> {
        if !is_checkpoint(folder) {
            return Ok(None);
        }
        let id = id(folder).with_context(|| format!("model {}", folder.display()))?;
        Ok(Some(Checkpoint { folder: folder.to_owned(), id }))
    }
}

/// Returns whether a folder has weights and no ONNX file.
fn is_checkpoint(folder: &Path) -> bool {
    graphs(folder).is_empty() && !weights(folder).is_empty()
}

/// Returns whether a folder is a checkpoint with all its weights.
pub fn is_complete(folder: &Path) -> bool {
    let has_all = |names: BTreeSet<String>| names.iter().all(|name| folder.join(name).is_file());
    is_checkpoint(folder) && indexed(folder).is_none_or(has_all)
}

/// Returns whether a file of a repository has weights of a checkpoint. `name` is the path in the repository. Weights in
/// subfolders belong to other modules or formats.
pub fn is_weight_file(name: &str) -> bool {
    name.ends_with(".safetensors") && !name.contains('/')
}

/// Returns the names of the weight files in a folder.
pub fn weights(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.path().is_file());
    let names = files.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| is_weight_file(name)).collect();
    names.sort();
    names
}

/// Returns the names of the weight files that the index of a checkpoint names. Returns `None` if there is no index, or if the
/// checkpoint has a single weight file too.
fn indexed(folder: &Path) -> Option<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct WeightIndex {
        weight_map: std::collections::HashMap<String, String>,
    }
    if folder.join(WEIGHTS).is_file() {
        return None;
    }
    let text = fs::read(folder.join(WEIGHT_INDEX)).ok()?;
    let index: WeightIndex = serde_json::from_slice(&text).ok()?;
    Some(index.weight_map.into_values().collect())
}

/// Returns the id of a checkpoint. In the cache of Hugging Face's tools, this is the repository and the commit. For any other
/// folder, the id has a digest of the folder's path and of the names, lengths and times of change of its files, so that no weight
/// is read.
fn id(folder: &Path) -> anyhow::Result<String> {
    let path = folder.canonicalize().map_err(|e| anyhow!("cannot be read: {e}; check the permissions"))?;
    if let Some(id) = id_in_cache(&path) {
        return Ok(id);
    }
    let mut digest = blake3::Hasher::new();
    digest.update(path.as_os_str().as_encoded_bytes());
    let others = [CONFIG, TOKENIZER].into_iter().chain(SETTINGS).chain(COPIED).map(str::to_owned);
    for name in weights(folder).into_iter().chain(others) {
        let Ok(metadata) = path.join(&name).metadata() else { continue };
        digest.update(
            format!("\0{name} {} {} {}", metadata.len(), metadata.mtime(), metadata.mtime_nsec()).as_bytes(),
        );
    }
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name: String =
        name.chars().map(|c| if is_plain(&c) { c } else { '-' }).take(NAME_CHARS_MAX).collect();
    Ok(format!("{name}@{}", &digest.finalize().to_hex()[..32]))
}

/// Returns the repository and the commit of a snapshot in the cache of Hugging Face's tools, whose path ends with
/// `models--OWNER--NAME/snapshots/COMMIT`.
fn id_in_cache(path: &Path) -> Option<String> {
    let name = |path: &Path| path.file_name()?.to_str().map(str::to_owned);
    let commit =
        name(path).filter(|name| name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let snapshots = path.parent().filter(|parent| parent.ends_with("snapshots"))?;
    let repository = name(snapshots.parent()?)?;
    Some(format!("{}@{commit}", repository.strip_prefix(REPOSITORY)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_snapshot_is_its_repository_and_commit() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let at = |path: &str| id_in_cache(Path::new(path));
        let id = format!("Qwen--Qwen3-Embedding-0.6B@{commit}");
        assert_eq!(at(&format!("/hub/models--Qwen--Qwen3-Embedding-0.6B/snapshots/{commit}")), Some(id));
        for other in ["models--a--b/snapshots/main", "models--a--b/blobs/0123", "snapshots/0123", "/"] {
            assert_eq!(at(other), None, "{other}");
        }
        assert_eq!(at(&format!("/my/snapshots/{commit}")), None);
    }

    #[test]
    fn the_id_of_a_folder_changes_with_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("My model");
        fs::create_dir(&path).unwrap();
        fs::write(path.join(WEIGHTS), "1").unwrap();
        let before = Checkpoint::at(&path).unwrap().unwrap().id;
        assert!(before.starts_with("My-model@"), "{before}");
        assert_eq!(before, Checkpoint::at(&path).unwrap().unwrap().id);
        fs::write(path.join("README.md"), "").unwrap();
        assert_eq!(before, Checkpoint::at(&path).unwrap().unwrap().id);
        fs::write(path.join(WEIGHTS), "12").unwrap();
        assert_ne!(before, Checkpoint::at(&path).unwrap().unwrap().id);
        fs::write(path.join("model.onnx"), "").unwrap();
        assert!(Checkpoint::at(&path).unwrap().is_none());
    }

    #[test]
    fn a_checkpoint_is_complete_with_all_files_of_its_index() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        assert!(!is_complete(folder.path()));
        write(
            WEIGHT_INDEX,
            r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "1.safetensors"}}"#,
        );
        write("1.safetensors", "");
        assert!(!is_complete(folder.path()));
        write("2.safetensors", "");
        assert!(is_complete(folder.path()));
    }
}
