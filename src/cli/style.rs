//! How help looks: colours, the headings of options, and the sections below them.

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;

/// Colours of help and of usage errors. Clap uses them only on a terminal.
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

/// Returns the section that ends the short help.
pub fn examples(examples: &str) -> String {
    let header = STYLES.get_header();
    format!("{header}Examples:{header:#}\n{examples}")
}

/// Returns the sections that end the long help.
pub fn examples_and_exit_codes(examples: &str, codes: &str) -> String {
    let header = STYLES.get_header();
    format!("{}\n\n{header}Exit codes:{header:#}\n{codes}", self::examples(examples))
}
