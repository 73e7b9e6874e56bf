//! The engine: an ONNX graph of any of the kinds found in the wild, run by ONNX Runtime (with
//! `runtime.rs` and `device.rs`, the only user of ort).

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use half::{bf16, f16};
use ndarray::{Array2, ArrayD, Axis, Ix2, Ix3};
use ort::environment::Environment;
use ort::ep::cuda::AttentionBackend;
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ArenaExtendStrategy};
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session, SessionInputValue};
use ort::value::{DynValue, Outlet, PrimitiveTensorElementType, Tensor, TensorElementType, ValueType};
use serde::Deserialize;

use super::cuda::Gpu;
use super::device::Device;
use super::folder::ModelFolder;
use super::placement::Placement;
use super::workload::Texts;
use crate::text::tokenize::Encoding;
use crate::vector::batch::{Batch, Batching, ChunkKey};
use crate::vector::embedder::{Embedder, OutOfMemory};
use crate::vector::pool::{Pooling, pool};

/// Names that hidden states `[batch, tokens, width]` go by, the first wins.
const HIDDEN_STATES: [&str; 3] = ["last_hidden_state", "token_embeddings", "hidden_states"];

/// The names of keys and values that stand before the texts, of how many to give back, and of those given back.
const PAST: &str = "past_key_values";
const KEPT: &str = "kept";
const PRESENT: &str = "present_key_values";

/// The key of the graph's metadata under which `scripts/export_onnx.py` says what it has made.
const EXPORT: &str = "qwen3-index.export";

/// The name that a vector pooled in the graph `[batch, width]` goes by. (`pooler_output` is another
/// thing: BERT's, for classification.)
const POOLED: &str = "sentence_embedding";

/// What suits a CPU: with more tokens, products get no faster, and activations leave its caches.
const BATCH_TOKENS_CPU: usize = 1536;

/// What is enough for any GPU.
const BATCH_TOKENS_GPU: usize = 32 << 10;

/// A run option of ONNX Runtime: which devices to give the memory back to that it holds and does not use.
const SHRINK: &str = "memory.enable_memory_arena_shrinkage";

/// What ONNX Runtime says when there is no memory for a buffer, and what CUDA's libraries say.
const OUT_OF_MEMORY: [&str; 5] = [
    "Failed to allocate memory",
    "smaller than requested bytes",
    "out of memory",
    "ALLOC_FAILED",
    "bad_alloc",
];

/// Where a session runs.
pub(super) enum Seat {
    /// ONNX Runtime's own operators, with so many threads in each.
    Cpu { threads: usize },
    /// OpenVINO, likewise.
    OpenVino { threads: usize },
    Cuda {
        gpu: Gpu,
        /// As CUDA counts them.
        number: usize,
        /// Most bytes of its memory.
        memory_max: Option<usize>,
    },
}

/// What the graph asks for, and what it is fed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Feed {
    /// Token ids `[batch, tokens]`.
    Ids,
    /// 1 for a token, 0 for padding.
    Mask,
    /// 0, 1, 2, … in each row.
    Positions,
    /// Zeros: one segment.
    TokenTypes,
    /// An empty cache `[batch, heads, 0, head_dim]`.
    EmptyCache { heads: usize, head_dim: usize },
    /// Keys and values that stand before every text of the batch `[tensors, past, width]`: those of a prefix that
    /// all texts share, or none (`scripts/export_onnx.py`).
    Past { tensors: usize, width: usize },
    /// Of how many tokens to give keys and values back (`scripts/export_onnx.py`).
    Kept,
}

struct GraphInput {
    name: String,
    feed: Feed,
    element: TensorElementType,
}

/// What the graph gives.
#[derive(Debug, Clone, Copy, PartialEq)]
enum GraphOutput {
    HiddenStates(Pooling),
    Pooled,
}

/// A session, and how to feed it.
pub struct OnnxEmbedder {
    session: Session,
    inputs: Vec<GraphInput>,
    output: GraphOutput,
    output_name: String,
    /// Asks for the one output that is used: caches and the like are not computed.
    options: RunOptions<HasSelectedOutputs>,
    width: usize,
    batching: Batching,
    batch_tokens: usize,
    export: Option<Export>,
    prefix: Option<Prefix>,
    path: PathBuf,
    seat: Seat,
}

