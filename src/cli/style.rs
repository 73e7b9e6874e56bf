//! The look of the help: colours, headings of options, and the sections at the end.

use clap::ColorChoice;
use clap::builder::Styles;
use clap::builder::styling::AnsiColor;

use crate::console::Colors;

/// Colours of help and of usage errors. clap uses colours only on a terminal.
pub const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default())
    .error(AnsiColor::Red.on_default().bold())
    .valid(AnsiColor::Cyan.on_default().bold())
    .invalid(AnsiColor::Yellow.on_default().bold());

pub const INPUT: &str = "Input";
pub const TEXT: &str = "Text";
pub const OUTPUT: &str = "Output";
pub const COMPARISON: &str = "Comparison";
pub const MODEL: &str = "Model";
pub const NIGHTLY: &str = "Nightly";
pub const LIMITS: &str = "Limits";
pub const LOGGING: &str = "Logging and help";

/// The names that other programs have for the number of dimensions.
pub const DIM_ALIASES: [&str; 3] = ["dims", "dimensions", "truncate-dim"];
pub const DIMS_ALIASES: [&str; 3] = ["dim", "dimensions", "truncate-dim"];

/// Returns the section at the end of the short help: the examples.
pub fn examples(examples: &str) -> String {
    let header = STYLES.get_header();
    format!("{header}Examples:{header:#}\n{examples}")
}

/// Returns the sections at the end of the long help: the examples and the exit codes.
pub fn examples_and_exit_codes(examples: &str, codes: &str) -> String {
    let header = STYLES.get_header();
    format!("{}\n\n{header}Exit codes:{header:#}\n{codes}", self::examples(examples))
}

/// Returns the value of the option `--color` with this name.
pub fn colors(name: &str) -> Colors {
    match name {
        "always" => Colors::Always,
        "never" => Colors::Never,
        _ => Colors::Auto,
    }
}

pub fn of_clap(colors: Colors) -> ColorChoice {
    match colors {
        Colors::Auto => ColorChoice::Auto,
        Colors::Always => ColorChoice::Always,
        Colors::Never => ColorChoice::Never,
    }
}
