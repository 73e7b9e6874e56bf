//! Turns the name or the folder of a model into an engine that is ready to embed.

pub(crate) mod bundle; // makes a folder with this program and a model, for a machine without a network
mod cuda;
mod device;
mod digests; // remembers the digests of models between runs
pub(crate) mod export; // makes ONNX exports from a model's own repository
pub(crate) mod export_cache; // keeps the exports that this tool makes
mod export_digest; // what the digest of a model covers of an export
mod external; // the names of external data files in a graph
mod feed;
mod fingerprint;
mod folder;
mod graph;
mod head; // what turns hidden states into vectors
pub(crate) mod hub; // turns the name of a model into a model folder
mod installed;
mod load;
mod metadata; // of a graph
mod onnx;
mod placement;
mod precision;
pub(crate) mod precision_choice; // chooses the precision of an export
mod probe;
pub(crate) mod prompts; // reads the words that are put before questions and documents
mod repair; // makes graphs of torch run with several texts at once
mod runtime;
mod session;
mod settings; // reads the JSON files of a model
mod target;
pub(crate) mod weights_folder; // finds a model's own weights, and identifies them
mod workload;

pub use device::{Device, DeviceChoice, DeviceError, DevicePrecision};
pub use fingerprint::{ModelFingerprint, external_data};
pub use folder::{CONFIG, GraphMissing, ModelFolder, SETTINGS, TOKENIZER, graph_names};
pub use installed::{load_runtime, providers};
pub use load::{CpuReason, LoadedModel, Model, WorkloadOf};
pub use onnx::OnnxEmbedder;
pub use placement::Placement;
pub use precision::Precision;
pub use probe::Probe;
pub use session::BatchError;
pub use workload::{Preparation, Resources, Workload, default_threads};
