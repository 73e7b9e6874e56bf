//! Arguments that several subcommands share: the model, and the inputs.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::style::{INPUT, LIMITS, MODEL, TEXT};
use crate::model::DeviceChoice;
use crate::shard::Shard;

/// The model, and the device that runs it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = MODEL)]
pub struct ModelArguments {
    /// Folder, file or hub name
    ///
    /// A folder holds an ONNX export with its tokenizer.json and config.json. A file is an .onnx file in such a folder. A name on the
    /// Hugging Face hub is written owner/name or owner/name@revision. The default is the folder `model` beside this program if
    /// there is one, otherwise onnx-community/Qwen3-Embedding-0.6B-ONNX from the hub.
    #[arg(long, env = "QWEN3_INDEX_MODEL", value_name = "MODEL")]
    pub model: Option<PathBuf>,

    /// ONNX file of the model [default: model.onnx]
    ///
    /// `search` and `eval retrieval --index` take the file that the index was made with, if no other is named.
    #[arg(long, value_name = "NAME")]
    pub model_file: Option<String>,

    /// Download nothing
    ///
    /// A model of the hub must already be in the cache.
    #[arg(long)]
    pub offline: bool,

    /// auto, cpu, cuda, cuda:N or openvino
    ///
    /// `auto` is the first NVIDIA GPU if it can be used, otherwise the CPU. `cuda:1` is the second GPU, and `cuda:0,1` are the
    /// first two, for `build`. `openvino` computes on the CPU in bfloat16. A device you name is used, or the run fails.
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = DeviceChoice::from_str)]
    pub device: DeviceChoice,

    /// GPU memory for the model, in GiB [default: what is free]
    #[arg(long, value_name = "GIB", hide_short_help = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub gpu_memory: Option<u16>,

    /// CPU threads of the model [default: one per core]
    ///
    /// The default is one thread per physical core that this process may use.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub threads: Option<u16>,
}

/// Which documents are read, and how.
#[derive(Debug, Args)]
// The positional argument is 0, which puts it before the options.
#[command(next_display_order = 1)]
pub struct ReadingArguments {
    /// Folders, files, URLs, or - for JSON Lines on stdin
    ///
    /// Text, Markdown, HTML, PDF and DOCX files are one document each. JSON Lines, CSV, TSV and Parquet files have one document
    /// per row. Every format but Parquet may be compressed as .gz or .zst. A URL (s3://bucket/path, gs:// or az://) names one
    /// object, or every object below a prefix.
    #[arg(required = true, value_name = "INPUT", help_heading = INPUT, display_order = 0)]
    pub inputs: Vec<PathBuf>,

    /// Address of the object storage, such as http://localhost:9000
    ///
    /// The default is the provider's own address. For s3://, AWS_ENDPOINT_URL sets another default.
    #[arg(long, value_name = "URL", help_heading = INPUT, hide_short_help = true)]
    pub endpoint: Option<String>,

    /// Field or column with the id
    ///
    /// The id is a string or an integer. `a.b` names field b of object a. The id of a row without this field is `file:line` in
    /// JSON Lines and `file:row` in other formats.
    #[arg(long, value_name = "FIELD", default_value = "id", help_heading = TEXT)]
    pub id_field: String,

    /// Field or column with the text
    ///
    /// Repeat the option to join several fields, such as a title and a body.
    #[arg(long = "text-field", value_name = "FIELD", default_value = "text", help_heading = TEXT)]
    pub text_fields: Vec<String>,

    /// Copy a field to a column of the output
    ///
    /// The field is a field of JSON Lines, a column of CSV, TSV or Parquet, or a key of Markdown's front matter. Repeat the option
    /// to keep several.
    #[arg(long, value_name = "FIELD", help_heading = TEXT)]
    pub keep: Vec<String>,

    /// Read only matching files of a folder
    ///
    /// Patterns are those of .gitignore. A file that matches is read whatever its file extension. Repeat the option to give several
    /// patterns.
    #[arg(long, value_name = "GLOB", help_heading = INPUT)]
    pub include: Vec<String>,

    /// Skip matching files and folders
    ///
    /// Patterns are those of .gitignore. Repeat the option to give several. A file .qwen3ignore at the top of a folder does the
    /// same for that folder.
    #[arg(long, value_name = "GLOB", help_heading = INPUT)]
    pub exclude: Vec<String>,

    /// Read hidden files and folders too
    #[arg(long, help_heading = INPUT)]
    pub hidden: bool,

    /// Follow symlinks
    #[arg(long, help_heading = INPUT)]
    pub follow: bool,

    /// Character encoding of files [default: detected]
    ///
    /// Applies to text, Markdown, HTML, CSV and TSV. Examples: gb18030, windows-1252.
    #[arg(long, value_name = "NAME", help_heading = TEXT)]
    pub encoding: Option<String>,

    /// Largest decompressed size of a document, in MiB
    ///
    /// A document is a file, or one row of a file.
    #[arg(long, value_name = "N", default_value = "256", help_heading = LIMITS, hide_short_help = true,
          value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub max_document_mib: u64,

    /// Longest time to extract the text of a document, in seconds
    #[arg(long, value_name = "N", default_value = "60", help_heading = LIMITS, hide_short_help = true,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub max_document_seconds: u64,

    /// Largest ratio of decompressed to compressed size
    ///
    /// Applies only above 16 MiB of decompressed data.
    #[arg(long, value_name = "N", default_value = "100", help_heading = LIMITS, hide_short_help = true,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub max_expansion: u64,

    /// Read only share I of N (from 0 to N - 1)
    ///
    /// The id of a document alone decides which share it belongs to, so N jobs can divide the work without knowing of each other.
    #[arg(long, value_name = "I/N", value_parser = Shard::from_str, help_heading = INPUT)]
    pub shard: Option<Shard>,
}
