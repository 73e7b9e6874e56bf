//! Finds the files of a model in the cache, or downloads them from the hub. Returns the folder of a snapshot.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};

use super::cache::{Cache, CachedModel};
use super::client::{self, Client};
use super::error::{HubError, NotCached};
use super::event::OnProgress;
use super::repository::Repository;
use crate::console::debug;
use crate::model::fingerprint::external_data;
use crate::model::folder::{
    CONFIG, GraphMissing, QWEN3, SETTINGS, TOKENIZER, architecture, graph_names, graphs,
};
use crate::model::head::{MODULES, check_exportable, module_files};
use crate::model::weights_folder::{TOKENIZER_CONFIG, WEIGHTS, WEIGHTS_INDEX, indexed, is_complete};

/// What a user wants of a repository.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// A model that can run: this graph, or the default graph. A repository without any graph has its weights.
    Model(Option<&'a str>),
    /// The weights, even if the repository has graphs too.
    Weights,
}

impl Wanted<'_> {
    /// Returns the paths to try for the graph.
    fn graph_names(self) -> Vec<String> {
        match self {
            Wanted::Model(file) => graph_names(file),
            Wanted::Weights => Vec::new(),
        }
    }
}

/// The hub and the cache of downloaded models.
pub struct Hub {
    cache: Cache,
    is_offline: bool,
}

impl Hub {
    /// Reads the settings from the environment variables `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`,
    /// `HF_HUB_OFFLINE` and the usual variables for proxies. If `is_offline` is `true`, the returned hub
    /// sends no requests, even without `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// The environment names no folder for the cache.
    pub fn from_environment(is_offline: bool) -> anyhow::Result<Self> {
        Ok(Hub { cache: Cache::from_environment()?, is_offline: is_offline || client::is_offline() })
    }

    /// Returns the snapshot of a model if the cache has all files that are wanted.
    ///
    /// # Errors
    /// The cache or the graph cannot be read.
    pub fn find(&self, repository: &Repository, wanted: Wanted) -> anyhow::Result<Option<PathBuf>> {
        let Some(snapshot) = self.cache.snapshot(&repository.id, repository.revision())? else {
            return Ok(None);
        };
        let mut graph = None;
        for name in wanted.graph_names() {
            if graph.is_none() && self.cache.has(&snapshot.join(&name))? {
                graph = Some(name);
            }
        }
        let mut needed = vec![CONFIG.to_owned(), TOKENIZER.to_owned()];
        if let Some(graph) = &graph {
            let data = external_data(&snapshot.join(graph))?;
            needed.extend(data.iter().map(|name| beside(graph, name)));
        } else {
            let is_other = matches!(wanted, Wanted::Model(_)) && !graphs(&snapshot)?.is_empty();
            if is_other || !is_complete(&snapshot)? {
                return Ok(None);
            }
        }
        for name in needed {
            if !self.cache.has(&snapshot.join(name))? {
                return Ok(None);
            }
        }
        Ok(Some(snapshot))
    }

    /// Returns the snapshot of a model, and downloads the model if it is not in the cache. If the model is in the cache, this
    /// function sends no request to the hub, so that the model stays the same from run to run. [`Hub::pull`] updates a model.
    ///
    /// # Errors
    /// The model is not in the cache, and the run is offline or the download fails.
    pub fn get(
        &self,
        repository: &Repository,
        wanted: Wanted,
        on_progress: OnProgress,
    ) -> anyhow::Result<PathBuf> {
        match self.find(repository, wanted)? {
            Some(snapshot) => {
                debug(|| format!("model {repository}: is in the cache, so the hub is not asked"));
                Ok(snapshot)
            }
            None if self.is_offline => {
                bail!(NotCached { repository: repository.clone(), cache: self.cache.path().to_owned() })
            }
            None => self.pull(repository, wanted, on_progress),
        }
    }

    /// Asks the hub for the current commit of the revision, downloads the files that the cache does not have, and returns the
    /// snapshot of the commit.
    ///
    /// # Errors
    /// The run is offline, the repository lacks a file that a model needs, or the download fails.
    pub fn pull(
        &self,
        repository: &Repository,
        wanted: Wanted,
        on_progress: OnProgress,
    ) -> anyhow::Result<PathBuf> {
        ensure!(
            !self.is_offline,
            HubError::Offline { repository: repository.clone(), by_environment: client::is_offline() }
        );
        self.download(repository, wanted, on_progress).with_context(|| format!("model {repository}"))
    }

