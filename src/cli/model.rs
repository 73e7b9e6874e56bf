//! The arguments of `model`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};

use super::setup::ModelArguments;
use super::style::{self, INPUT, MODEL, OUTPUT};
use crate::model::Precision;
use crate::model::precision_choice::PrecisionChoice;

pub const EXAMPLES: &str = "  \
  qwen3-index model pull Qwen/Qwen3-Embedding-0.6B
  qwen3-index model bundle ./to-carry-over";

const PULL: &str = "  \
  qwen3-index model pull --precision int8
  qwen3-index model pull onnx-community/Qwen3-Embedding-0.6B-ONNX";

const WHERE: &str = "  \
  qwen3-index model where --precision int8";

const BUNDLE: &str = "  \
  qwen3-index model bundle ./to-carry-over";

const EXPORT: &str = "  \
  qwen3-index model export Qwen/Qwen3-Embedding-0.6B ./model --precision int8
  qwen3-index build ./docs -o vectors.parquet --model ./model --model-file model_int8.onnx";

/// The subcommands of `model`.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Download or update a model, and print its folder
    ///
    /// The model is stored in the cache that Hugging Face's own tools use. Only new and changed files are downloaded. If the
    /// model has no ONNX file, the command exports the model, as `build` does, and prints the folder of the export.
    #[command(after_help = style::examples(PULL))]
    Pull(NamedModel),
    /// Print the folder of a model that is in the cache
    ///
    /// The command fails if the cache lacks a file of the model, or its export.
    #[command(after_help = style::examples(WHERE))]
    Where(NamedModel),
    /// List the models in the cache, and their exports
    List {
        /// Print a JSON array
        #[arg(long, help_heading = OUTPUT)]
        json: bool,
    },
    /// Make a folder that works on a machine without a network
    ///
    /// The folder contains this program, ONNX Runtime and a model. Copy the folder to the other machine, and run
    /// `sha256sum -c SHA256SUMS` in the folder to check the copy. The program in the folder needs no options to find the runtime
    /// and the model.
    #[command(after_help = style::examples(BUNDLE))]
    Bundle(Box<BundleArguments>),
    /// Export a model to ONNX from its own weights
    ///
    /// The model must be a Qwen3 model for embedding, with its weights in safetensors. The exports use the operators that ONNX
    /// Runtime runs fastest. Each export is compared with fp32 on built-in texts. The result is printed, and an export that is too
    /// far from fp32 is not put in place.
    #[command(after_help = style::examples(EXPORT))]
    Export(ExportArguments),
}

/// Arguments of `model bundle`.
#[derive(Debug, Args)]
pub struct BundleArguments {
    /// Folder to create
    #[arg(value_name = "DIR", help_heading = OUTPUT)]
    pub folder: PathBuf,

    /// Print a JSON object
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArguments,
}

/// Arguments of `model export`.
#[derive(Debug, Args)]
// The options are numbered from 1, so help lists the positional arguments, number 0, before them.
#[command(next_display_order = 1)]
pub struct ExportArguments {
    /// Folder with the model's own weights, or hub name
    ///
    /// The folder contains model.safetensors, config.json and tokenizer.json. A name on the Hugging Face hub is written
    /// owner/name or owner/name@revision, or hf:owner/name if a folder `owner` exists here.
    #[arg(value_name = "SOURCE", help_heading = INPUT, display_order = 0)]
    pub source: PathBuf,

    /// Model folder to write to [default: SOURCE]
    ///
    /// The exports are onnx/model.onnx (fp32) and onnx/model_PRECISION.onnx, each with its weights beside it. An export that
    /// is already there is replaced. If SOURCE is a hub name, DIR is required.
    #[arg(value_name = "DIR", help_heading = OUTPUT, display_order = 0)]
    pub folder: Option<PathBuf>,

    /// fp32, int8, q8, q4, f16, bf16 or plain
    ///
    /// Several precisions are separated by commas or spaces. `fp32` is exact. `int8` is the fastest on a CPU with 8-bit dot products.
    /// `q8` and `q4` need little memory. `f16` and `bf16` are for CUDA. `plain` is for OpenVINO.
    #[arg(long, value_name = "PRECISION", num_args = 1.., value_delimiter = ',', default_value = "fp32", help_heading = OUTPUT,
          value_parser = Precision::from_str)]
    pub precision: Vec<Precision>,

    /// Print one JSON object per precision
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
}

/// A model of the hub.
#[derive(Debug, Args)]
#[command(next_help_heading = MODEL)]
// The options are numbered from 1, so help lists the positional argument, number 0, before them.
#[command(next_display_order = 1)]
pub struct NamedModel {
    /// Name on the Hugging Face hub
    ///
    /// The name is written owner/name or owner/name@revision, or hf:owner/name if a folder `owner` exists here. The default is
    /// Qwen/Qwen3-Embedding-0.6B.
    #[arg(value_name = "NAME", env = "QWEN3_INDEX_MODEL", display_order = 0)]
    pub name: Option<String>,

    /// ONNX file of the model [default: model.onnx]
    #[arg(long, value_name = "NAME")]
    pub model_file: Option<String>,

    /// fp32, int8, q8, q4, f16, bf16, plain
    ///
    /// The precision that the model's own weights are exported in, or the file of an ONNX export. `auto` is the one that `build`
    /// would use on this machine.
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = PrecisionChoice::from_str,
          conflicts_with = "model_file")]
    pub precision: PrecisionChoice,

    /// Print a JSON object
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
}
