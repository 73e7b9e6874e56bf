//! `eval`: a test set in, how good the vectors of one or several set-ups are on standard output.

mod page;
mod pairs;
mod retrieval;

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::Context;

use super::{Exit, model, printed};
use crate::cli::{Eval, ModelArguments, Setups};
use crate::error::Usage;
use crate::model::Model;
use crate::report::LogFormat;
use page::Setup;

pub fn run(arguments: &Eval, format: LogFormat) -> anyhow::Result<Exit> {
    let (page, is_json) = match arguments {
        Eval::Pairs(arguments) => (pairs::measure(arguments, format)?, arguments.setups.json),
        Eval::Retrieval(arguments) => (retrieval::measure(arguments, format)?, arguments.setups.json),
    };
    let mut out = io::stdout().lock();
    if is_json {
        let json = serde_json::to_string_pretty(&page.json()).context("figures as JSON")?;
        printed(writeln!(out, "{json}"))?;
    } else {
        printed(page.print(&mut out))?;
    }
    Ok(Exit::Done)
}

/// A model, and what is made with it.
struct Group {
    arguments: ModelArguments,
    model: Model,
    variants: Vec<Variant>,
}

#[derive(Clone)]
struct Variant {
    /// As asked for.
    dim: Option<usize>,
    instruction: Option<String>,
}

/// The set-ups as asked for, in their order; the one to compare with differs from the first only in what is named. Where a
/// folder has several graphs and none is named, it is `file`, if any.
fn groups(
    setups: &Setups,
    instruction: Option<&str>,
    file: Option<&str>,
    format: LogFormat,
) -> anyhow::Result<Vec<Group>> {
    let group = |arguments: ModelArguments, variants| {
        anyhow::Ok(Group { model: model::open_on_one(&arguments, file, format)?, arguments, variants })
    };
    let variant = |dim| Variant { dim, instruction: instruction.map(str::to_owned) };
    let mut variants: Vec<Variant> = setups.dims.iter().map(|&dim| variant(Some(dim))).collect();
    if variants.is_empty() {
        variants.push(variant(None));
    }
    let mut arguments = setups.model.clone();
    if !is_comparison(setups) {
        return Ok(vec![group(arguments, variants)?]);
    }
    let [first] = &variants[..] else {
        let why = "--dims: two set-ups are compared; name one number, and the other with --compare-dim";
        return Err(Usage(why.to_owned()).into());
    };
    let other = Variant {
        dim: setups.compare_dim.or(first.dim),
        instruction: setups.compare_instruction.as_ref().or(first.instruction.as_ref()).cloned(),
    };
    if setups.compare_model.is_none() && setups.compare_model_file.is_none() {
        variants.push(other);
        return Ok(vec![group(arguments, variants)?]);
    }
    let first = group(arguments.clone(), variants)?;
    if let Some(path) = &setups.compare_model {
        arguments.model = Some(path.clone());
    }
    arguments.model_file = setups.compare_model_file.as_ref().or(arguments.model_file.as_ref()).cloned();
    Ok(vec![first, group(arguments, vec![other])?])
}

fn is_comparison(setups: &Setups) -> bool {
    let Setups { compare_model, compare_model_file, compare_dim, compare_instruction, .. } = setups;
    compare_model.is_some()
        || compare_model_file.is_some()
        || compare_dim.is_some()
        || compare_instruction.is_some()
}

impl Variant {
    /// Of vectors that have so many numbers.
    fn dim(&self, width: usize) -> Result<usize, Usage> {
        match self.dim.unwrap_or(width) {
            dim if (model::DIM_MIN..=width).contains(&dim) => Ok(dim),
            dim => Err(Usage(format!(
                "--dims or --compare-dim {dim}: the vectors have {width} numbers; choose {} to {width}",
                model::DIM_MIN
            ))),
        }
    }
}

fn setup(model: &Model, dim: usize, instruction: Option<String>) -> Setup {
    Setup { model: model.folder.onnx.display().to_string(), dim, bytes: dim * size_of::<f32>(), instruction }
}

/// All items, and then those of each language, by name.
fn languages<'a>(of_items: impl Iterator<Item = Option<&'a str>>) -> Vec<(Option<String>, Vec<usize>)> {
    let (mut all, mut by_name) = (Vec::new(), BTreeMap::<_, Vec<usize>>::new());
    for (at, language) in of_items.enumerate() {
        all.push(at);
        if let Some(language) = language {
            by_name.entry(language).or_default().push(at);
        }
    }
    let by_name = by_name.into_iter().map(|(name, items)| (Some(name.to_owned()), items));
    [(None, all)].into_iter().chain(by_name).collect()
}
