//! The cache of exports that this tool makes of weights. Its folder is the one that Hugging Face's tools reserve for what
//! programs make from models:
//!
//! ```text
//! assets/qwen3-index/exports/OWNER--NAME@COMMIT/PRECISION-vVERSION/  a model folder
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::export::{OnExport, export};
use super::folder::{CONFIG, TOKENIZER};
use super::hub::{home, path_variable};
use super::precision::Precision;
use super::weights_folder::WeightsFolder;
use crate::console::debug;

/// The version of the exports. It is raised when the exporter makes graphs of the same weights that return other vectors, so that
/// old exports are not used any more.
const VERSION: u32 = 2;

/// An export in the cache.
#[derive(Debug)]
pub struct CachedExport {
    /// The id of the folder with the weights.
    pub id: String,
    /// The precision, and the version of the exporter.
    pub kind: String,
    /// The model folder.
    pub folder: PathBuf,
    /// The total size of the files, in bytes.
    pub bytes: u64,
}

/// The cache of exports.
pub struct ExportCache(PathBuf);

impl ExportCache {
    /// Reads the path of the cache from the environment. The folder need not exist.
    ///
    /// # Errors
    /// `HOME` is not an absolute path, and no variable for the cache is set.
    pub fn from_environment() -> anyhow::Result<Self> {
        let assets = path_variable("HF_ASSETS_CACHE").or_else(|| Some(home()?.join("assets")));
        let assets = assets.context(
            "HOME names no absolute path, so there is no cache for exports; set HF_HOME, or name a model folder that has an ONNX file",
        )?;
        Ok(ExportCache(assets.join(env!("CARGO_PKG_NAME")).join("exports")))
    }

    /// Returns the model folder with the export of weights, if the cache has the export.
    pub fn find(&self, weights: &WeightsFolder, precision: Precision) -> Option<PathBuf> {
        let folder = self.folder(weights, precision);
        let graph = Path::new("onnx").join(precision.file_name());
        let is_whole =
            [&graph, Path::new(CONFIG), Path::new(TOKENIZER)].iter().all(|name| folder.join(name).is_file());
        is_whole.then_some(folder)
    }

    /// Returns the model folder with the export of weights, and makes the export if the cache does not have it.
    ///
    /// # Errors
    /// The model cannot be exported, or the cache cannot be written.
    pub fn get(
        &self,
        weights: &WeightsFolder,
        precision: Precision,
        on_event: OnExport,
    ) -> anyhow::Result<PathBuf> {
        if let Some(folder) = self.find(weights, precision) {
            debug(|| format!("export {}: an earlier run has made it", folder.display()));
            return Ok(folder);
        }
        let folder = self.folder(weights, precision);
        fs::create_dir_all(&folder).map_err(|e| {
            anyhow!(
                "cache of exports {}: cannot be written: {e}; set HF_ASSETS_CACHE to a folder that this user may write to",
                self.0.display()
            )
        })?;
        // Another run may have made the export in the meantime.
        export(&weights.path, &[precision], &folder, false, on_event)?;
        Ok(folder)
    }

    /// Returns all exports in the cache, sorted by id and precision.
    pub fn list(&self) -> Vec<CachedExport> {
        let mut exports = Vec::new();
        for (id, path) in subfolders(&self.0) {
            for (kind, folder) in subfolders(&path) {
                let bytes =
                    [folder.clone(), folder.join("onnx")].iter().map(|folder| file_bytes(folder)).sum();
                exports.push(CachedExport { id: id.clone(), kind, folder, bytes });
            }
        }
        exports
    }

    fn folder(&self, weights: &WeightsFolder, precision: Precision) -> PathBuf {
        self.0.join(&weights.id).join(format!("{precision}-v{VERSION}"))
    }
}

/// Returns the name and the path of each folder in a folder, sorted by name.
fn subfolders(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut named: Vec<_> =
        folders.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect();
    named.sort();
    named
}

/// Returns the total size of the files directly in a folder, in bytes.
fn file_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .filter(|metadata| metadata.is_file())
        .map(|file| file.len())
        .sum()
}
