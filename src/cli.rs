//! Arguments as typed (the only user of clap).

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use crate::model::DeviceChoice;
use crate::report::LogFormat;

/// What parses a [`Cli`].
pub use clap::Parser;

/// Folders of documents in, one Parquet file of Qwen3-Embedding vectors out. Offline.
#[derive(Debug, Parser)]
#[command(name = "qwen3-index", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// How lines on stderr are written: for people, or as a JSON object each
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text",
          value_parser = PossibleValuesParser::new(["text", "json"]).map(|name| log_format(&name)))]
    pub log_format: LogFormat,
}

fn log_format(name: &str) -> LogFormat {
    if name == "json" { LogFormat::Json } else { LogFormat::Text }
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Embed documents into a Parquet file with the columns id, text and vector
    #[command(after_help = BUILD_HELP)]
    Build(Box<Build>),
    /// What a run starts to read files that could break their reader
    #[command(hide = true)]
    Worker,
}

const BUILD_HELP: &str = "\
Examples:
  qwen3-index build ./docs -o vectors.parquet --model ./Qwen3-Embedding-0.6B-ONNX
  zcat crawl.jsonl.gz | qwen3-index build - -o crawl.parquet --text-field body --dim 256

Exit codes:
  0    all done
  1    failed, the old output untouched
  2    wrong usage
  3    done, but some documents failed; each is named on stderr
  4    another run holds this output
  130  interrupted (143: terminated); what is done is kept, and the next run goes on from there";

/// Arguments of `build`.
#[derive(Debug, Args)]
pub struct Build {
    /// Folders, or files: text, Markdown, HTML, PDF, DOCX, and with a document a row JSON Lines, CSV, TSV
    /// and Parquet; all but Parquet also as .gz or .zst. `-` is JSON Lines on standard input
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,

    /// The Parquet file to write; the old one stays in place until the new one is whole
    #[arg(short, long, value_name = "OUT.parquet")]
    pub output: PathBuf,

    /// The model: a folder with an ONNX export and its tokenizer.json and config.json, or the .onnx
    /// file in one
    #[arg(long, env = "QWEN3_INDEX_MODEL", value_name = "DIR|FILE.onnx")]
    pub model: PathBuf,

    /// Which ONNX file of the model folder [default: model.onnx]
    #[arg(long, value_name = "NAME")]
    pub model_file: Option<String>,

    /// Numbers in a vector, from 32 to the model's width: the first so many, normalized again
    /// [default: the model's width]
    #[arg(long, value_name = "N")]
    pub dim: Option<usize>,

    /// Put `Instruct: TEXT\nQuery:` before each text; Qwen3-Embedding wants it for queries, not for
    /// documents
    #[arg(long, value_name = "TEXT")]
    pub instruction: Option<String>,

    /// Tokens in one chunk, the end token included; longer texts are cut at sentence ends and the
    /// vectors of their chunks averaged [default: 2048, or less where the model takes less]
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<usize>,

    /// Write a row for each chunk (ids `doc#0`, `doc#1`, …) instead of one for each document
    #[arg(long)]
    pub chunks: bool,

    /// Field or column with the id, a string or a whole number (`a.b` is field b of object a); rows
    /// without it are called `file:line`
    #[arg(long, value_name = "FIELD", default_value = "id")]
    pub id_field: String,

    /// Field or column with the text; repeat it to join several, such as a title and a body
    #[arg(long = "text-field", value_name = "FIELD", default_value = "text")]
    pub text_fields: Vec<String>,

    /// Field, column or setting of Markdown's front matter that becomes a column of the output, with its
    /// JSON type; repeatable
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

    /// Make all vectors anew, instead of taking those of unchanged texts from the old output
    #[arg(long)]
    pub rebuild: bool,

    /// Go on where an input is missing or has no documents, though the old output has some
    #[arg(long)]
    pub allow_empty: bool,

    /// Go on where more than half of the old output's documents are gone
    #[arg(long)]
    pub allow_shrink: bool,

    /// Write what changes in the output to a Parquet file too: id, op (added, changed, removed), text, vector
    #[arg(long, value_name = "FILE.parquet")]
    pub delta: Option<PathBuf>,

    /// Write what the run did to a JSON file, however it ends
    #[arg(long, value_name = "FILE.json")]
    pub report: Option<PathBuf>,

    /// Only read and count: say what a run would embed and how long that takes, and write nothing
    #[arg(long, conflicts_with = "delta")]
    pub dry_run: bool,

    /// What runs the model: auto (a GPU, where there is one), cpu, cuda, cuda:1 (the second GPU), cuda:0,1 (both), or
    /// openvino (the CPU in bfloat16)
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = DeviceChoice::from_str)]
    pub device: DeviceChoice,

    /// Most memory of a GPU that the model may take, in GiB [default: what is free]
    #[arg(long, value_name = "GIB", value_parser = clap::value_parser!(u16).range(1..))]
    pub gpu_memory: Option<u16>,

    /// Threads of the model [default: one a physical core that this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub threads: Option<u16>,

    /// Most tokens that go through the model together [default: 1536 on a CPU, on a GPU what its memory holds, 32768 at most]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_tokens: Option<u32>,

    /// Print nothing but warnings and failures
    #[arg(short, long)]
    pub quiet: bool,
}