/// What texts begin with, and what the model makes of it.
struct Prefix {
    ids: Vec<u32>,
    /// As [`Feed::Past`] has it.
    keys_and_values: DynValue,
}

/// What `scripts/export_onnx.py` says of its exports.
#[derive(Debug, Deserialize)]
pub struct Export {
    /// Which of its variants it is.
    pub variant: String,
    /// Whether padding goes through little of it.
    pub unpads: bool,
}

/// What goes into the graph at once.
struct Fed<'a> {
    /// `[batch, tokens]`, behind the prefix.
    ids: Array2<i64>,
    mask: Array2<i64>,
    prefix: Option<&'a Prefix>,
    /// Of how many tokens keys and values are wanted.
    kept: usize,
}

impl OnnxEmbedder {
    /// Loads the graph. What it does is written below `profile`, where that is given, until [`OnnxEmbedder::placement`]
    /// reads it.
    ///
    /// # Errors
    /// Not an ONNX file, data missing, or inputs and outputs that no embedding model has.
    pub(super) fn load(
        environment: &Environment,
        folder: &ModelFolder,
        seat: Seat,
        profile: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let session = session(environment, &folder.onnx, &seat, profile)
            .with_context(|| format!("model {}: cannot be loaded", folder.onnx.display()))?;
        let in_model = || format!("model {}", folder.onnx.display());
        let inputs = session
            .inputs()
            .iter()
            .map(|outlet| input(outlet, folder))
            .collect::<anyhow::Result<_>>()
            .with_context(in_model)?;
        let (name, output, width) = output(session.outputs(), folder).with_context(in_model)?;
        let options = RunOptions::new()?.with_outputs(OutputSelector::no_default().with(&name));
        let export = session.metadata()?.custom(EXPORT).and_then(|text| serde_json::from_str(&text).ok());
        Ok(OnnxEmbedder {
            session,
            inputs,
            output,
            output_name: name,
            options,
            width,
            batching: Batching::Alone,
            batch_tokens: BATCH_TOKENS_CPU,
            export,
            prefix: None,
            path: folder.onnx.clone(),
            seat,
        })
    }

    /// Where the nodes of the graph have run so far.
    ///
    /// # Errors
    /// No profile was asked for, or it cannot be read.
    pub(super) fn placement(&mut self, provider: &str) -> anyhow::Result<Placement> {
        Placement::read(Path::new(&self.session.end_profiling()?), provider)
    }

    /// The GPU that it runs on.
    pub(super) fn gpu(&self) -> Option<&Gpu> {
        if let Seat::Cuda { gpu, .. } = &self.seat { Some(gpu) } else { None }
    }

    /// Finds out by trying how many tokens of texts that have so many at most fit into what is free of the memory of a GPU.
    /// The engine takes memory in pieces of the sizes that are asked for, and keeps them: what comes later fits into those
    /// of the largest batch, since that has come first.
    ///
    /// # Errors
    /// The engine failed.
    pub(super) fn fit(&mut self, texts: &Texts) -> anyhow::Result<()> {
        if self.gpu().is_none() {
            return Ok(());
        }
        let &Texts { max_tokens, together, .. } = texts;
        let mut count = (together.unwrap_or(BATCH_TOKENS_GPU) / max_tokens).max(1);
        while !self.holds(count, max_tokens)? {
            if count == 1 {
                // Perhaps no text is as long.
                self.batch_tokens = max_tokens / 2;
                return Ok(());
            }
            count /= 2;
        }
        self.batch_tokens = count * max_tokens;
        Ok(())
    }

