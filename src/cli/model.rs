//! The arguments of `model`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::setup::ModelArguments;
use super::style::{self, MODEL, OUTPUT};

pub const EXAMPLES: &str = "  \
  qwen3-index model pull onnx-community/Qwen3-Embedding-0.6B-ONNX
  qwen3-index model bundle ./to-carry-over";

const PULL: &str = "  \
  qwen3-index model pull onnx-community/Qwen3-Embedding-0.6B-ONNX
  qwen3-index model pull --model-file model_int8.onnx";

const WHERE: &str = "  \
  qwen3-index model where onnx-community/Qwen3-Embedding-0.6B-ONNX";

const BUNDLE: &str = "  \
  qwen3-index model bundle ./to-carry-over";

/// The subcommands of `model`.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Download or update a model, and print its folder
    ///
    /// The model is stored in the cache that Hugging Face's own tools use. Only new and changed files are downloaded.
    #[command(after_help = style::examples(PULL))]
    Pull(NamedModel),
    /// Print the folder of a model that is in the cache
    ///
    /// The command fails if the cache lacks a file of the model.
    #[command(after_help = style::examples(WHERE))]
    Where(NamedModel),
    /// List the models in the cache that have an ONNX file
    List,
    /// Make a folder that works on a machine without a network
    ///
    /// The folder contains this program, ONNX Runtime and a model. Copy the folder to the other machine, and run
    /// `sha256sum -c SHA256SUMS` in the folder to check the copy. The program in the folder needs no options to find the runtime
    /// and the model.
    #[command(after_help = style::examples(BUNDLE))]
    Bundle(Box<BundleArguments>),
}

/// Arguments of `model bundle`.
#[derive(Debug, Args)]
pub struct BundleArguments {
    /// Folder to create
    #[arg(value_name = "DIR", help_heading = OUTPUT)]
    pub folder: PathBuf,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArguments,
}

/// A model of the hub.
#[derive(Debug, Args)]
#[command(next_help_heading = MODEL)]
// The options are numbered from 1, so help lists the positional argument, number 0, before them.
#[command(next_display_order = 1)]
pub struct NamedModel {
    /// Name on the Hugging Face hub
    ///
    /// The name is written owner/name or owner/name@revision. The default is onnx-community/Qwen3-Embedding-0.6B-ONNX.
    #[arg(value_name = "NAME", env = "QWEN3_INDEX_MODEL", display_order = 0)]
    pub name: Option<String>,

    /// ONNX file of the model [default: model.onnx]
    #[arg(long, value_name = "NAME")]
    pub model_file: Option<String>,
}
