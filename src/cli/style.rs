//! The look of the help: colours, headings of options, and the sections at the end.

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;

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