    /// Whether the memory of the device is enough for so many texts of so many tokens.
    fn holds(&mut self, texts: usize, tokens: usize) -> anyhow::Result<bool> {
        let key = ChunkKey { document: 0, chunk: 0 };
        let batch = Batch::new(vec![(key, Encoding::new(vec![0; tokens])); texts]);
        match self.forward(&batch) {
            Ok(_) => Ok(true),
            // Some exports take one text at a time, and some kernels can count so far only.
            Err(error) if texts > 1 || error.is::<OutOfMemory>() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Names of what the graph asks for.
    pub fn inputs(&self) -> Vec<&str> {
        self.inputs.iter().map(|input| input.name.as_str()).collect()
    }

    /// The name of the output that is taken.
    pub fn output(&self) -> &str {
        &self.output_name
    }

    /// How hidden states become a vector; `None` where the graph does that itself.
    pub fn pooling(&self) -> Option<Pooling> {
        match self.output {
            GraphOutput::HiddenStates(pooling) => Some(pooling),
            GraphOutput::Pooled => None,
        }
    }

    /// What the graph says of itself, where it is an export of ours.
    pub fn export(&self) -> Option<&Export> {
        self.export.as_ref()
    }

    /// Says how its texts may be batched; until then, each goes alone.
    pub(super) fn set_batching(&mut self, batching: Batching) {
        self.batching = batching;
    }

    /// Computes the keys and values of what all texts begin with once, for those that do, where the graph can take
    /// them; says whether it can.
    ///
    /// # Errors
    /// The engine failed.
    pub fn share_prefix(&mut self, ids: &[u32]) -> anyhow::Result<bool> {
        if ids.is_empty() || !self.inputs.iter().any(|input| matches!(input.feed, Feed::Past { .. })) {
            return Ok(false);
        }
        let row = Array2::from_shape_fn((1, ids.len()), |(_, at)| i64::from(ids[at]));
        let fed = Fed { mask: Array2::ones(row.dim()), ids: row, prefix: None, kept: ids.len() };
        let options = RunOptions::new()?.with_outputs(OutputSelector::no_default().with(PRESENT));
        let keys_and_values =
            self.session.run_with_options(values(&self.inputs, &fed)?, &options)?.remove(PRESENT);
        let keys_and_values =
            keys_and_values.with_context(|| format!("model {}: gives no {PRESENT}", self.path.display()))?;
        self.prefix = Some(Prefix { ids: ids.to_vec(), keys_and_values });
        Ok(true)
    }

    /// Frees what the engine holds of the memory of a GPU in pieces that are too small for what is wanted now: it does so
    /// at the end of a run, here of one token.
    fn give_memory_back(&mut self, gpu: usize) -> anyhow::Result<()> {
        let mut options =
            RunOptions::new()?.with_outputs(OutputSelector::no_default().with(&self.output_name));
        options.set(SHRINK, format!("gpu:{gpu}"))?;
        let fed = Fed { ids: Array2::zeros((1, 1)), mask: Array2::ones((1, 1)), prefix: None, kept: 0 };
        // Without memory even for that, the run fails; the end of it comes all the same.
        let _ = self.session.run_with_options(values(&self.inputs, &fed)?, &options);
        Ok(())
    }

    fn run(&mut self, batch: &Batch) -> anyhow::Result<Array2<f32>> {
        let prefix = self.prefix.as_ref().filter(|prefix| batch.all_begin_with(&prefix.ids));
        let skipped = prefix.map_or(0, |prefix| prefix.ids.len());
        let behind = |rows: Array2<i64>| rows.view().split_at(Axis(1), skipped).1.to_owned();
        let fed = Fed { ids: behind(batch.ids()), mask: behind(batch.mask()), prefix, kept: 0 };
        let outputs = self.session.run_with_options(values(&self.inputs, &fed)?, &self.options)?;
        let lengths: Vec<usize> = batch.lengths().iter().map(|length| length - skipped).collect();
        let rows = rows(&outputs[0], self.output, &lengths)?;
        ensure!(
            rows.ncols() == self.width,
            "its vectors have {} numbers, its config.json says {}; take the config.json of the model's own repository",
            rows.ncols(),
            self.width
        );
        Ok(rows)
    }
}

impl Embedder for OnnxEmbedder {
    fn width(&self) -> usize {
        self.width
    }

    fn batching(&self) -> Batching {
        self.batching
    }

    fn batch_tokens(&self) -> usize {
        self.batch_tokens
    }

    fn forward(&mut self, batch: &Batch) -> anyhow::Result<Array2<f32>> {
        let mut made = self.run(batch);
        if let Seat::Cuda { number, .. } = self.seat
            && made.as_ref().is_err_and(is_out_of_memory)
        {
            self.give_memory_back(number)?;
            made = self.run(batch);
        }
        made.map_err(|e| {
            if is_out_of_memory(&e) {
                return OutOfMemory.into();
            }
            let (texts, tokens, said) = (batch.len(), batch.ids().ncols(), one_line(&format!("{e:#}")));
            anyhow!("model {}: failed on {texts} texts of {tokens} tokens: {said}; try another export of the model, or smaller --batch-tokens and --max-tokens", self.path.display())
        })
    }
}

fn is_out_of_memory(error: &anyhow::Error) -> bool {
    let said = format!("{error:#}");
    OUT_OF_MEMORY.iter().any(|words| said.contains(words))
}

fn session(
    environment: &Environment,
    path: &Path,
    seat: &Seat,
    profile: Option<&Path>,
) -> anyhow::Result<Session> {
    let builder = Session::builder(environment)?;
    let threads = match seat {
        Seat::Cpu { threads } | Seat::OpenVino { threads } => *threads,
        // What is left to the CPU is small.
        Seat::Cuda { .. } => 1,
    };
    let builder = match seat {
        Seat::Cpu { .. } => builder,
        Seat::OpenVino { .. } => openvino(builder, threads).map_err(|e| {
            let e = one_line(&e.to_string());
            anyhow!(
                "{e}; OpenVINO is not in this ONNX Runtime, or not all of it: {}",
                Device::OpenVino.advice()
            )
        })?,
        Seat::Cuda { number, memory_max, .. } => cuda(builder, *number, *memory_max)
            .map_err(|e| anyhow!("{}; {}", one_line(&e.to_string()), cuda_advice(*number)))?,
    };
    let load = || -> ort::Result<Session> {
        let builder = match profile {
            Some(profile) => builder.with_profiling(profile)?,
            None => builder,
        };
        builder
            .with_intra_threads(threads)?
            .with_optimization_level(GraphOptimizationLevel::Level3)?
            // Patterns are kept for each shape ever seen, and nearly every batch has one of its own.
            .with_memory_pattern(false)?
            .commit_from_file(path)
    };
    load().map_err(|e| {
        let e = anyhow::Error::from(e);
        let message = one_line(&e.to_string());
        match seat {
            Seat::Cuda { .. } if is_out_of_memory(&e) => OutOfMemory.into(),
            Seat::Cuda { number, .. } if e.to_string().contains(CUDA_CALL) => {
                anyhow!("{message}; {}", cuda_advice(*number))
            }
            Seat::Cpu { .. } | Seat::Cuda { .. } => {
                anyhow!("{message}; is it a whole ONNX file, with its data beside it?")
            }
            // Where in OpenVINO that was found comes first, at length.
            Seat::OpenVino { .. } => anyhow!(
                "{}; OpenVINO takes exports in standard operators only, such as `scripts/export_onnx.py --variant plain` makes",
                message.rsplit_once("GeneralFailure: ").map_or(message.as_str(), |(_, reason)| reason)
            ),
        }
    })
}

fn cuda_advice(number: usize) -> String {
    format!("see that the driver is 580 or newer; {}", Device::Cuda(vec![number]).advice())
}

/// All of the graph on OpenVINO, or an error.
fn openvino(builder: SessionBuilder, threads: usize) -> ort::Result<SessionBuilder> {
    // Threads bound to cores would stand still with whatever else runs on those.
    let settings = format!(
        r#"{{"CPU": {{"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": "{threads}", "ENABLE_CPU_PINNING": "NO"}}}}"#
    );
    let provider =
        ep::OpenVINO::default().with_device_type("CPU").with_arbitrary_config("load_config", settings);
    Ok(builder
        .with_execution_providers([provider.build().error_on_failure()])?
        .with_config_entry("session.disable_cpu_ep_fallback", "1")?)
}

/// What CUDA has a kernel for on the GPU; the rest, such as reckoning with shapes, stays on the CPU, and
/// [`Placement`] tells how much that is.
fn cuda(builder: SessionBuilder, number: usize, memory_max: Option<usize>) -> ort::Result<SessionBuilder> {
    let provider = ep::CUDA::default()
        .with_device_id(number as i32)
        // fp32 is to be fp32: TF32 has 10 bits of fraction.
        .with_tf32(false)
        // Not cuDNN's, which ONNX Runtime would prefer on Hopper and newer: it plans anew for every shape of a batch, and
        // nearly every batch has one of its own.
        .with_attention_backend(
            AttentionBackend::FLASH_ATTENTION
                | AttentionBackend::EFFICIENT_ATTENTION
                | AttentionBackend::MATH,
        )
        .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested);
    let provider = match memory_max {
        Some(bytes) => provider.with_memory_limit(bytes),
        None => provider,
    };
    Ok(builder.with_execution_providers([provider.build().error_on_failure()])?)
}

/// The function of the engine's that calls CUDA, which it names with all its types.
const CUDA_CALL: &str = "::CudaCall(";

/// What stands before what CUDA itself says.
const CUDA_SAYS: &str = "CUDA failure ";

/// The engine's messages have line breaks; an error of ours fits on a line. Where something went wrong below the engine,
/// that stands behind places in its source and signatures of its functions, and in front of more of them.
fn one_line(message: &str) -> String {
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = message.rsplit_once(" : FAIL : ").map_or(message.as_str(), |(_, said)| said);
    let behind = said.rfind(CUDA_CALL).and_then(|at| said[at..].split_once("] "));
    let said = behind.map_or(said, |(_, said)| said);
    let said = said.rfind(CUDA_SAYS).map_or(said, |at| &said[at..]);
    said.split(" ; GPU=").next().unwrap_or(said).to_owned()
}

fn tensor(outlet: &Outlet) -> anyhow::Result<(TensorElementType, &[i64])> {
    match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => Ok((*ty, shape)),
        other => bail!("`{}` is a {other}, not a tensor; it is no embedding model", outlet.name()),
    }
}

