//! The name of a model in, the folder with its files out.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};

use super::cache::{Cache, Cached};
use super::client::{self, Client};
use super::event::Tell;
use super::repository::Repository;
use crate::model::fingerprint::external_data;
use crate::model::folder::{CONFIG, SETTINGS, TOKENIZER, graph_names};

/// The hub, and the cache of what came from it.
pub struct Hub {
    cache: Cache,
    is_offline: bool,
}

impl Hub {
    /// As the environment says: `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`, and the
    /// usual variables for proxies.
    ///
    /// # Errors
    /// There is no place for a cache.
    pub fn from_environment(is_offline: bool) -> anyhow::Result<Self> {
        Ok(Hub { cache: Cache::from_environment()?, is_offline: is_offline || client::is_offline() })
    }

    /// Where the model is, if all of its files are in the cache. `file` names a graph of the repository.
    pub fn find(&self, repository: &Repository, file: Option<&str>) -> Option<PathBuf> {
        let snapshot = self.cache.snapshot(&repository.id, repository.revision())?;
        let is_there = |name: &str| snapshot.join(name).is_file();
        let graph = graph_names(file).into_iter().find(|name| is_there(name))?;
        let data = external_data(&snapshot.join(&graph)).ok()?;
        let are_there = [CONFIG, TOKENIZER].into_iter().all(is_there)
            && data.iter().all(|name| is_there(&beside(&graph, name)));
        are_there.then_some(snapshot)
    }

    /// Where the model is; downloaded, where it is not in the cache. What is there is not asked for again, so that a model
    /// does not change overnight: [`Hub::pull`] does that.
    ///
    /// # Errors
    /// It is not in the cache, and cannot be had.
    pub fn get(&self, repository: &Repository, file: Option<&str>, tell: Tell) -> anyhow::Result<PathBuf> {
        match self.find(repository, file) {
            Some(snapshot) => Ok(snapshot),
            None if self.is_offline => bail!(
                "model {repository}: is not in the cache {}, and this run is offline; get it with `qwen3-index model pull {repository}` where there is a network",
                self.cache.path().display()
            ),
            None => self.pull(repository, file, tell),
        }
    }

    /// Downloads what is not there yet of the revision as the hub has it now.
    ///
    /// # Errors
    /// It cannot be had, in a line with what to do.
    pub fn pull(&self, repository: &Repository, file: Option<&str>, tell: Tell) -> anyhow::Result<PathBuf> {
        ensure!(
            !self.is_offline,
            "model {repository}: this run is offline (HF_HUB_OFFLINE), so nothing can be asked for"
        );
        let mut pull = || -> anyhow::Result<PathBuf> {
            let client = Client::from_environment()?;
            let info = client.info(&repository.id, repository.revision(), tell)?;
            let has = |name: &str| info.files.iter().any(|file| file == name);
            let Some(graph) = graph_names(file).into_iter().find(|name| has(name)) else {
                let graphs: Vec<&str> =
                    info.files.iter().map(String::as_str).filter(|name| name.ends_with(".onnx")).collect();
                ensure!(!graphs.is_empty(), "has no ONNX graph; name a repository with an ONNX export");
                bail!(
                    "has no {}; choose one with --model-file: {}",
                    file.unwrap_or("model.onnx"),
                    graphs.join(", ")
                );
            };
            let mut fetch = |name: &str| {
                ensure!(has(name), "has no {name}, which its graph needs; name another repository");
                let remote = client.file(&repository.id, &info.commit, name, tell)?;
                self.cache.put(&repository.id, &info.commit, name, &client, &remote, tell)
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
            self.cache.point(&repository.id, repository.revision(), &info.commit)
        };
        pull().with_context(|| format!("model {repository}"))
    }

    /// Every model of the cache that has a graph.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub fn list(&self) -> anyhow::Result<Vec<Cached>> {
        self.cache.list()
    }
}

/// A file beside the graph, as paths in the repository.
fn beside(graph: &str, name: &str) -> String {
    graph.rsplit_once('/').map_or_else(|| name.to_owned(), |(folder, _)| format!("{folder}/{name}"))
}
