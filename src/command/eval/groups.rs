//! Turns the options into the set-ups to measure, grouped by model.

use std::collections::BTreeMap;

use super::page::Setup;
use crate::cli::{ModelArguments, SetupArguments};
use crate::command::setup::locate::{self, DefaultGraph};
use crate::command::setup::model;
use crate::console::LogFormat;
use crate::error::Usage;
use crate::index::{Metadata, VectorType};
use crate::model::Model;
use crate::model::precision_choice::PrecisionChoice;

/// A model, and the set-ups that use it.
pub struct Group {
    pub arguments: ModelArguments,
    pub model: Model,
    pub variants: Vec<Variant>,
}

#[derive(Clone)]
pub struct Variant {
    /// The number of dimensions; `None` for all dimensions of the model.
    pub dim: Option<usize>,
    pub instruction: Option<String>,
}

/// Returns the set-ups to measure, in the order of the options. In a comparison, the second set-up differs from the first
/// only in the `--compare-…` options. If no option names a model or a graph, this function uses those of `index`.
pub fn groups(
    setups: &SetupArguments,
    instruction: Option<&str>,
    index: Option<&Metadata>,
    format: LogFormat,
) -> anyhow::Result<Vec<Group>> {
    let graph = index.map_or(DefaultGraph::Model, |index| DefaultGraph::Index(&index.model_file));
    let group = |arguments: ModelArguments, variants| {
        anyhow::Ok(Group {
            model: locate::open_on_one(&arguments, graph, format)?.model,
            arguments,
            variants,
        })
    };
    let variant = |dim| Variant { dim, instruction: instruction.map(str::to_owned) };
    let mut variants: Vec<Variant> = setups.dims.iter().map(|&dim| variant(Some(dim))).collect();
    if variants.is_empty() {
        variants.push(variant(None));
    }
    let mut arguments = locate::with_model_of(&setups.model, index)?;
    if !is_comparison(setups) {
        return Ok(vec![group(arguments, variants)?]);
    }
    let [first] = &variants[..] else {
        let why =
            "--dims: a comparison has two set-ups; give one number to --dims and the other to --compare-dim";
        return Err(Usage(why.to_owned()).into());
    };
    let other = Variant {
        dim: setups.compare_dim.or(first.dim),
        instruction: setups.compare_instruction.as_ref().or(first.instruction.as_ref()).cloned(),
    };
    if !compares_models(setups) {
        variants.push(other);
        return Ok(vec![group(arguments, variants)?]);
    }
    let first = group(arguments.clone(), variants)?;
    if let Some(path) = &setups.compare_model {
        arguments.model = Some(path.clone());
    }
    if let Some(file) = &setups.compare_model_file {
        (arguments.model_file, arguments.precision) = (Some(file.clone()), PrecisionChoice::Auto);
    }
    if let Some(precision) = setups.compare_precision {
        (arguments.model_file, arguments.precision) = (None, precision);
    }
    Ok(vec![first, group(arguments, vec![other])?])
}

pub fn is_comparison(setups: &SetupArguments) -> bool {
    compares_models(setups) || setups.compare_dim.is_some() || setups.compare_instruction.is_some()
}

fn compares_models(setups: &SetupArguments) -> bool {
    let SetupArguments { compare_model, compare_model_file, compare_precision, .. } = setups;
    compare_model.is_some() || compare_model_file.is_some() || compare_precision.is_some()
}

impl Variant {
    /// Returns how many of the `width` dimensions of the vectors are used.
    pub fn dim(&self, width: usize) -> Result<usize, Usage> {
        match self.dim.unwrap_or(width) {
            dim if (model::DIM_MIN..=width).contains(&dim) => Ok(dim),
            dim => Err(Usage(format!(
                "--dims or --compare-dim {dim}: the vectors have {width} dimensions; choose {} to {width}",
                model::DIM_MIN
            ))),
        }
    }
}

/// Returns the set-up with `dim` dimensions. `kind` is the type of the documents' vectors.
pub fn setup(model: &Model, dim: usize, kind: VectorType, instruction: Option<String>) -> Setup {
    Setup { model: model.folder.onnx.display().to_string(), dim, bytes: dim * kind.bytes(), instruction }
}

/// Returns the indices of all items, and then the indices of the items of each language. The languages are sorted.
pub fn languages<'a>(of_items: impl Iterator<Item = Option<&'a str>>) -> Vec<(Option<String>, Vec<usize>)> {
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
