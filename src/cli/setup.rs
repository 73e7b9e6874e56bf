//! Arguments that several subcommands share: the model, and the inputs.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::style::{INPUT, LIMITS, MODEL, TEXT};
use crate::model::DeviceChoice;
use crate::model::precision_choice::PrecisionChoice;
use crate::shard::Shard;
use crate::source::{IdPrefix, PagePart};

/// The model, and the device that runs it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = MODEL)]
pub struct ModelArguments {
    /// Folder, file or hub name
    ///
    /// The folder of a model contains an ONNX file or the model's own weights (*.safetensors), and tokenizer.json and config.json.
    /// Weights are exported to ONNX once, in the first run. Instead of the folder, you can name an .onnx file in such a folder. A
    /// name on the Hugging Face hub is written owner/name or owner/name@revision, or hf:owner/name if a folder `owner` exists here.
    /// The default is the model that the index was made with, if there is an index. Otherwise it is the folder `model` beside this
    /// program or, if there is none, Qwen/Qwen3-Embedding-0.6B from the hub.
    #[arg(long, env = "QWEN3_INDEX_MODEL", value_name = "MODEL", aliases = ["model-name", "model-path", "model-id"])]
    pub model: Option<PathBuf>,

    /// Whether no model is named, and `model` is the one that the index was made with.
    #[arg(skip)]
    pub is_model_of_index: bool,

    /// ONNX file of the model [default: model.onnx]
    ///
    /// If there is an index, the default is the ONNX file that it was made with.
    #[arg(long, value_name = "NAME")]
    pub model_file: Option<String>,

    /// fp32, int8, q8, q4, f16, bf16, plain
    ///
    /// The precision that the model's own weights are exported in, or the file of an ONNX export: model.onnx for fp32, otherwise
    /// model_PRECISION.onnx. `auto` is fp32 on a CPU, and bf16 on a GPU (f16 on one without bfloat16), but the precision of the
    /// index if there is one already. With ONNX files, `auto` is the file of --model-file.
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = PrecisionChoice::from_str,
          conflicts_with = "model_file")]
    pub precision: PrecisionChoice,

    /// Do not download the model
    ///
    /// If MODEL is a name on the Hugging Face hub, the model must already be in the cache.
    #[arg(long, alias = "local-files-only")]
    pub offline: bool,

    /// Hash the files of the model, even if they seem unchanged
    ///
    /// The digest of a model is remembered from run to run, until the size, a time or the inode of one of its files changes.
    #[arg(long, hide_short_help = true)]
    pub rehash: bool,

    /// auto, cpu, cuda, cuda:N or openvino
    ///
    /// `auto` uses the first NVIDIA GPU, or the CPU if that GPU cannot be used. `cuda:1` uses the second GPU. `cuda:0,1` uses the
    /// first two GPUs; only `build` can use more than one GPU. `openvino` computes on the CPU in bfloat16. If you name a device
    /// that cannot be used, the command fails.
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = DeviceChoice::from_str)]
    pub device: DeviceChoice,

    /// GPU memory for the model, in GiB [default: all free memory]
    #[arg(long, value_name = "GIB", hide_short_help = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub gpu_memory: Option<u16>,

    /// CPU threads of the model [default: one per core]
    ///
    /// The default is one thread per physical core that this process may use.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub threads: Option<u16>,
}

/// The inputs, and the settings for reading them.
#[derive(Debug, Args)]
// The options are numbered from 1, so help lists the positional argument, number 0, before them.
#[command(next_display_order = 1)]
pub struct ReadingArguments {
    /// Folders, files, URLs, or - for JSON Lines on stdin
    ///
    /// Text, Markdown, HTML, PDF, Word (.docx), PowerPoint (.pptx, .ppsx), OpenDocument (.odt, .fodt, .odp), EPUB, RTF,
    /// reStructuredText, AsciiDoc, Org, LaTeX, Jupyter, subtitle (.srt, .vtt) and XML files are one document each. JSON Lines, JSON
    /// arrays, CSV, TSV and Parquet files have one document per row. Spreadsheets (.xlsx, .xls, .ods) have one per sheet, or per row if a
    /// column has the name of --text-field. Mailboxes (.mbox) have one per message, and each attachment of a mail (.eml) is one too.
    /// Files of every format except spreadsheets and Parquet may be compressed (.gz or .zst). A URL (s3://bucket/path, gs:// or az://)
    /// names one object, or every object below a prefix.
    #[arg(required = true, value_name = "INPUT", help_heading = INPUT, display_order = 0)]
    pub inputs: Vec<PathBuf>,

    /// Address of the object storage, such as http://localhost:9000
    ///
    /// The default is the provider's own address. For s3://, the environment variable AWS_ENDPOINT_URL sets another default.
    #[arg(long, value_name = "URL", help_heading = INPUT, hide_short_help = true)]
    pub endpoint: Option<String>,

    /// Field or column with the id
    ///
    /// The id is a string or an integer. `a.b` names field b of object a. The id of a row without this field is `file:line` in
    /// JSON Lines and `file:row` in other formats; in a spreadsheet it is `file#sheet:row`.
    #[arg(long, value_name = "FIELD", default_value = "id", help_heading = TEXT, alias = "id-column")]
    pub id_field: String,

