//! Defines the command-line arguments, and generates completion scripts and man pages. Only this module uses clap.

mod build;
mod doctor;
mod early;
mod embed;
mod eval;
mod inspect;
mod merge;
mod model;
mod pack;
mod push;
mod read;
mod search;
mod setup;
mod style;
mod typo;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, Resettable, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use serde_json::json;

use crate::console::{Colors, Detail, Level, LogFormat, eprint_line};

pub use build::BuildArguments;
pub use doctor::DoctorArguments;
pub use embed::{EmbedArguments, VectorFormat};
pub use eval::{EvalCommand, EvalPairsArguments, EvalRetrievalArguments, SetupArguments};
pub use inspect::InspectArguments;
pub use merge::MergeArguments;
pub use model::{BundleArguments, ExportArguments, ModelCommand, NamedModel};
pub use pack::PackArguments;
pub use push::{PushCommand, QdrantArguments};
pub use read::ReadArguments;
pub use search::SearchArguments;
pub use setup::{ModelArguments, ReadingArguments};

const EXAMPLES: &str = "  \
  qwen3-index build ./docs -o vectors.parquet
  qwen3-index search vectors.parquet \"How do I return a station?\"";

const EXIT_CODES: &str = "  \
  0    done
  1    failed; an old output is untouched
  2    wrong usage
  3    done, but some documents, texts or rows failed
  4    another run holds this output
  130  interrupted (143: terminated)";

const COMPLETIONS: &str = "  \
  qwen3-index completions bash > ~/.local/share/bash-completion/completions/qwen3-index
  qwen3-index completions fish > ~/.config/fish/completions/qwen3-index.fish";

const MAN: &str = "  \
  qwen3-index man ~/.local/share/man/man1";

/// Embed folders of documents into one Parquet file, and search it, offline
#[derive(Debug, Parser)]
#[command(name = "qwen3-index", version, propagate_version = true, max_term_width = 100, styles = style::STYLES)]
// clap lists its own flags for help and version first. The two flags here replace them and are listed last.
#[command(disable_help_flag = true, disable_version_flag = true, args = [help_flag(), version_flag()])]
#[command(after_help = style::examples(EXAMPLES))]
#[command(after_long_help = style::examples_and_exit_codes(EXAMPLES, EXIT_CODES))]
pub struct Cli {
    /// The subcommand and its arguments.
    #[command(subcommand)]
    pub command: Command,

    /// Say what is decided and why; -vv: per document too
    ///
    /// With -v, messages say which model, precision, device, runtime, proxy and cache are used and why, and what of the old output and
    /// of an interrupted run is reused. With -vv, they also say how each document is read, where each of its vectors comes from, and
    /// why a file is skipped. They begin with `debug:` and `trace:`.
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = style::LOGGING, display_order = 899)]
    pub verbose: u8,

    /// Message format: text or json
    ///
    /// The option applies to messages on stderr. With json, each message is one JSON object on one line.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text", hide_possible_values = true,
          help_heading = style::LOGGING, display_order = 900,
          value_parser = PossibleValuesParser::new(["text", "json"]).map(|name| log_format(&name)))]
    pub log_format: LogFormat,

    /// Colors: auto, always or never
    ///
    /// `auto` uses colors on a terminal, unless the environment variable NO_COLOR is set.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = true,
          help_heading = style::LOGGING, display_order = 900, hide_short_help = true, alias = "colour",
          value_parser = PossibleValuesParser::new(["auto", "always", "never"]).map(|name| style::colors(&name)))]
    pub color: Colors,
}

