//! Finds the files of a model in the cache, or downloads them from the hub. Returns the folder of a snapshot.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail, ensure};

use super::cache::{Cache, CachedModel};
use super::client::{self, Client};
use super::error::HubError;
use super::event::OnProgress;
use super::repository::Repository;
use crate::model::fingerprint::external_data;
use crate::model::folder::{CONFIG, GraphMissing, SETTINGS, TOKENIZER, graph_names};

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

    /// Returns the snapshot of a model if all files of the model are in the cache. `file` chooses a graph of the repository.
    pub fn find(&self, repository: &Repository, file: Option<&str>) -> Option<PathBuf> {
        let snapshot = self.cache.snapshot(&repository.id, repository.revision())?;
        let is_there = |name: &str| snapshot.join(name).is_file();
        let graph = graph_names(file).into_iter().find(|name| is_there(name))?;
        let data = external_data(&snapshot.join(&graph)).ok()?;
        let are_there = [CONFIG, TOKENIZER].into_iter().all(is_there)
            && data.iter().all(|name| is_there(&beside(&graph, name)));
        are_there.then_some(snapshot)
    }

    /// Returns the snapshot of a model, and downloads the model if it is not in the cache. If the model is in the cache, this
    /// function sends no request to the hub, so that the model stays the same from run to run. [`Hub::pull`] updates a model.
    ///
    /// # Errors
    /// The model is not in the cache, and the run is offline or the download fails.
    pub fn get(
        &self,
        repository: &Repository,
        file: Option<&str>,
        on_progress: OnProgress,
    ) -> anyhow::Result<PathBuf> {
        match self.find(repository, file) {
            Some(snapshot) => Ok(snapshot),
            None if self.is_offline => bail!(
                "model {repository}: is not in the cache {}, and this run is offline; download it with `qwen3-index model pull {repository}` while online",
                self.cache.path().display()
            ),
            None => self.pull(repository, file, on_progress),
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
        file: Option<&str>,
        on_progress: OnProgress,
    ) -> anyhow::Result<PathBuf> {
        ensure!(
            !self.is_offline,
            HubError::Offline { repository: repository.clone(), by_environment: client::is_offline() }
        );
        self.download(repository, file, on_progress).with_context(|| format!("model {repository}"))
    }

    fn download(
        &self,
        repository: &Repository,
        file: Option<&str>,
        on_progress: OnProgress,
    ) -> anyhow::Result<PathBuf> {
        let client = Client::from_environment()?;
        let revision = client.revision(&repository.id, repository.revision(), on_progress)?;
        let has = |name: &str| revision.files.iter().any(|file| file == name);
        let Some(graph) = graph_names(file).into_iter().find(|name| has(name)) else {
            return Err(no_graph(file, &revision.files));
        };
        let mut fetch = |name: &str| {
            ensure!(has(name), "has no {name}, which the graph needs; name another repository");
            let remote = client.file(&repository.id, &revision.commit, name, on_progress)?;
            self.cache.fetch(&repository.id, &revision.commit, name, &client, &remote, on_progress)
        };
        for name in [CONFIG, TOKENIZER] {
            ensure!(has(name), "has no {name}; name a repository of an embedding model");
            fetch(name)?;
        }
        for name in SETTINGS.into_iter().filter(|name| has(name)) {
            fetch(name)?;
        }
        let path = fetch(&graph)?;
        for name in external_data(&path)? {
            fetch(&beside(&graph, &name))?;
        }
        self.cache.set_revision(&repository.id, repository.revision(), &revision.commit)
    }

    /// Returns each snapshot in the cache that has an ONNX file.
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
        return anyhow!("has no ONNX graph; name a repository with an ONNX export");
    }
    GraphMissing::new(file, graphs).into()
}

/// Returns the path of the file `name` in the folder of the graph. Both paths are relative to the repository.
fn beside(graph: &str, name: &str) -> String {
    graph.rsplit_once('/').map_or_else(|| name.to_owned(), |(folder, _)| format!("{folder}/{name}"))
}
