//! `model`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::setup::ModelArguments;

/// What to do with models of the hub.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Download a model, or what has changed of it, into the cache that Hugging Face's own tools use, and print where it is
    Pull(NamedModel),
    /// Print where a model is, if all of it is in the cache
    Where(NamedModel),
    /// List the models in the cache that have an ONNX graph
    List,
    /// Make a folder with this program, ONNX Runtime and a model, for a machine without a network; there
    /// `sha256sum -c SHA256SUMS` says whether it has come whole, and the program finds the other two by itself
    Bundle(Box<BundleArguments>),
}

/// Arguments of `model bundle`.
#[derive(Debug, Args)]
pub struct BundleArguments {
    /// The folder to make
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArguments,
}

/// A model of the hub.
#[derive(Debug, Args)]
pub struct NamedModel {
    /// Its name, as owner/name or owner/name@revision [default: onnx-community/Qwen3-Embedding-0.6B-ONNX]
    #[arg(value_name = "NAME", env = "QWEN3_INDEX_MODEL")]
    pub name: Option<String>,

    /// Which ONNX file of it [default: model.onnx]
    #[arg(long, value_name = "NAME")]
    pub model_file: Option<String>,
}
