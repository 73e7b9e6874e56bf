//! `merge`: parts in, one Parquet file out.

use serde_json::Value;

use super::{Exit, listen, output};
use crate::cli::Merge;
use crate::index::{INDEX, Joined, Part, Parts, Place, Shards, Unusable};
use crate::report::{DecimalBytes, HumanCount, Level, LogFormat, Transfer, eprint_line};

pub fn run(arguments: &Merge, format: LogFormat) -> anyhow::Result<Exit> {
    let parts = Parts::open(&arguments.parts)?;
    let files: Vec<_> = parts.paths().map(ToOwned::to_owned).collect();
    output::check_files(&files, &[("-o", Some(&arguments.output))])?;
    let shards = Shards::new(parts)?;
    listen(format)?;
    let warn = |warning: &str| eprint_line(format, Level::Warning, warning, Value::Null);
    let look = || Place::new("output", &arguments.output, &INDEX);
    let _lock = output::lock(&look()?, &warn)?;
    // Again, since another run may have had the lock until now.
    let mut place = look()?;
    check_old(&mut place, &warn)?;
    let mut shown = Transfer::new("merging", (!arguments.quiet).then_some(format));
    shown.begin(&format!("{} parts", files.len()), shards.parts().bytes());
    let joined = shards.join(&place, |bytes| shown.show(bytes));
    shown.finish();
    let Joined { rows, bytes, warning } = joined?;
    warning.iter().for_each(|warning| warn(warning));
    let (rows, bytes, out) = (HumanCount(rows.into()), DecimalBytes(bytes), arguments.output.display());
    shown.tell(&format!("{rows} rows of {} parts, {bytes} in {out}", files.len()));
    Ok(Exit::Done)
}

/// What is there must be an index of all documents, or damaged, and then it is kept.
fn check_old(place: &mut Place, warn: &dyn Fn(&str)) -> anyhow::Result<()> {
    if !place.is_taken() {
        return Ok(());
    }
    match Part::open(place.path()) {
        Ok(old) => output::check_shard(place, old.metadata().map(|metadata| metadata.shard), None),
        Err(Unusable::Damaged(e)) => {
            let kept = place.keep();
            warn(&format!("{place}: is damaged ({e:#}); it will be kept as {}", kept.display()));
            Ok(())
        }
        Err(error) => Err(output::would_be_lost(place, &error)),
    }
}