    /// Begin ids with the name of the input: auto, always or never
    ///
    /// `auto` does so only if there are several inputs, so adding a second input changes every id. `always` and `never` keep ids
    /// stable. With `never`, two files with the same path below their inputs have the same id, and the second
    /// one fails.
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = IdPrefix::from_str, help_heading = TEXT,
          hide_short_help = true)]
    pub id_prefix: IdPrefix,

    /// Field or column with the text
    ///
    /// Repeat the option to join several fields, such as a title and a body.
    #[arg(long = "text-field", alias = "text-column", value_name = "FIELD", default_value = "text", help_heading = TEXT)]
    pub text_fields: Vec<String>,

    /// Copy a field to a column of the output
    ///
    /// FIELD is a field of JSON, a column of CSV, TSV, Parquet or a spreadsheet, a key in the front matter of Markdown, or something
    /// that a document says about itself, such as title or author. A mail has from, to, date and subject. Repeat the option to
    /// copy several fields.
    #[arg(long, value_name = "FIELD", help_heading = TEXT)]
    pub keep: Vec<String>,

    /// In folders, read only files that match GLOB
    ///
    /// GLOB is a pattern with the syntax of .gitignore. A file that matches is read even if its file extension is unknown. Repeat
    /// the option to give several patterns.
    #[arg(long, value_name = "GLOB", help_heading = INPUT)]
    pub include: Vec<String>,

    /// In folders, skip files and folders that match GLOB
    ///
    /// GLOB is a pattern with the syntax of .gitignore. Repeat the option to give several patterns. A file .qwen3ignore can list
    /// patterns for the folder that it stands in. Files .ignore and .gitignore count too, but .qwen3ignore overrules them.
    #[arg(long, value_name = "GLOB", help_heading = INPUT)]
    pub exclude: Vec<String>,

    /// Read what .gitignore and .ignore exclude
    ///
    /// What a .qwen3ignore excludes is still skipped.
    #[arg(long, help_heading = INPUT)]
    pub no_ignore: bool,

    /// Read hidden files and folders too
    #[arg(long, help_heading = INPUT, hide_short_help = true)]
    pub hidden: bool,

    /// Follow symlinks
    #[arg(long, help_heading = INPUT, hide_short_help = true)]
    pub follow: bool,

    /// Character encoding of files [default: detected]
    ///
    /// This option applies to text, Markdown, HTML, CSV and TSV files. NAME is the name of an encoding, such as gb18030,
    /// windows-1252 or cp852.
    #[arg(long, value_name = "NAME", help_heading = TEXT, hide_short_help = true)]
    pub encoding: Option<String>,

    /// Part of web pages to read: article or whole [default: article]
    ///
    /// `article` leaves out what surrounds the main content, such as menus, lists of related pages and comments. A page without a
    /// main content, such as an index, is read whole. `whole` leaves out only scripts, menus, controls and hidden parts.
    #[arg(long, value_name = "PART", value_parser = PagePart::from_str, help_heading = TEXT, hide_short_help = true)]
    pub html: Option<PagePart>,
    /// Command that reads pictures, such as "tesseract - -"
    ///
    /// The command reads scanned pages of PDF files, and picture files (.png .jpg .jpeg .tif .tiff .webp .bmp), which are skipped
    /// without this option. It gets a picture on standard input (a page as PNG, a file as it is) and writes the text to standard
    /// output. It runs without a shell, and once per CPU at the same time. Texts are kept in ~/.cache/qwen3-index/ocr, so each
    /// picture is read once, until the command changes.
    #[arg(long, value_name = "COMMAND", help_heading = TEXT)]
    pub ocr: Option<String>,

    /// Largest decompressed size of a document, in MiB
    ///
    /// A document is a file, or one row of a file.
    #[arg(long, value_name = "N", default_value = "256", help_heading = LIMITS, hide_short_help = true,
          value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub max_document_mib: u64,

    /// Longest processor time to extract the text of a document, in seconds
    ///
    /// Five times as many seconds of real time are a limit too, also for the command of --ocr to read a picture.
    #[arg(long, value_name = "N", default_value = "60", help_heading = LIMITS, hide_short_help = true,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub max_document_seconds: u64,

    /// Largest ratio of decompressed to compressed size
    ///
    /// The limit applies only to compressed files with more than 16 MiB of decompressed data. For Parquet and spreadsheets, the
    /// limit is on the size of the decoded values compared with the file.
    #[arg(long, value_name = "N", default_value = "100", help_heading = LIMITS, hide_short_help = true,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub max_expansion: u64,

    /// Read only share I of N (I: 0 to N - 1)
    ///
    /// The id of a document alone decides which share the document belongs to, so N jobs can divide the work without
    /// communication.
    #[arg(long, value_name = "I/N", value_parser = Shard::from_str, help_heading = INPUT, hide_short_help = true)]
    pub shard: Option<Shard>,
}
