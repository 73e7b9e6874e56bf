//! Reads the metadata in the file of a graph.

use std::fs;
use std::path::Path;

use prost::Message;
use serde::de::DeserializeOwned;

use super::export::schema::StringStringEntryProto;

/// The key of the description of the export, in the metadata of graphs that `model export` makes.
pub const EXPORT: &str = "qwen3-index.export";

/// The key of the version of this tool that made an export.
pub const MADE_WITH: &str = "qwen3-index.made-with";

/// The largest graph that is searched for metadata, in bytes. The graphs of exports are much smaller, because their weights are
/// in another file.
const GRAPH_BYTES_MAX: u64 = 64 << 20;

/// The metadata of an ONNX model. Reading only this field of `ModelProto` skips the graph, and each night reads it.
#[derive(Message)]
pub struct ModelMetadata {
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<StringStringEntryProto>,
}

impl ModelMetadata {
    /// Returns whether there is an entry with this key.
    pub fn has(&self, key: &str) -> bool {
        self.metadata_props.iter().any(|entry| entry.key() == key)
    }
}

/// Reads a JSON value from the metadata of a graph. Returns `None` if there is no such value, or if it cannot be read.
pub fn metadata<T: DeserializeOwned>(graph: &Path, key: &str) -> Option<T> {
    let length = fs::metadata(graph).ok()?.len();
    let bytes = (length <= GRAPH_BYTES_MAX).then(|| fs::read(graph).ok())??;
    let entries = ModelMetadata::decode(&*bytes).ok()?.metadata_props;
    let entry = entries.into_iter().find(|entry| entry.key() == key)?;
    serde_json::from_str(&entry.value?).ok()
}