fn input(outlet: &Outlet, folder: &ModelFolder) -> anyhow::Result<GraphInput> {
    let name = outlet.name();
    let (element, shape) = tensor(outlet)?;
    let feed = match name {
        "input_ids" => Feed::Ids,
        "attention_mask" => Feed::Mask,
        "position_ids" => Feed::Positions,
        "token_type_ids" => Feed::TokenTypes,
        KEPT => Feed::Kept,
        PAST => {
            let known = |at: usize| shape.get(at).and_then(|&n| usize::try_from(n).ok()).filter(|&n| n > 0);
            let (tensors, width) = known(0).zip(known(2)).with_context(|| {
                format!("its input `{PAST}` has the shape {shape:?}, which is not known here; use a plain feature-extraction export")
            })?;
            Feed::Past { tensors, width }
        }
        _ if name.starts_with("past_key_values.") => {
            let from_config = folder.cache_shape().unwrap_or_default();
            let known = |at: usize, config: usize| {
                shape.get(at).and_then(|&n| usize::try_from(n).ok()).filter(|&n| n > 0).unwrap_or(config)
            };
            Feed::EmptyCache { heads: known(1, from_config.0), head_dim: known(3, from_config.1) }
        }
        _ => bail!(
            "asks for an input `{name}`, which is not known here; use a plain feature-extraction export"
        ),
    };
    let fits = match feed {
        Feed::EmptyCache { .. } | Feed::Past { .. } => matches!(
            element,
            TensorElementType::Float32 | TensorElementType::Float16 | TensorElementType::Bfloat16
        ),
        _ => matches!(element, TensorElementType::Int64 | TensorElementType::Int32),
    };
    if !fits {
        bail!(
            "its input `{name}` is {element}, which is not fed here; use a plain feature-extraction export"
        );
    }
    Ok(GraphInput { name: name.to_owned(), feed, element })
}