    fn download(
        &self,
        repository: &Repository,
        wanted: Wanted,
        on_progress: OnProgress,
    ) -> anyhow::Result<PathBuf> {
        let client = Client::from_environment()?;
        let revision = client.revision(&repository.id, repository.revision(), on_progress)?;
        let has = |name: &str| revision.files.iter().any(|file| file == name);
        let graph = wanted.graph_names().into_iter().find(|name| has(name));
        let has_graphs = revision.files.iter().any(|name| name.ends_with(".onnx"));
        let has_weights = has(WEIGHTS) || has(WEIGHTS_INDEX);
        match wanted {
            Wanted::Model(file) if graph.is_none() && (has_graphs || !has_weights) => {
                return Err(no_graph(file, &revision.files));
            }
            Wanted::Weights if !has_weights => {
                bail!(
                    "has no {WEIGHTS} and no {WEIGHTS_INDEX}; name a repository with the model's own weights"
                );
            }
            _ => {}
        }
        let mut fetch = |name: &str| {
            ensure!(has(name), "has no {name}, which the model needs; name another repository");
            let remote = client.file(&repository.id, &revision.commit, name, on_progress)?;
            self.cache.fetch(&repository.id, &revision.commit, name, &client, &remote, on_progress)
        };
        for name in [CONFIG, TOKENIZER] {
            ensure!(has(name), "has no {name}; name a repository of an embedding model");
            let path = fetch(name)?;
            if name == CONFIG && graph.is_none() {
                check_architecture(&path)?;
            }
        }
        for name in SETTINGS.into_iter().filter(|name| has(name)) {
            let path = fetch(name)?;
            if name == MODULES {
                match graph {
                    None => check_exportable(&path)?,
                    Some(_) => {
                        for name in module_files(&path)?.iter().filter(|name| has(name)) {
                            fetch(name)?;
                        }
                    }
                }
            }
        }
        if let Some(graph) = graph {
            let path = fetch(&graph)?;
            for name in external_data(&path)? {
                fetch(&beside(&graph, &name))?;
            }
        } else {
            if has(TOKENIZER_CONFIG) {
                fetch(TOKENIZER_CONFIG)?;
            }
            let weights =
                if has(WEIGHTS) { [WEIGHTS.to_owned()].into() } else { indexed(&fetch(WEIGHTS_INDEX)?)? };
            for name in weights {
                fetch(&name)?;
            }
        }
        self.cache.set_revision(&repository.id, repository.revision(), &revision.commit, on_progress)
    }

    /// Returns each snapshot in the cache that has an ONNX file, or weights in safetensors that this tool can export.
    ///
    /// # Errors
    /// A folder of the cache cannot be read.
    pub fn list(&self) -> anyhow::Result<Vec<CachedModel>> {
        self.cache.list()
    }
}

/// Returns the error for a repository without a graph to use. `file` is the graph that the user named.
fn no_graph(file: Option<&str>, files: &[String]) -> anyhow::Error {
    let graphs: Vec<String> = files.iter().filter(|name| name.ends_with(".onnx")).cloned().collect();
    if graphs.is_empty() {
        return anyhow!("has no ONNX graph and no *.safetensors; name a repository of an embedding model");
    }
    GraphMissing::new(file, graphs).into()
}

/// Checks that this tool can export the model, so that no weights are downloaded in vain.
fn check_architecture(config: &Path) -> anyhow::Result<()> {
    let architecture = architecture(config)?;
    ensure!(
        architecture == QWEN3,
        "has no ONNX graph, and this tool exports only models of the architecture {QWEN3}, not {architecture}; name a repository with an ONNX export"
    );
    Ok(())
}

/// Returns the path of the file `name` in the folder of the graph. Both paths are relative to the repository.
fn beside(graph: &str, name: &str) -> String {
    graph.rsplit_once('/').map_or_else(|| name.to_owned(), |(folder, _)| format!("{folder}/{name}"))
}
