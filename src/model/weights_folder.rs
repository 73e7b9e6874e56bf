//! A folder with a model's own weights in safetensors and no ONNX file, as Qwen publishes its models. This tool exports such a
//! model to ONNX before using it.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use serde::Deserialize;

use super::folder::{CONFIG, SETTINGS, TOKENIZER, graphs};
use super::head::{MODULES, check_exportable};
use super::settings::{has_file, json};

/// The file with the weights, if they are in one file.
pub const WEIGHTS: &str = "model.safetensors";

/// The file that names the files with the weights, if there are several.
pub const WEIGHTS_INDEX: &str = "model.safetensors.index.json";

/// The file that only other programs read. An export has a copy.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// The start of the name of a repository's folder in the cache of Hugging Face's tools.
const REPOSITORY: &str = "models--";

/// The most characters of the folder's name in [`WeightsFolder::id`].
const NAME_CHARS_MAX: usize = 100;

/// A folder with weights.
#[derive(Debug)]
pub struct WeightsFolder {
    pub path: PathBuf,
    /// Identifies the content of the folder. The id is a valid file name.
    pub id: String,
}

impl WeightsFolder {
    /// Returns the folder if it has weights and no ONNX file.
    ///
    /// # Errors
    /// The folder cannot be read, or the model has a module that is in no export.
    pub fn at(path: &Path) -> anyhow::Result<Option<Self>> {
        if !has_only_weights(path)? {
            return Ok(None);
        }
        if has(path, MODULES)? {
            check_exportable(&path.join(MODULES))?;
        }
        let id = id(path).with_context(|| format!("model {}", path.display()))?;
        Ok(Some(WeightsFolder { path: path.to_owned(), id }))
    }
}

fn has_only_weights(folder: &Path) -> anyhow::Result<bool> {
    Ok((has(folder, WEIGHTS)? || has(folder, WEIGHTS_INDEX)?) && graphs(folder)?.is_empty())
}

fn has(folder: &Path, name: &str) -> anyhow::Result<bool> {
    has_file(&folder.join(name))
}

/// Returns whether a folder has all its weights.
///
/// # Errors
/// The folder cannot be read.
pub fn is_complete(folder: &Path) -> anyhow::Result<bool> {
    // Another download replaces an index that is wrong.
    let Ok(names) = weights_files(folder) else { return Ok(false) };
    for name in names {
        if !has(folder, &name)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the names of the files with the weights.
///
/// # Errors
/// The errors of [`indexed`].
pub fn weights_files(folder: &Path) -> anyhow::Result<BTreeSet<String>> {
    if has(folder, WEIGHTS)? {
        return Ok(BTreeSet::from([WEIGHTS.to_owned()]));
    }
    indexed(&folder.join(WEIGHTS_INDEX))
}

/// Returns the names in a file that names the files with the weights.
///
/// # Errors
/// The file cannot be read or parsed, or names a file in another folder.
pub fn indexed(index: &Path) -> anyhow::Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct WeightsIndex {
        weight_map: HashMap<String, String>,
    }
    let names: BTreeSet<String> =
        json(index).map(|index: WeightsIndex| index.weight_map)?.into_values().collect();
    for name in &names {
        ensure!(
            Path::new(name).file_name().is_some_and(|file| file == name.as_str()),
            "{}: names {name}, which is in another folder; use a model from a source that you trust",
            index.display()
        );
    }
    Ok(names)
}

/// Returns the id of a folder with weights. In the cache of Hugging Face's tools, this is the repository and the commit. For any other
/// folder, the id has a digest of the folder's path and of the names, lengths and times of change of its files, so that no weight
/// is read.
fn id(folder: &Path) -> anyhow::Result<String> {
    let path = folder.canonicalize().map_err(|e| anyhow!("cannot be read: {e}; check the permissions"))?;
    if let Some(id) = id_in_cache(&path) {
        return Ok(id);
    }
    let mut digest = blake3::Hasher::new();
    digest.update(path.as_os_str().as_encoded_bytes());
    let others = [WEIGHTS_INDEX, CONFIG, TOKENIZER, TOKENIZER_CONFIG].into_iter().chain(SETTINGS);
    // The export says what is wrong with an index that cannot be read.
    let weights = weights_files(folder).unwrap_or_default();
    for name in weights.into_iter().chain(others.map(str::to_owned)) {
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
    let repository = name(repository_in_cache(path)?)?;
    Some(format!("{}@{commit}", repository.strip_prefix(REPOSITORY)?))
}

/// Returns the folder of the repository if a folder is a snapshot in the cache of Hugging Face's tools.
pub fn repository_in_cache(snapshot: &Path) -> Option<&Path> {
    let repository = snapshot.parent().filter(|parent| parent.ends_with("snapshots"))?.parent()?;
    repository.file_name()?.to_str()?.starts_with(REPOSITORY).then_some(repository)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

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
        let before = WeightsFolder::at(&path).unwrap().unwrap().id;
        assert!(before.starts_with("My-model@"), "{before}");
        assert_eq!(before, WeightsFolder::at(&path).unwrap().unwrap().id);
        fs::write(path.join("README.md"), "").unwrap();
        assert_eq!(before, WeightsFolder::at(&path).unwrap().unwrap().id);
        fs::write(path.join(WEIGHTS), "12").unwrap();
        assert_ne!(before, WeightsFolder::at(&path).unwrap().unwrap().id);
        fs::write(path.join("model.onnx"), "").unwrap();
        assert!(WeightsFolder::at(&path).unwrap().is_none());
    }

    #[test]
    fn a_folder_is_complete_with_all_files_of_its_index() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        assert!(!is_complete(folder.path()).unwrap());
        write(
            WEIGHTS_INDEX,
            r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "1.safetensors"}}"#,
        );
        write("1.safetensors", "");
        assert!(!is_complete(folder.path()).unwrap());
        write("2.safetensors", "");
        assert!(is_complete(folder.path()).unwrap());
        write(WEIGHTS_INDEX, r#"{"weight_map": {"a": "../1.safetensors"}}"#);
        assert!(!is_complete(folder.path()).unwrap());
    }
}