/// The output to ask for, and the width of its vectors: hidden states, which are pooled here, before a vector that the graph has
/// pooled, which may count on padding on the left.
fn output(outlets: &[Outlet], folder: &ModelFolder) -> anyhow::Result<(String, GraphOutput, usize)> {
    let named = |name: &str| outlets.iter().find(|outlet| outlet.name() == name);
    let hidden = HIDDEN_STATES.iter().find_map(|name| named(name));
    let (outlet, is_pooled) = match (hidden, named(POOLED), outlets) {
        (Some(outlet), ..) => (outlet, false),
        (None, Some(outlet), _) => (outlet, true),
        (None, None, [outlet]) if matches!(tensor(outlet)?.1.len(), 2 | 3) => {
            (outlet, tensor(outlet)?.1.len() == 2)
        }
        _ => {
            let names: Vec<&str> = outlets.iter().map(Outlet::name).take(4).collect();
            bail!(
                "has no output {} or {POOLED}, but {}; use a feature-extraction export",
                HIDDEN_STATES.join(", "),
                names.join(", ")
            );
        }
    };
    let (element, shape) = tensor(outlet)?;
    let name = outlet.name();
    match element {
        TensorElementType::Float32 | TensorElementType::Float16 | TensorElementType::Bfloat16 => {}
        _ => bail!(
            "its output `{name}` is {element}: quantised vectors, without the scale that would make them numbers again; use an export with float output"
        ),
    }
    let last = shape.last().and_then(|&last| usize::try_from(last).ok()).filter(|&last| last > 0);
    if last.is_some() && last == folder.vocabulary() {
        bail!(
            "its output `{name}` has a number for each token: a model for generating text; use a feature-extraction export"
        );
    }
    let width = match (last, folder.width()) {
        // A graph that pools may have a layer behind that, which changes the width.
        (Some(graph), _) if is_pooled => graph,
        (Some(graph), Some(config)) if graph != config => bail!(
            "its output `{name}` has {graph} numbers, its config.json says {config}; take the config.json of the model's own repository"
        ),
        (graph, config) => graph.or(config).context(
            "neither the graph nor config.json (hidden_size) says how long its vectors are; take the config.json of the model's own repository",
        )?,
    };
    let output = if is_pooled { GraphOutput::Pooled } else { GraphOutput::HiddenStates(folder.pooling()?) };
    Ok((name.to_owned(), output, width))
}

