//! Arguments that several subcommands share: the model, and the inputs.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::model::DeviceChoice;
use crate::shard::Shard;

/// The model, and what runs it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArguments {
    /// The model: a folder with an ONNX export and its tokenizer.json and config.json, the .onnx file in one, or a
    /// name on the Hugging Face hub as owner/name or owner/name@revision
    /// [default: the folder `model` beside this program, or onnx-community/Qwen3-Embedding-0.6B-ONNX]
    #[arg(long, env = "QWEN3_INDEX_MODEL", value_name = "DIR|FILE.onnx|NAME")]
    pub model: Option<PathBuf>,

    /// Which ONNX file of the model folder [default: model.onnx; for `search`, the one that the index was made with]
    #[arg(long, value_name = "NAME")]
    pub model_file: Option<String>,

    /// Download nothing: a model of the hub must be in the cache
    #[arg(long)]
    pub offline: bool,

    /// What runs the model: auto (a GPU, where there is one), cpu, cuda, cuda:1 (the second GPU), cuda:0,1 (both, for
    /// `build`), or openvino (the CPU in bfloat16)
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = DeviceChoice::from_str)]
    pub device: DeviceChoice,

    /// Most memory of a GPU that the model may take, in GiB [default: what is free]
    #[arg(long, value_name = "GIB", value_parser = clap::value_parser!(u16).range(1..))]
    pub gpu_memory: Option<u16>,

    /// Threads of the model [default: one a physical core that this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub threads: Option<u16>,
}

/// Which documents there are, and how they are read.
#[derive(Debug, Args)]
pub struct ReadingArguments {
    /// Folders, or files: text, Markdown, HTML, PDF, DOCX, and with a document a row JSON Lines, CSV, TSV
    /// and Parquet; all but Parquet also as .gz or .zst. `-` is JSON Lines on standard input. s3://bucket/path, gs:// and
    /// az:// name an object, or all below a prefix
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,

    /// Where the object storage is, such as http://localhost:9000 [default: what the environment says, or its maker's]
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,

    /// Field or column with the id, a string or a whole number (`a.b` is field b of object a); rows
    /// without it are called `file:line`
    #[arg(long, value_name = "FIELD", default_value = "id")]
    pub id_field: String,

    /// Field or column with the text; repeat it to join several, such as a title and a body
    #[arg(long = "text-field", value_name = "FIELD", default_value = "text")]
    pub text_fields: Vec<String>,

    /// Field, column or setting of Markdown's front matter that becomes a column of the output; repeatable
    #[arg(long, value_name = "FIELD")]
    pub keep: Vec<String>,

    /// Take only these files of a folder, whatever they end in; a pattern as in .gitignore, repeatable
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,

    /// Leave out these files and folders; a pattern as in .gitignore, repeatable. A file .qwen3ignore at
    /// the top of a folder does the same
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,

    /// Take hidden files and folders too
    #[arg(long)]
    pub hidden: bool,

    /// Follow links
    #[arg(long)]
    pub follow: bool,

    /// Encoding of text, Markdown, HTML, CSV and TSV, such as gb18030 or windows-1252 [default: found out for each]
    #[arg(long, value_name = "NAME")]
    pub encoding: Option<String>,

    /// Most MiB of one document, unpacked: a file, or a row of one
    #[arg(long, value_name = "N", default_value = "256", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub max_document_mib: u64,

    /// Most seconds to take the text out of one document
    #[arg(long, value_name = "N", default_value = "60", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_document_seconds: u64,

    /// How many times larger than it is packed a file may be
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_expansion: u64,

    /// Take only one of N shares of the documents, I from 0 to N - 1: the id alone decides, so that N jobs share the
    /// work without knowing of each other
    #[arg(long, value_name = "I/N", value_parser = Shard::from_str)]
    pub shard: Option<Shard>,
}
