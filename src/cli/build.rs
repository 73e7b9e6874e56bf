//! The arguments of `build`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::setup::{ModelArguments, ReadingArguments};
use super::style::{DIM_ALIASES, LIMITS, LOGGING, MODEL, NIGHTLY, OUTPUT, TEXT};
use crate::index::VectorType;
use crate::index::provenance::DocumentColumn;
use crate::text::chunk::ChunkBy;

pub const EXAMPLES: &str = "  \
  qwen3-index build ./docs -o vectors.parquet
  zcat crawl.jsonl.gz | qwen3-index build - -o crawl.parquet --text-field body";

pub const EXIT_CODES: &str = "  \
  0    done
  1    failed; the old output is untouched
  2    wrong usage
  3    done, but documents failed, the old output was damaged, or the disk failed; stderr names each
  4    another run holds this output
  130  interrupted (143: terminated); finished work is kept, and the next run resumes";

/// Arguments of `build`.
#[derive(Debug, Args)]
pub struct BuildArguments {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub reading: ReadingArguments,

    /// Parquet file to write, or the URL of an object
    ///
    /// The old file stays in place until the new one is complete.
    #[arg(short, long, value_name = "OUT.parquet", help_heading = OUTPUT)]
    pub output: PathBuf,

    /// Dimensions per vector [default: all]
    ///
    /// Each vector is truncated to its first N dimensions and L2-normalized again. N is at least 32 and at most the number of
    /// dimensions of the model.
    #[arg(long, value_name = "N", aliases = DIM_ALIASES, help_heading = OUTPUT)]
    pub dim: Option<usize>,

