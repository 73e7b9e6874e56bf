//! Reads the declared inputs and outputs of an ONNX graph. Decides how to fill each input, and which output to read vectors
//! from. Accepts the graphs that exporters of embedding models make.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use half::{bf16, f16};
use ndarray::{Array2, Ix2, Ix3};
use ort::value::{DynValue, Outlet, PrimitiveTensorElementType, TensorElementType, ValueType};
use serde::Deserialize;

use super::folder::ModelFolder;
use super::head::Head;
use super::metadata::{EXPORT, metadata};
use super::settings::BrokenFile;

/// Names of outputs with hidden states `[batch, tokens, width]`. If a graph has several of these outputs, the first in this list
/// is used.
const HIDDEN_STATES: [&str; 3] = ["last_hidden_state", "token_embeddings", "hidden_states"];

/// The name of the output with vectors `[batch, width]`, in graphs that pool. The output `pooler_output` is not used, because it
/// is made for classification in BERT.
const POOLED: &str = "sentence_embedding";

/// The name of the input for the keys and values of a prefix, in graphs that `model export` makes.
const PAST: &str = "past_key_values";

/// The name of the input that says for how many tokens the graph returns keys and values, in graphs that
/// `model export` makes.
const KEPT: &str = "kept";

/// The name of the output with keys and values, in graphs that `model export` makes.
pub(super) const PRESENT: &str = "present_key_values";

/// The description of an export. `model export` writes the description into the metadata of the graph.
#[derive(Debug, Deserialize)]
pub struct Export {
    /// The name of the precision.
    pub variant: String,
    /// `true` if the graph removes padding before its matrix products, so that padding costs little time.
    pub unpads: bool,
}

/// The content of an input of a graph.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum InputRole {
    /// Token ids `[batch, tokens]`.
    Ids,
    /// The attention mask `[batch, tokens]`: 1 for a token, 0 for padding.
    Mask,
    /// Positions `[batch, tokens]`: 0, 1, 2, … in each row.
    Positions,
    /// Segment ids `[batch, tokens]`, all 0: there is one segment.
    TokenTypes,
    /// The key or value cache of a layer `[batch, heads, 0, head_dim]`, always empty.
    EmptyCache { heads: usize, head_dim: usize },
    /// Keys and values of the shared prefix `[tensors, past tokens, width]`. Without a shared prefix, there are 0 past tokens.
    Past { tensors: usize, width: usize },
    /// The number of tokens to return keys and values for: a tensor `[1]`.
    Kept,
}

/// An input that the graph declares.
pub(super) struct GraphInput {
    pub name: String,
    pub role: InputRole,
    pub element: TensorElementType,
}

/// An output that vectors can be read from.
pub(super) struct GraphOutput {
    pub name: String,
    /// Dimensions of a vector.
    pub width: usize,
    /// What turns hidden states into vectors; `None` if the graph itself pools.
    pub head: Option<Head>,
    /// Dimensions of the output.
    dimensions: usize,
}

/// The outputs of a graph that vectors can be read from.
pub(super) struct GraphOutputs {
    /// The hidden states, or the vectors that the graph has pooled if it returns no hidden states that this tool can pool.
    pub preferred: GraphOutput,
    /// The vectors that the graph has pooled, if it returns hidden states too.
    pub pooled: Option<GraphOutput>,
}

/// Returns the description of the export from the metadata, if `model export` made the graph.
pub(super) fn export(graph: &Path) -> Option<Export> {
    metadata(graph, EXPORT)
}

impl GraphInput {
    /// Derives the content of a declared input from the name of the input.
    ///
    /// # Errors
    /// This tool does not support the name, type or shape of the input.
    pub fn new(outlet: &Outlet, folder: &ModelFolder) -> anyhow::Result<Self> {
        let name = outlet.name();
        let (element, shape) = tensor(outlet)?;
        let role = match name {
            "input_ids" => InputRole::Ids,
            "attention_mask" => InputRole::Mask,
            "position_ids" => InputRole::Positions,
            "token_type_ids" => InputRole::TokenTypes,
            KEPT => InputRole::Kept,
            PAST => {
                let (tensors, width) = fixed(shape, 0).zip(fixed(shape, 2)).with_context(|| {
                    format!("input `{PAST}` has the unsupported shape {shape:?}; use a plain feature-extraction export")
                })?;
                InputRole::Past { tensors, width }
            }
            _ if name.starts_with("past_key_values.") => {
                let (heads, head_dim) = folder.cache_shape().unwrap_or_default();
                InputRole::EmptyCache {
                    heads: fixed(shape, 1).unwrap_or(heads),
                    head_dim: fixed(shape, 3).unwrap_or(head_dim),
                }
            }
            _ => bail!("input `{name}` is unknown to this tool; use a plain feature-extraction export"),
        };
        let is_supported = match role {
            InputRole::EmptyCache { .. } | InputRole::Past { .. } => is_float(element),
            _ => matches!(element, TensorElementType::Int64 | TensorElementType::Int32),
        };
        if !is_supported {
            bail!("input `{name}` has the unsupported type {element}; use a plain feature-extraction export");
        }
        Ok(GraphInput { name: name.to_owned(), role, element })
    }
}

