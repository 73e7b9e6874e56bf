//! Arguments as typed (the only user of clap), and what clap makes of them for shells and for `man`.

mod build;
mod doctor;
mod embed;
mod eval;
mod inspect;
mod merge;
mod model;
mod pack;
mod read;
mod search;
mod setup;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{CommandFactory, Subcommand};
use clap_complete::Shell;

use crate::console::LogFormat;

/// What parses a [`Cli`].
pub use clap::Parser;

pub use build::BuildArguments;
pub use doctor::DoctorArguments;
pub use embed::{EmbedArguments, VectorFormat};
pub use eval::{EvalCommand, EvalPairsArguments, EvalRetrievalArguments, SetupArguments};
pub use inspect::InspectArguments;
pub use merge::MergeArguments;
pub use model::{BundleArguments, ModelCommand, NamedModel};
pub use pack::PackArguments;
pub use read::ReadArguments;
pub use search::SearchArguments;
pub use setup::{ModelArguments, ReadingArguments};

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
    #[command(after_help = build::HELP)]
    Build(Box<BuildArguments>),
    /// Join the files that `build --shard` wrote, or others that were built with the same settings, into one
    #[command(after_help = merge::HELP)]
    Merge(MergeArguments),
    /// Write the texts of documents to standard output, as an Arrow IPC stream for `embed --arrow`
    #[command(after_help = read::HELP)]
    Read(Box<ReadArguments>),
    /// Write rows with vectors, an Arrow IPC stream of `embed --arrow` on standard input, into a Parquet file
    #[command(after_help = pack::HELP)]
    Pack(PackArguments),
    /// Find the rows of an index that are nearest to a question
    #[command(after_help = search::HELP)]
    Search(Box<SearchArguments>),
    /// Make vectors of texts, without files: of arguments, or of standard input line by line
    #[command(after_help = embed::HELP)]
    Embed(Box<EmbedArguments>),
    /// Say what is in an index, and whether every row is as it should be
    #[command(after_help = inspect::HELP)]
    Inspect(InspectArguments),
    /// Say how good vectors are, on data whose answers are known
    #[command(subcommand, after_help = eval::HELP)]
    Eval(Box<EvalCommand>),
    /// See whether the model, the runtime and this machine are fit for work, and how fast they are
    Doctor(Box<DoctorArguments>),
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
