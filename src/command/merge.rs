//! `merge`: joins index files into one Parquet file.

use serde_json::Value;

use super::process::{Exit, listen};
use crate::cli::MergeArguments;
use crate::command::setup::output;
use crate::console::{DecimalBytes, Level, LogFormat, Transfer, counted, eprint_line};
use crate::index::{Joined, Parts, Shards};
use crate::storage::lock::Lock;

pub fn run(arguments: &MergeArguments, format: LogFormat) -> anyhow::Result<Exit> {
    let parts = Parts::open(&arguments.parts)?;
    let files: Vec<_> = parts.paths().map(ToOwned::to_owned).collect();
    output::check_files(&files, &[("-o", Some(&arguments.output))])?;
    let shards = Shards::new(parts)?;
    listen(format, "the next run starts from scratch")?;
    let warn = |warning: &str| eprint_line(format, Level::Warning, warning, Value::Null);
    let (lock, place, old) = output::hold(&arguments.output, &warn)?;
    output::check_rows(&place, &old, shards.parts().rows(), "the parts have no rows")?;
    let mut shown = Transfer::new("merging", (!arguments.quiet).then_some(format));
    shown.begin(&counted(files.len() as u64, "part"), shards.parts().bytes());
    let joined = shards.join(&place, |bytes| shown.show(bytes));
    shown.finish();
    let Joined { rows, bytes, published } = joined?;
    published.warnings.iter().for_each(|warning| warn(warning));
    let (rows, files) = (counted(rows.into(), "row"), counted(files.len() as u64, "part"));
    shown.tell(&format!("{rows} of {files}, {} in {}", DecimalBytes(bytes), arguments.output.display()));
    lock.into_iter().for_each(Lock::release);
    Ok(output::exit(&old, &published))
}