impl Cli {
    /// Returns the arguments of this process.
    ///
    /// # Errors
    /// The arguments ask for help, or are wrong. The help or the error has been printed, and the process has to end with this exit
    /// code.
    pub fn from_command_line() -> Result<Self, ExitCode> {
        // Wrong arguments and help have colors too, before the arguments are parsed.
        let colors =
            early::value_of(&["--color", "--colour"]).map_or(Colors::Auto, |name| style::colors(&name));
        colors.apply();
        let command = || Self::command().color(style::of_clap(colors));
        let parsed = command().try_get_matches().and_then(|matches| loud_or_quiet(command(), matches));
        let parsed = parsed.and_then(|matches| Self::from_arg_matches(&matches));
        parsed.inspect(|cli| cli.detail().apply(cli.log_format)).map_err(|error| {
            // Help says which variables there are.
            let mut error = if error.use_stderr() { without_variables(command(), error) } else { error };
            typo::explain(&mut error);
            let is_json = || early::value_of(&["--log-format"]).as_deref() == Some("json");
            if error.use_stderr() && is_json() {
                let details = json!({"exit_code": error.exit_code()});
                eprint_line(LogFormat::Json, Level::Error, &in_one_line(&error), details);
            } else {
                if error.use_stderr() {
                    // Every message begins with the name of the program.
                    let _ = io::stderr().write_all(b"qwen3-index: ");
                }
                // If the stream is closed, there is no place to report the error.
                let _ = error.print();
            }
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
        })
    }

    fn detail(&self) -> Detail {
        match self.verbose {
            0 => Detail::Results,
            1 => Detail::Decisions,
            _ => Detail::Documents,
        }
    }

    /// Returns the completion script of a shell.
    pub fn completions(shell: Shell) -> Vec<u8> {
        let all = Self::command();
        // Without this filter, clap_complete would also offer the hidden subcommands.
        let mut shown = clap::Command::new("qwen3-index")
            .version(env!("CARGO_PKG_VERSION"))
            .propagate_version(true)
            .disable_help_flag(true)
            .disable_version_flag(true)
            .args(all.get_arguments())
            .subcommands(all.get_subcommands().filter(|command| !command.is_hide_set()));
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut shown, "qwen3-index", &mut script);
        script
    }

    /// Writes one man page per command into the folder.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn write_man_pages(folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        clap_mangen::generate_to(Self::command(), folder)
    }
}

/// Returns an error about the command line without the options that environment variables set, because the usage in clap's error
/// names these options as if they were required. An error about the value of a variable stays as it is.
fn without_variables(command: clap::Command, error: clap::Error) -> clap::Error {
    fn without(command: clap::Command) -> clap::Command {
        command.mut_args(|argument| argument.env(Resettable::Reset)).mut_subcommands(without)
    }
    without(command).try_get_matches().err().unwrap_or(error)
}

/// Refuses `--quiet` together with `--verbose`, which may stand on both sides of the subcommand.
fn loud_or_quiet(mut command: clap::Command, matches: ArgMatches) -> Result<ArgMatches, clap::Error> {
    let is_quiet = |(_, of): (&str, &ArgMatches)| matches!(of.try_get_one("quiet"), Ok(Some(true)));
    if matches.get_count("verbose") > 0 && matches.subcommand().is_some_and(is_quiet) {
        let why = "the argument '--quiet' cannot be used with '--verbose'";
        return Err(command.error(ErrorKind::ArgumentConflict, why));
    }
    Ok(matches)
}

/// Returns the text of an error as one line, without the advice to read the help.
fn in_one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let paragraphs = text.trim().trim_start_matches("error: ").split("\n\n");
    let paragraphs = paragraphs.filter(|paragraph| !paragraph.starts_with("For more information"));
    let in_one_line = |paragraph: &str| paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    paragraphs.map(in_one_line).collect::<Vec<_>>().join("; ")
}

fn help_flag() -> Arg {
    let flag = Arg::new("help").short('h').long("help").action(ArgAction::Help).global(true);
    flag.help_heading(style::LOGGING).display_order(901).help("Print help: -h is short, --help is complete")
}

fn version_flag() -> Arg {
    let flag = Arg::new("version").short('V').long("version").action(ArgAction::Version).global(true);
    flag.help_heading(style::LOGGING).display_order(902).help("Print the version")
}