impl GraphOutputs {
    /// Finds the outputs. Prefers hidden states to vectors that the graph has pooled, because a graph that pools may rely on padding
    /// on the left. Uses the pooled vectors if a file of the model that says how to pool is missing, or names what this tool does not
    /// run.
    ///
    /// # Errors
    /// The graph has no output with vectors, a file of the model cannot be read or parsed, or the files of the model contradict the
    /// output.
    pub fn new(outlets: &[Outlet], folder: &ModelFolder) -> anyhow::Result<Self> {
        let (outlet, is_pooled) = vector_outlet(outlets)?;
        let preferred = GraphOutput::new(outlet, is_pooled, folder);
        let pooled = outlets.iter().find(|outlet| outlet.name() == POOLED && !is_pooled);
        match (preferred, pooled.and_then(|outlet| GraphOutput::new(outlet, true, folder).ok())) {
            // A file that is there and cannot be used may be good the next time, and the vectors must not depend on that.
            (Err(e), Some(pooled)) if !e.is::<BrokenFile>() => {
                Ok(GraphOutputs { preferred: pooled, pooled: None })
            }
            (preferred, pooled) => Ok(GraphOutputs { preferred: preferred?, pooled }),
        }
    }
}

impl GraphOutput {
    fn new(outlet: &Outlet, is_pooled: bool, folder: &ModelFolder) -> anyhow::Result<Self> {
        let (element, shape) = tensor(outlet)?;
        let name = outlet.name();
        if !is_float(element) {
            bail!(
                "output `{name}` has the type {element}: its vectors are quantized with an unknown scale; use an export with float output"
            );
        }
        let last = shape.len().checked_sub(1).and_then(|last| fixed(shape, last));
        if last.is_some() && last == folder.vocabulary() {
            bail!(
                "output `{name}` has one number per token of the vocabulary, so the model generates text; use a feature-extraction export"
            );
        }
        let dimensions = match (last, folder.width()) {
            // A graph that pools may have a layer after the pooling, so the width of its vectors may differ from the width in
            // config.json.
            (Some(graph), _) if is_pooled => graph,
            (Some(graph), Some(config)) if graph != config => bail!(
                "output `{name}` has {graph} dimensions, but config.json says {config}; use the config.json from the model's own repository"
            ),
            (graph, config) => graph.or(config).context(
                "neither the graph nor config.json (hidden_size) says how many dimensions the vectors have; use the config.json from the model's own repository",
            )?,
        };
        let head = if is_pooled { None } else { Some(folder.head()?) };
        let width = head.as_ref().map_or(Ok(dimensions), |head| head.width(dimensions))?;
        Ok(GraphOutput { name: name.to_owned(), width, head, dimensions })
    }

    /// Reads the vectors `[batch, width]` from the value of the output. Applies the head to hidden states. `lengths` has the number
    /// of tokens of each text, padding excluded.
    ///
    /// # Errors
    /// The shape of the value does not match the number of texts, the lengths of the texts or the width.
    pub fn read(&self, value: &DynValue, lengths: &[usize]) -> anyhow::Result<Array2<f32>> {
        match *value.data_type() {
            TensorElementType::Float16 => self.read_as::<f16>(value, lengths),
            TensorElementType::Bfloat16 => self.read_as::<bf16>(value, lengths),
            _ => self.read_as::<f32>(value, lengths),
        }
    }

    fn read_as<T>(&self, value: &DynValue, lengths: &[usize]) -> anyhow::Result<Array2<f32>>
    where
        T: PrimitiveTensorElementType + Copy + Into<f32>,
    {
        let array = value.try_extract_array::<T>()?;
        let shape = array.shape().to_vec();
        let texts = lengths.len();
        let last = shape.last().copied().unwrap_or_default();
        ensure!(
            last == self.dimensions,
            "the vectors have {last} dimensions, but config.json says {}; use the config.json from the model's own repository",
            self.dimensions
        );
        match &self.head {
            Some(head) => match array.into_dimensionality::<Ix3>() {
                Ok(hidden) if hidden.dim().0 == texts && lengths.iter().all(|&n| n <= hidden.dim().1) => {
                    Ok(head.vectors(hidden.view(), lengths))
                }
                _ => bail!("the graph returned hidden states of shape {shape:?} for {texts} texts"),
            },
            None => match array.into_dimensionality::<Ix2>() {
                Ok(pooled) if pooled.nrows() == texts => Ok(pooled.mapv(Into::into)),
                _ => bail!("the graph returned vectors of shape {shape:?} for {texts} texts"),
            },
        }
    }
}

/// Returns the output to read. The flag is `true` if the output has pooled vectors, and `false` if the output has hidden states.
fn vector_outlet(outlets: &[Outlet]) -> anyhow::Result<(&Outlet, bool)> {
    let named = |name: &str| outlets.iter().find(|outlet| outlet.name() == name);
    if let Some(hidden) = HIDDEN_STATES.iter().find_map(|name| named(name)) {
        return Ok((hidden, false));
    }
    if let Some(pooled) = named(POOLED) {
        return Ok((pooled, true));
    }
    if let [only] = outlets {
        match tensor(only)?.1.len() {
            2 => return Ok((only, true)),
            3 => return Ok((only, false)),
            _ => {}
        }
    }
    let names: Vec<&str> = outlets.iter().map(Outlet::name).take(4).collect();
    bail!(
        "no output is called {} or {POOLED}, only {}; use a feature-extraction export",
        HIDDEN_STATES.join(", "),
        names.join(", ")
    )
}

/// Returns the size of the dimension `at`; `None` if the graph declares no fixed size.
fn fixed(shape: &[i64], at: usize) -> Option<usize> {
    shape.get(at).and_then(|&size| usize::try_from(size).ok()).filter(|&size| size > 0)
}

fn is_float(element: TensorElementType) -> bool {
    matches!(element, TensorElementType::Float32 | TensorElementType::Float16 | TensorElementType::Bfloat16)
}

fn tensor(outlet: &Outlet) -> anyhow::Result<(TensorElementType, &[i64])> {
    match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => Ok((*ty, shape)),
        other => bail!(
            "`{}` is a {other}, not a tensor, so this is no embedding model; use a feature-extraction export",
            outlet.name()
        ),
    }
}
