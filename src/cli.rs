//! Arguments as typed (the only user of clap), and what clap makes of them for shells and for `man`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, CommandFactory, Subcommand};
use clap_complete::Shell;

use crate::model::DeviceChoice;
use crate::report::LogFormat;
use crate::shard::Shard;

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

impl Cli {
    /// What makes a shell complete commands and options.
    pub fn completions(shell: Shell) -> Vec<u8> {
        let all = Self::command();
        // Without the hidden ones, which clap_complete would offer.
        let mut shown = clap::Command::new("qwen3-index")
            .version(env!("CARGO_PKG_VERSION"))
            .propagate_version(true)
            .args(all.get_arguments())
            .subcommands(all.get_subcommands().filter(|command| !command.is_hide_set()));
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut shown, "qwen3-index", &mut script);
        script
    }

    /// Writes the man pages, one a command.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn write_man_pages(folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        clap_mangen::generate_to(Self::command(), folder)
    }
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
    /// Join the files that `build --shard` wrote, or others that were built with the same settings, into one
    #[command(after_help = MERGE_HELP)]
    Merge(Merge),
    /// Write the texts of documents to standard output, as an Arrow IPC stream for `embed --arrow`
    #[command(after_help = READ_HELP)]
    Read(Box<Read>),
    /// Write rows with vectors, an Arrow IPC stream of `embed --arrow` on standard input, into a Parquet file
    #[command(after_help = PACK_HELP)]
    Pack(Pack),
    /// Find the rows of an index that are nearest to a question
    #[command(after_help = SEARCH_HELP)]
    Search(Box<Search>),
    /// Make vectors of texts, without files: of arguments, or of standard input line by line
    #[command(after_help = EMBED_HELP)]
    Embed(Box<Embed>),
    /// Say what is in an index, and whether every row is as it should be
    #[command(after_help = INSPECT_HELP)]
    Inspect(Inspect),
    /// Say how good vectors are, on data whose answers are known
    #[command(subcommand, after_help = EVAL_HELP)]
    Eval(Box<Eval>),
    /// See whether the model, the runtime and this machine are fit for work, and how fast they are
    Doctor(Box<Doctor>),
    /// Models of the Hugging Face hub: get them, see where they are
    #[command(subcommand)]
    Model(ModelCommand),
    /// Print what makes a shell complete commands and options, to be put where the shell looks for it
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the man pages, one a command
    Man {
        /// The folder for them, such as /usr/local/share/man/man1
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
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

const MERGE_HELP: &str = "\
Examples:
  qwen3-index build ./docs --shard 0/4 -o parts/0.parquet    # and 1/4, 2/4, 3/4: elsewhere, at the same time
  qwen3-index merge parts/ -o vectors.parquet

Exit codes: 0 all done, 1 failed, the old output untouched, 2 wrong usage, 4 another run holds this output";

const READ_HELP: &str = "\
Examples:
  qwen3-index read ./docs | qwen3-index embed --arrow | qwen3-index pack -o vectors.parquet
  qwen3-index read ./docs --shard 0/4 > texts.arrows

The columns are id, text, error (why a document could not be read), and those of --keep, as strings.

Exit codes: 0 all done, 1 failed, 2 wrong usage, 3 done, but some documents failed; each is named on stderr";

const PACK_HELP: &str = "\
Examples:
  qwen3-index read ./docs | qwen3-index embed --arrow | qwen3-index pack -o vectors.parquet
  qwen3-index pack -o part-0.parquet < rows.arrows

The file is that of `build`, but that all rows are new: put in place when it is whole, checked and read back.

Exit codes: 0 all done, 1 failed, the old output untouched, 2 wrong usage, 3 done, but some rows came with an error and
are left out, 4 another run holds this output";

const SEARCH_HELP: &str = "\
Examples:
  qwen3-index search vectors.parquet \"How do I return a station?\"
  qwen3-index search parts/ --questions questions.txt -k 3 --json > hits.jsonl";

const EMBED_HELP: &str = "\
Examples:
  qwen3-index embed --query \"How do I return a station?\"
  qwen3-index embed --format npy < lines.txt > vectors.npy
  qwen3-index read ./docs | qwen3-index embed --arrow > rows.arrows

Of lines on standard input, each is answered before the next has to be there, so that another
program can keep this one open; and with --arrow, each batch.

Exit codes: 0 all done, 1 failed, 2 wrong usage, 3 done, but some texts have an error instead of a vector";

const INSPECT_HELP: &str = "\
Examples:
  qwen3-index inspect vectors.parquet
  qwen3-index inspect --verify 'parts/*.parquet'";

const EVAL_HELP: &str = "\
Examples:
  qwen3-index eval retrieval my-test
  qwen3-index eval retrieval my-test --index vectors.parquet --dims 1024,512,256
  qwen3-index eval pairs sts.tsv --compare-model-file model_int8.onnx";

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

/// Arguments of `build`.
#[derive(Debug, Args)]
pub struct Build {
    /// The Parquet file to write, or the URL of an object; the old one stays in place until the new one is whole
    #[arg(short, long, value_name = "OUT.parquet")]
    pub output: PathBuf,

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

    #[command(flatten)]
    #[allow(missing_docs)]
    pub reading: ReadingArguments,

    /// Make all vectors anew, instead of taking those of unchanged texts from the old output
    #[arg(long)]
    pub rebuild: bool,

    /// Go on where an input is missing or has no documents, though the old output has some
    #[arg(long)]
    pub allow_empty: bool,

    /// Go on where more than half of the old output's documents are gone
    #[arg(long)]
    pub allow_shrink: bool,

    /// Write what changes in the output to a Parquet file, or the URL of an object, too: id, op (added, changed, removed), text, vector
    #[arg(long, value_name = "FILE.parquet")]
    pub delta: Option<PathBuf>,

    /// Write what the run did to a JSON file, or the URL of an object, however it ends
    #[arg(long, value_name = "FILE.json")]
    pub report: Option<PathBuf>,

    /// Only read and count: say what a run would embed and how long that takes, and write nothing
    #[arg(long, conflicts_with = "delta")]
    pub dry_run: bool,

    /// Most tokens that go through the model together, 131072 at most [default: 1536 on a CPU, on a GPU what its memory
    /// holds, 32768 at most]
    // With more, kernels of CUDA would count beyond 31 bits in the widest layers.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=131_072))]
    pub batch_tokens: Option<u32>,

    /// Print nothing but warnings and failures
    #[arg(short, long)]
    pub quiet: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArguments,
}

/// Arguments of `read`.
#[derive(Debug, Args)]
pub struct Read {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub reading: ReadingArguments,
}

/// Arguments of `merge`.
#[derive(Debug, Args)]
pub struct Merge {
    /// Parquet files that `build` wrote, folders of them, or patterns such as 'parts/*.parquet'. Shards are put in their
    /// order, other files stay in the order in which they are named
    #[arg(required = true, value_name = "PART")]
    pub parts: Vec<PathBuf>,

    /// The Parquet file to write; the old one stays in place until the new one is whole
    #[arg(short, long, value_name = "OUT.parquet")]
    pub output: PathBuf,

    /// Print nothing but warnings and failures
    #[arg(short, long)]
    pub quiet: bool,
}

/// Arguments of `pack`.
#[derive(Debug, Args)]
pub struct Pack {
    /// The Parquet file to write; the old one stays in place until the new one is whole
    #[arg(short, long, value_name = "OUT.parquet")]
    pub output: PathBuf,

    /// Print nothing but warnings and failures
    #[arg(short, long)]
    pub quiet: bool,
}

/// Arguments of `search`.
#[derive(Debug, Args)]
pub struct Search {
    /// The index: a Parquet file that `build` wrote, a folder of them, or a pattern such as 'parts/*.parquet'
    #[arg(value_name = "INDEX")]
    pub index: PathBuf,

    /// What to look for
    #[arg(required_unless_present = "questions", conflicts_with = "questions")]
    pub question: Option<String>,

    /// A file with a question a line, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub questions: Option<PathBuf>,

    /// How many rows to show for each question
    #[arg(short = 'k', long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..))]
    pub top: u32,

    /// Show only the nearest chunk of each document, where rows are chunks
    #[arg(long)]
    pub by_document: bool,

    /// What the question is put after, as `Instruct: TEXT\nQuery:` [default: the one that Qwen3-Embedding was trained
    /// with for retrieval]
    #[arg(long, value_name = "TEXT", conflicts_with = "no_instruction")]
    pub instruction: Option<String>,

    /// Embed the question as it is
    #[arg(long)]
    pub no_instruction: bool,

    /// Print a JSON object for each question, with the whole text of each row
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArguments,
}

/// Arguments of `embed`.
#[derive(Debug, Args)]
pub struct Embed {
    /// The texts [default: the lines of standard input]
    #[arg(value_name = "TEXT")]
    pub texts: Vec<String>,

    /// Embed questions, not documents: after the instruction that Qwen3-Embedding was trained with for retrieval
    #[arg(long)]
    pub query: bool,

    /// Put `Instruct: TEXT\nQuery:` before each text
    #[arg(long, value_name = "TEXT", conflicts_with = "query")]
    pub instruction: Option<String>,

    /// Read an Arrow IPC stream with a column `text` on standard input, and write it with vectors: each batch is answered
    /// before more than two others are read
    #[arg(long, conflicts_with_all = ["texts", "format"])]
    pub arrow: bool,

    /// What to write: jsonl (objects with text and vector, or text and error), npy (a NumPy array [texts, numbers]), or
    /// arrow (an Arrow IPC stream with the columns text and vector)
    #[arg(long, value_name = "FORMAT", default_value = "jsonl",
          value_parser = PossibleValuesParser::new(["jsonl", "npy", "arrow"]).map(|name| vector_format(&name)))]
    pub format: VectorFormat,

    /// Numbers in a vector, from 32 to the model's width: the first so many, normalized again
    /// [default: the model's width]
    #[arg(long, value_name = "N")]
    pub dim: Option<usize>,

    /// Tokens in one chunk, as for `build` [default: 2048, or less where the model takes less]
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<usize>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArguments,
}