    /// Type of the vectors' numbers: f32, f16 or i8 [default: f32]
    ///
    /// `f16` halves the size of the vectors, `i8` quarters it. With `i8`, a number is an integer times the value of
    /// `qwen3-index.scale` in the file's metadata.
    #[arg(long, value_name = "TYPE", hide_possible_values = true, help_heading = OUTPUT, hide_short_help = true,
          value_parser = PossibleValuesParser::new(["f32", "f16", "i8"]).map(|name| vector_type(&name)))]
    pub vector_type: Option<VectorType>,

    /// Instruction to put before each text
    ///
    /// TEXT is the instruction. The model gets `Instruct: TEXT\nQuery:`, followed by the text to embed. Qwen3-Embedding expects
    /// an instruction for queries, not for documents. Without this option, the model's own prompt for documents is used, if it
    /// has one.
    #[arg(long, value_name = "TEXT", help_heading = TEXT)]
    pub instruction: Option<String>,

    /// Maximum tokens per chunk [default: 2048]
    ///
    /// A text with more than N tokens is split into chunks, see --chunk-by. The vector of the text is the mean of the vectors of
    /// the chunks, weighted by their tokens, unless --chunks is given. N includes the end token. The default is smaller if the model accepts fewer tokens.
    #[arg(long, value_name = "N", help_heading = TEXT)]
    pub max_tokens: Option<usize>,

    /// Maximum tokens per document
    ///
    /// A document with more tokens is a failure: it is named on stderr and gets no row. Without --chunks, the tokens of a document
    /// that keeps its vector from the old output are not counted.
    #[arg(long, value_name = "N", default_value = "1000000", help_heading = LIMITS, hide_short_help = true,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub max_document_tokens: u64,

    /// Write one row per chunk, not one per document
    ///
    /// If the id of a document is `doc`, the ids of its rows are `doc#0`, `doc#1` and so on. More columns say where a chunk stands:
    /// document, chunk, title, headings, page, page_end, start, end and tokens.
    #[arg(long, help_heading = OUTPUT)]
    pub chunks: bool,

    /// More columns per document: title, tokens, chunks
    ///
    /// The title that the document says it has, or its first heading; the tokens that the model received; and the number of chunks
    /// that they were split into. Several are separated by commas.
    #[arg(long, value_name = "NAMES", conflicts_with = "chunks", value_delimiter = ',', hide_possible_values = true,
          value_parser = PossibleValuesParser::new(["title", "tokens", "chunks"]).map(|name| document_column(&name)),
          help_heading = OUTPUT, hide_short_help = true)]
    pub columns: Vec<DocumentColumn>,

    /// Maximum tokens per row with --chunks [default: 256]
    ///
    /// N includes the end token and --context. The default is smaller if --max-tokens or the model is.
    #[arg(long, value_name = "N", requires = "chunks", help_heading = TEXT, hide_short_help = true)]
    pub chunk_tokens: Option<usize>,

    /// Tokens that a chunk repeats from the chunk before
    ///
    /// Whole sentences, rows or lines of at most N tokens, but nothing from before a heading. Only with --chunk-by structure.
    #[arg(long, value_name = "N", requires = "chunks", help_heading = TEXT, hide_short_help = true, alias = "chunk-overlap")]
    pub overlap: Option<usize>,

    /// What to embed in front of each chunk [default: title,headings]
    ///
    /// `title` is the title of the document, `headings` are the headings above the chunk, and `none` is neither. They are not a part
    /// of the column `text`.
    #[arg(long, value_name = "PARTS", requires = "chunks", value_delimiter = ',', hide_possible_values = true,
          value_parser = PossibleValuesParser::new(["title", "headings", "none"]), help_heading = TEXT, hide_short_help = true)]
    pub context: Vec<String>,

    /// Where to cut texts: structure or length
    ///
    /// `structure` cuts before headings, else between paragraphs, list items and table rows, else between sentences. `length` cuts
    /// at the sentence ends that make chunks of about the same length.
    #[arg(long, value_name = "RULE", hide_possible_values = true, help_heading = TEXT, hide_short_help = true,
          value_parser = PossibleValuesParser::new(["structure", "length"]).map(|name| chunk_by(&name)))]
    pub chunk_by: Option<ChunkBy>,

    /// Embed every text from scratch
    ///
    /// Without this option, texts that have not changed keep their vectors from the old output, and the run stops if the old output
    /// was made with another model, or with an option that this run does not name.
    #[arg(long, help_heading = NIGHTLY)]
    pub rebuild: bool,

    /// Accept inputs that are missing or empty
    ///
    /// Without this option, the run stops if an input is missing or has no documents.
    #[arg(long, help_heading = NIGHTLY)]
    pub allow_empty: bool,

    /// Accept the loss of most documents
    ///
    /// Without this option, the run stops if more than half of the documents of the old output are gone, or if a damaged old output
    /// does not say how many rows it had.
    #[arg(long, help_heading = NIGHTLY)]
    pub allow_shrink: bool,

    /// Write the changes to a second Parquet file
    ///
    /// The file has one row for each row that was added, changed or removed since the old output was written. The columns are id,
    /// op (added, changed or removed), text and vector. FILE may be the URL of an object.
    #[arg(long, value_name = "FILE.parquet", help_heading = NIGHTLY)]
    pub delta: Option<PathBuf>,

    /// Write a report to a JSON file
    ///
    /// The report has the counts, times and failures of the run. The report is written even if the run fails. FILE may be the URL
    /// of an object.
    #[arg(long, value_name = "FILE.json", help_heading = NIGHTLY)]
    pub report: Option<PathBuf>,

    /// Print what a run would embed; write nothing
    ///
    /// A dry run reads and counts the documents, and estimates the time to embed them.
    #[arg(long, conflicts_with = "delta", help_heading = OUTPUT)]
    pub dry_run: bool,

    /// With --dry-run, print a JSON object
    #[arg(long, requires = "dry_run", help_heading = OUTPUT, hide_short_help = true)]
    pub json: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArguments,

    /// Maximum tokens per batch [default: 1536, more on a GPU]
    ///
    /// The model processes the texts of a batch together. N is at most 131072. On a GPU, the default is the number of tokens that
    /// fit into the memory of the GPU, but not more than 32768.
    // With more than 131072 tokens, the widest layers would have more elements than CUDA kernels can index with 31 bits.
    #[arg(long, value_name = "N", help_heading = MODEL, hide_short_help = true,
          value_parser = clap::value_parser!(u32).range(1..=131_072))]
    pub batch_tokens: Option<u32>,

    /// Print only warnings and failures
    #[arg(short, long, help_heading = LOGGING)]
    pub quiet: bool,
}

fn chunk_by(name: &str) -> ChunkBy {
    if name == "length" { ChunkBy::Length } else { ChunkBy::Structure }
}

fn document_column(name: &str) -> DocumentColumn {
    match name {
        "title" => DocumentColumn::Title,
        "tokens" => DocumentColumn::Tokens,
        _ => DocumentColumn::Chunks,
    }
}

fn vector_type(name: &str) -> VectorType {
    match name {
        "i8" => VectorType::I8,
        "f16" => VectorType::F16,
        _ => VectorType::F32,
    }
}
