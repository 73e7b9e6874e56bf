//! The declared inputs and outputs of an ONNX graph in; what to feed it, which output to read and how out. Accepts the
//! graphs that exporters of embedding models make.

use anyhow::{Context, bail};
use half::{bf16, f16};
use ndarray::{Array2, Ix2, Ix3};
use ort::session::Session;
use ort::value::{DynValue, Outlet, PrimitiveTensorElementType, TensorElementType, ValueType};
use serde::Deserialize;

use super::folder::ModelFolder;
use crate::vector::pool::{Pooling, pool};

/// Names of outputs with hidden states `[batch, tokens, width]`; the first that a graph has is used.
const HIDDEN_STATES: [&str; 3] = ["last_hidden_state", "token_embeddings", "hidden_states"];

/// The name of an output that is pooled in the graph `[batch, width]`. Not `pooler_output`, which BERT has for
/// classification.
const POOLED: &str = "sentence_embedding";

/// Names in graphs of `scripts/export_onnx.py`: the input with keys and values of a prefix, the input that says of how many
/// tokens keys and values are returned, and the output that returns them.
const PAST: &str = "past_key_values";
const KEPT: &str = "kept";
pub(super) const PRESENT: &str = "present_key_values";

/// The key in the metadata of a graph under which `scripts/export_onnx.py` describes the export.
const EXPORT: &str = "qwen3-index.export";

/// What `scripts/export_onnx.py` says about an export in the metadata of the graph.
#[derive(Debug, Deserialize)]
pub struct Export {
    /// The `--variant` of the script.
    pub variant: String,
    /// Whether the graph removes padding before its matrix products, so that padding costs little time.
    pub unpads: bool,
}

/// What an input of a graph contains.
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
    /// Keys and values of the tokens before every text of the batch `[tensors, past tokens, width]`: those of the shared
    /// prefix, or of no token.
    Past { tensors: usize, width: usize },
    /// Of how many tokens the graph returns keys and values `[1]`.
    Kept,
}

/// An input that the graph declares.
pub(super) struct GraphInput {
    pub name: String,
    pub role: InputRole,
    pub element: TensorElementType,
}

/// The output that vectors are read from.
pub(super) struct GraphOutput {
    pub name: String,
    /// Dimensions of a vector.
    pub width: usize,
    /// How hidden states are pooled; `None` if the graph pools.
    pub pooling: Option<Pooling>,
}

/// Returns what the graph says about its export, if `scripts/export_onnx.py` made it.
///
/// # Errors
/// ONNX Runtime cannot read the metadata.
pub(super) fn export(session: &Session) -> ort::Result<Option<Export>> {
    Ok(session.metadata()?.custom(EXPORT).and_then(|text| serde_json::from_str(&text).ok()))
}

impl GraphInput {
    /// Finds out what a declared input contains, by its name.
    ///
    /// # Errors
    /// The name, type or shape is not one that an embedding model has.
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
            _ => bail!(
                "input `{name}` is not one that this tool can fill; use a plain feature-extraction export"
            ),
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

impl GraphOutput {
    /// Chooses the output to read vectors from. Hidden states are preferred to vectors pooled in the graph, because such
    /// pooling may rely on padding on the left.
    ///
    /// # Errors
    /// The graph has no such output, or config.json contradicts it.
    pub fn new(outlets: &[Outlet], folder: &ModelFolder) -> anyhow::Result<Self> {
        let (outlet, is_pooled) = vector_outlet(outlets)?;
        let (element, shape) = tensor(outlet)?;
        let name = outlet.name();
        if !is_float(element) {
            bail!(
                "output `{name}` is {element}: quantized vectors without their scale; use an export with float output"
            );
        }
        let last = shape.len().checked_sub(1).and_then(|last| fixed(shape, last));
        if last.is_some() && last == folder.vocabulary() {
            bail!(
                "output `{name}` has one number per token of the vocabulary, so the model generates text; use a feature-extraction export"
            );
        }
        let width = match (last, folder.width()) {
            // A graph that pools may have another layer behind the pooling, so config.json need not agree.
            (Some(graph), _) if is_pooled => graph,
            (Some(graph), Some(config)) if graph != config => bail!(
                "output `{name}` has {graph} dimensions, but config.json says {config}; use the config.json from the model's own repository"
            ),
            (graph, config) => graph.or(config).context(
                "neither the graph nor config.json (hidden_size) says how many dimensions the vectors have; use the config.json from the model's own repository",
            )?,
        };
        let pooling = if is_pooled { None } else { Some(folder.pooling()?) };
        Ok(GraphOutput { name: name.to_owned(), width, pooling })
    }

    /// Reads the vectors `[batch, width]`, pooled if the graph does not pool. `lengths` has the tokens of each text, padding
    /// excluded.
    ///
    /// # Errors
    /// The output does not have the shape that the graph declares.
    pub fn read(&self, value: &DynValue, lengths: &[usize]) -> anyhow::Result<Array2<f32>> {
        let vectors = match *value.data_type() {
            TensorElementType::Float16 => self.read_as::<f16>(value, lengths),
            TensorElementType::Bfloat16 => self.read_as::<bf16>(value, lengths),
            _ => self.read_as::<f32>(value, lengths),
        }?;
        if vectors.ncols() != self.width {
            bail!(
                "the vectors have {} dimensions, but config.json says {}; use the config.json from the model's own repository",
                vectors.ncols(),
                self.width
            );
        }
        Ok(vectors)
    }

    fn read_as<T>(&self, value: &DynValue, lengths: &[usize]) -> anyhow::Result<Array2<f32>>
    where
        T: PrimitiveTensorElementType + Copy + Into<f32>,
    {
        let array = value.try_extract_array::<T>()?;
        let shape = array.shape().to_vec();
        let texts = lengths.len();
        match self.pooling {
            Some(pooling) => match array.into_dimensionality::<Ix3>() {
                Ok(hidden) if hidden.dim().0 == texts && lengths.iter().all(|&n| n <= hidden.dim().1) => {
                    Ok(pool(hidden, lengths, pooling))
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

/// Returns the output with vectors or hidden states, and whether it is pooled.
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

/// Returns the size of a dimension, if the graph fixes it.
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