fn values<'a>(inputs: &'a [GraphInput], fed: &'a Fed) -> ort::Result<Vec<(&'a str, SessionInputValue<'a>)>> {
    inputs.iter().map(|input| Ok((input.name.as_str(), input.value(fed)?))).collect()
}

impl GraphInput {
    fn value<'a>(&self, fed: &'a Fed) -> ort::Result<SessionInputValue<'a>> {
        let (batch, tokens) = fed.ids.dim();
        let integers = match self.feed {
            Feed::Ids => fed.ids.clone().into_dyn(),
            Feed::Mask => fed.mask.clone().into_dyn(),
            Feed::Positions => ArrayD::from_shape_fn(vec![batch, tokens], |at| at[1] as i64),
            Feed::TokenTypes => ArrayD::zeros(vec![batch, tokens]),
            Feed::Kept => ArrayD::from_elem(vec![1], fed.kept as i64),
            Feed::EmptyCache { heads, head_dim } => {
                return empty(vec![batch, heads, 0, head_dim], self.element);
            }
            Feed::Past { tensors, width } => {
                return match fed.prefix {
                    Some(prefix) => Ok((&prefix.keys_and_values).into()),
                    None => empty(vec![tensors, 0, width], self.element),
                };
            }
        };
        if self.element == TensorElementType::Int32 {
            // Token ids and positions are far below 2³¹.
            return Ok(Tensor::from_array(integers.mapv(|x| x as i32))?.into());
        }
        Ok(Tensor::from_array(integers)?.into())
    }
}

fn empty(shape: Vec<usize>, element: TensorElementType) -> ort::Result<SessionInputValue<'static>> {
    Ok(match element {
        TensorElementType::Float16 => Tensor::from_array(ArrayD::<f16>::zeros(shape))?.into(),
        TensorElementType::Bfloat16 => Tensor::from_array(ArrayD::<bf16>::zeros(shape))?.into(),
        _ => Tensor::from_array(ArrayD::<f32>::zeros(shape))?.into(),
    })
}

fn rows(value: &DynValue, output: GraphOutput, lengths: &[usize]) -> anyhow::Result<Array2<f32>> {
    match *value.data_type() {
        TensorElementType::Float16 => rows_of::<f16>(value, output, lengths),
        TensorElementType::Bfloat16 => rows_of::<bf16>(value, output, lengths),
        _ => rows_of::<f32>(value, output, lengths),
    }
}

fn rows_of<T>(value: &DynValue, output: GraphOutput, lengths: &[usize]) -> anyhow::Result<Array2<f32>>
where
    T: PrimitiveTensorElementType + Copy + Into<f32>,
{
    let array = value.try_extract_array::<T>()?;
    let shape = array.shape().to_vec();
    match output {
        GraphOutput::HiddenStates(pooling) => match array.into_dimensionality::<Ix3>() {
            Ok(hidden) if hidden.dim().0 == lengths.len() && lengths.iter().all(|&n| n <= hidden.dim().1) => {
                Ok(pool(hidden, lengths, pooling))
            }
            _ => bail!("gave hidden states of shape {shape:?} for {} texts", lengths.len()),
        },
        GraphOutput::Pooled => match array.into_dimensionality::<Ix2>() {
            Ok(pooled) if pooled.nrows() == lengths.len() => Ok(pooled.mapv(Into::into)),
            _ => bail!("gave vectors of shape {shape:?} for {} texts", lengths.len()),
        },
    }
}