/// How vectors are written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VectorFormat {
    /// A JSON object a line.
    JsonLines,
    /// A NumPy array.
    Npy,
    /// An Arrow IPC stream.
    Arrow,
}

fn vector_format(name: &str) -> VectorFormat {
    match name {
        "npy" => VectorFormat::Npy,
        "arrow" => VectorFormat::Arrow,
        _ => VectorFormat::JsonLines,
    }
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArguments,
}

/// What to do with models of the hub.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Download a model, or what has changed of it, into the cache that Hugging Face's own tools use, and print where it is
    Pull(Named),
    /// Print where a model is, if all of it is in the cache
    Where(Named),
    /// List the models in the cache that have an ONNX graph
    List,
    /// Make a folder with this program, ONNX Runtime and a model, for a machine without a network; there
    /// `sha256sum -c SHA256SUMS` says whether it has come whole, and the program finds the other two by itself
    Bundle(Box<Bundle>),
}

/// Arguments of `model bundle`.
#[derive(Debug, Args)]
pub struct Bundle {
    /// The folder to make
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArguments,
}

/// A model of the hub.
#[derive(Debug, Args)]
pub struct Named {
    /// Its name, as owner/name or owner/name@revision [default: onnx-community/Qwen3-Embedding-0.6B-ONNX]
    #[arg(value_name = "NAME", env = "QWEN3_INDEX_MODEL")]
    pub name: Option<String>,

