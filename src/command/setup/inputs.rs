//! Turns the arguments about inputs into the roots of the documents and the settings for reading.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use crate::cli::ReadingArguments;
use crate::command::advice;
use crate::error::Usage;
use crate::index::COLUMNS;
use crate::source::{
    Charset, CommandError, Fields, Filter, Limits, Ocr, PatternError, PatternList, Reading, Roots,
    SeenFields, Workers,
};
use crate::storage::object::Stores;

/// The field with the id, if the user names none.
const DEFAULT_ID: &str = "id";

/// Returns the roots of the documents. Checks that all inputs exist, unless `may_be_missing` is true.
pub fn roots(
    arguments: &ReadingArguments,
    may_be_missing: bool,
    stores: &mut Stores,
) -> anyhow::Result<Roots> {
    let ReadingArguments { inputs, include, exclude, hidden, follow, no_ignore, .. } = arguments;
    let mut filter = Filter::new(include, exclude, *hidden, *follow).map_err(|e| bad_pattern(&e))?;
    (filter.no_ignore, filter.pictures) = (*no_ignore, arguments.ocr.is_some());
    let roots = Roots::anywhere(inputs, filter, may_be_missing, stores)?;
    Ok(roots.with_id_prefix(arguments.id_prefix))
}

fn bad_pattern(error: &PatternError) -> Usage {
    let option = match error.list {
        PatternList::Include => "--include",
        PatternList::Exclude => "--exclude",
    };
    Usage(format!("{option} {error}; write it as in .gitignore"))
}

/// Returns the settings for reading documents. `more` has the names of additional columns of the output. No kept column may have
/// one of these names.
pub fn reading(arguments: &ReadingArguments, more: &[&str]) -> anyhow::Result<Reading> {
    let limits = Limits {
        document_bytes: arguments.max_document_mib << 20,
        seconds: arguments.max_document_seconds,
        expansion: arguments.max_expansion,
    };
    Ok(Reading {
        fields: Fields {
            id: arguments.id_field.clone(),
            text: arguments.text_fields.clone(),
            keep: keep(&arguments.keep, more)?,
        },
        seen: Arc::default(),
        encoding: arguments.encoding.as_deref().map(encoding).transpose()?,
        wants_title: false,
        workers: Workers::new(this_program()?, limits).with_page_part(arguments.html.unwrap_or_default()),
        ocr: arguments.ocr.as_deref().map(|command| ocr(command, limits)).transpose()?,
        limits,
    })
}

/// Returns the warning if the user named a field with the id, and no row has it.
pub fn about_ids(arguments: &ReadingArguments, seen: &SeenFields) -> Option<String> {
    let field = &arguments.id_field;
    (field != DEFAULT_ID && seen.lack_ids()).then(|| {
        let known = advice::known_fields(field, &seen.names());
        format!("--id-field {field}: no row has this field, so the id of a row is its file and number{known}")
    })
}

fn keep(names: &[String], more: &[&str]) -> Result<Vec<String>, Usage> {
    // Compares lower-case names, because some readers of Parquet ignore the case of column names.
    let mut taken: Vec<String> = COLUMNS.map(str::to_owned).into();
    taken.extend(more.iter().map(|name| (*name).to_owned()));
    for name in names {
        if name.is_empty() || taken.contains(&name.to_lowercase()) {
            return Err(Usage(format!("--keep {name}: the output already has a column of this name")));
        }
        taken.push(name.to_lowercase());
    }
    Ok(names.to_vec())
}

/// Returns the path of this program, for starting workers. On Linux, this path works even if the file of the program has been
/// replaced during the run.
pub fn this_program() -> anyhow::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() {
        return Ok(running.to_owned());
    }
    env::current_exe()
        .context("the path of this program cannot be found, so no worker can be started; mount /proc")
}

fn ocr(command: &str, limits: Limits) -> Result<Ocr, Usage> {
    Ocr::new(command, limits).map_err(|e| {
        let advice = match e {
            CommandError::Words => "write it as in a shell",
            CommandError::NoProgram(_) => "install it, or give its path",
        };
        Usage(format!("--ocr {command}: {e}; {advice}"))
    })
}

fn encoding(name: &str) -> Result<Charset, Usage> {
    Charset::for_label(name.as_bytes())
        .filter(|charset| charset.is_supported())
        .ok_or_else(|| Usage(format!("--encoding {name}: is unknown; use a name from the WHATWG Encoding Standard, such as gb18030, big5, shift_jis, euc-kr, windows-1252 or utf-16le, or the name of a DOS or Macintosh encoding, such as cp852 or x-mac-ce")))
}