fn log_format(name: &str) -> LogFormat {
    if name == "json" { LogFormat::Json } else { LogFormat::Text }
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Embed documents into a Parquet file
    ///
    /// The file has the columns id, text and vector. The next run updates the file, and embeds only texts that are new or have
    /// changed.
    #[command(alias = "index", after_help = style::examples(build::EXAMPLES))]
    #[command(after_long_help = style::examples_and_exit_codes(build::EXAMPLES, build::EXIT_CODES))]
    Build(Box<BuildArguments>),
    /// Join the Parquet files of several builds into one file
    ///
    /// The files are shards of `build --shard`, or other files that were built with the same settings.
    #[command(after_help = style::examples(merge::EXAMPLES))]
    #[command(after_long_help = style::examples_and_exit_codes(merge::EXAMPLES, merge::EXIT_CODES))]
    Merge(MergeArguments),
    /// Write the texts of documents as an Arrow stream
    ///
    /// Writes an Arrow IPC stream to standard output. `embed --arrow` can read the stream. The stream has the columns id, text
    /// and error (the reason why a document could not be read), and one column of strings per --keep.
    #[command(after_help = style::examples(read::EXAMPLES))]
    #[command(after_long_help = style::examples_and_exit_codes(read::EXAMPLES, read::EXIT_CODES))]
    Read(Box<ReadArguments>),
    /// Write an Arrow stream of vectors to a Parquet file
    ///
    /// Reads the Arrow IPC stream of `embed --arrow` from standard input, and writes the same columns as `build`. The new file is
    /// read back and checked before it replaces the old file. The vectors of the old file are not reused.
    #[command(after_help = style::examples(pack::EXAMPLES))]
    #[command(after_long_help = style::examples_and_exit_codes(pack::EXAMPLES, pack::EXIT_CODES))]
    Pack(PackArguments),
    /// Copy an index into a database
    #[command(subcommand, after_help = style::examples(push::EXAMPLES))]
    Push(PushCommand),
    /// Find the rows of an index that are nearest to a question
    #[command(alias = "query", after_help = style::examples(search::EXAMPLES))]
    Search(Box<SearchArguments>),
    /// Embed texts from the arguments or from standard input
    #[command(alias = "encode", after_help = style::examples(embed::EXAMPLES))]
    #[command(after_long_help = style::examples_and_exit_codes(embed::EXAMPLES, embed::EXIT_CODES))]
    Embed(Box<EmbedArguments>),
    /// Describe an index, and check its files
    #[command(after_help = style::examples(inspect::EXAMPLES))]
    #[command(after_long_help = style::examples_and_exit_codes(inspect::EXAMPLES, inspect::EXIT_CODES))]
    Inspect(InspectArguments),
    /// Measure the quality of vectors on a test set
    #[command(subcommand, after_help = style::examples(eval::EXAMPLES))]
    Eval(Box<EvalCommand>),
    /// Check the model, ONNX Runtime and this machine
    ///
    /// Prints one line per check, and the speed of this machine in tokens per second.
    #[command(after_help = style::examples(doctor::EXAMPLES))]
    #[command(after_long_help = style::examples_and_exit_codes(doctor::EXAMPLES, doctor::EXIT_CODES))]
    Doctor(Box<DoctorArguments>),
    /// Download, find, bundle and export models
    #[command(subcommand, after_help = style::examples(model::EXAMPLES))]
    Model(ModelCommand),
    /// Print a shell completion script
    #[command(after_help = style::examples(COMPLETIONS))]
    Completions {
        /// Shell that the completion script is for
        shell: Shell,
    },
    /// Write the man pages
    #[command(after_help = style::examples(MAN))]
    Man {
        /// Folder to write to, such as ~/.local/share/man/man1
        #[arg(value_name = "DIR", help_heading = style::OUTPUT)]
        folder: PathBuf,
    },
    /// Read files for a `build` or `read` that started this process
    #[command(hide = true)]
    Worker {
        /// What to do, as JSON
        assignment: String,
    },
}
