//! Turns the name or the folder of a model into an engine that is ready to embed.

pub(crate) mod bundle; // makes a folder with this program and a model, for a machine without a network
mod cuda;
mod device;
mod feed;
mod fingerprint;
mod folder;
mod graph;
pub(crate) mod hub; // turns the name of a model into a model folder
mod installed;
mod load;
mod onnx;
mod placement;
mod probe;
mod runtime;
mod session;
mod target;
mod workload;

pub use device::{Device, DeviceChoice, DeviceError, Precision};
pub use fingerprint::{ModelFingerprint, external_data};
pub use folder::{CONFIG, GraphMissing, ModelFolder, SETTINGS, TOKENIZER, graph_names};
pub use installed::{load_runtime, providers};
pub use load::{CpuReason, LoadedModel, Model};
pub use onnx::OnnxEmbedder;
pub use placement::Placement;
pub use probe::Probe;
pub use session::BatchError;
pub use workload::{Resources, Workload};
