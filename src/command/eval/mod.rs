//! `eval`: measures the vectors of one or more set-ups on a test set, and prints the figures.

mod groups;
mod page;
mod pairs;
mod retrieval;

use std::io::{self, Write};

use anyhow::Context;

use crate::cli::EvalCommand;
use crate::command::process::{Exit, printed};
use crate::console::LogFormat;

pub fn run(arguments: &EvalCommand, format: LogFormat) -> anyhow::Result<Exit> {
    let (page, is_json) = match arguments {
        EvalCommand::Pairs(arguments) => (pairs::measure(arguments, format)?, arguments.setups.json),
        EvalCommand::Retrieval(arguments) => (retrieval::measure(arguments, format)?, arguments.setups.json),
    };
    let mut out = io::stdout().lock();
    if is_json {
        let json =
            serde_json::to_string_pretty(&page.json()).context("the figures cannot be written as JSON")?;
        printed(writeln!(out, "{json}"))?;
    } else {
        printed(page.print(&mut out))?;
    }
    Ok(Exit::Done)
}