    /// Which ONNX file of it [default: model.onnx]
    #[arg(long, value_name = "NAME")]
    pub model_file: Option<String>,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// The index: Parquet files that `build` wrote, folders of them, or patterns such as 'parts/*.parquet'
    #[arg(required = true, value_name = "INDEX")]
    pub index: Vec<PathBuf>,

    /// Say what is wrong with which row, if anything is, and end with exit code 1
    #[arg(long)]
    pub verify: bool,

    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

/// What is measured.
#[derive(Debug, Subcommand)]
pub enum Eval {
    /// Pairs of texts and how alike they are: correlation of that score with the cosine (Spearman, Pearson)
    Pairs(EvalPairs),
    /// Questions, documents, and which of them answer which: nDCG@10, Recall@10 and MRR
    Retrieval(EvalRetrieval),
}

/// Arguments of `eval pairs`.
#[derive(Debug, Args)]
pub struct EvalPairs {
    /// The pairs: JSON Lines, CSV, TSV or Parquet. A field `language` or `lang` gives figures for each language too
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Fields or columns with the first text, the second, and the score
    #[arg(
        long,
        value_name = "A,B,SCORE",
        value_delimiter = ',',
        default_value = "sentence1,sentence2,score"
    )]
    pub fields: Vec<String>,

    /// Put `Instruct: TEXT\nQuery:` before both texts [default: no instruction]
    #[arg(long, value_name = "TEXT")]
    pub instruction: Option<String>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub setups: Setups,
}

/// Arguments of `eval retrieval`.
#[derive(Debug, Args)]
pub struct EvalRetrieval {
    /// A folder as BEIR has them, with queries.jsonl, corpus.jsonl and qrels/test.tsv. A field `language` or `lang` of
    /// questions gives figures for each language too
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    /// Look for documents in this index, instead of embedding corpus.jsonl: a Parquet file that `build` wrote, a folder of
    /// them, or a pattern such as 'parts/*.parquet'. Chunks count as their document
    #[arg(long, value_name = "INDEX", conflicts_with_all = ["compare_model", "compare_model_file"])]
    pub index: Option<PathBuf>,

    /// What questions are put after, as `Instruct: TEXT\nQuery:` [default: the one that Qwen3-Embedding was trained
    /// with for retrieval]
    #[arg(long, value_name = "TEXT", conflicts_with = "no_instruction")]
    pub instruction: Option<String>,

    /// Embed questions as they are
    #[arg(long)]
    pub no_instruction: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub setups: Setups,
}

/// What is measured beside each other.
#[derive(Debug, Args)]
pub struct Setups {
    /// Numbers in a vector, from 32 to the model's width: the first so many, normalized again; several give a line each
    /// [default: the model's width]
    #[arg(long, value_name = "N,N,…", value_delimiter = ',')]
    pub dims: Vec<usize>,

    /// Compare with another model, and say whether the difference could be chance
    #[arg(long, value_name = "DIR|FILE.onnx")]
    pub compare_model: Option<PathBuf>,

    /// Compare with another ONNX file
    #[arg(long, value_name = "NAME")]
    pub compare_model_file: Option<String>,

    /// Compare with vectors of so many numbers
    #[arg(long, value_name = "N")]
    pub compare_dim: Option<usize>,

    /// Compare with another instruction
    #[arg(long, value_name = "TEXT")]
    pub compare_instruction: Option<String>,

    /// Print a JSON object, with the figures of each question or pair
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArguments,
}
