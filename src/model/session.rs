//! Runs one graph on one execution target: turns batches into pooled vectors.

use std::path::{Path, PathBuf};
use std::{fmt, mem};

use anyhow::Context;
use ndarray::Array2;
use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session};

use super::cuda::Gpu;
use super::feed::{ModelInput, SharedPrefix};
use super::folder::ModelFolder;
use super::graph::{self, Export, GraphInput, GraphOutput, GraphOutputs, InputRole, PRESENT};
use super::head::Head;
use super::placement::Placement;
use super::target::{ExecutionTarget, SessionOptions, exceeds_kernel, is_out_of_memory, one_line};
use crate::vector::batch::Batch;
use crate::vector::embedder::{OutOfMemory, TooLargeForKernel};
use crate::vector::embedding::Embedding;

/// The option that makes ONNX Runtime free its unused memory at the end of a run. The value of the option names the devices.
const SHRINK: &str = "memory.enable_memory_arena_shrinkage";

/// The error of ONNX Runtime on a batch.
#[derive(Debug, thiserror::Error)]
#[error("model {model}: failed on {texts} texts of {tokens} tokens: {cause}")]
pub struct BatchError {
    model: String,
    texts: usize,
    tokens: usize,
    cause: String,
}

/// How the vectors that a graph has pooled differ from those that the model's files describe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HeadDifference {
    /// The vectors have other dimensions.
    Dimensions { of_files: usize, of_graph: usize },
    /// The lowest cosine of a text's two vectors.
    Cosine(f64),
}

impl fmt::Display for HeadDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeadDifference::Dimensions { of_files, of_graph } => {
                write!(f, "{of_graph} dimensions instead of {of_files}")
            }
            HeadDifference::Cosine(cosine) => write!(f, "cosine {cosine:.4}"),
        }
    }
}

/// A loaded graph. The caller decides which texts share a batch.
pub(super) struct GraphSession {
    session: Session,
    inputs: Vec<GraphInput>,
    output: GraphOutput,
    /// The graph's own pooled vectors, until `check_head` has compared them with `output`.
    pooled: Option<GraphOutput>,
    /// The options of every run. The options select the output that vectors are read from, so that ONNX Runtime does not compute
    /// other outputs, such as caches.
    options: RunOptions<HasSelectedOutputs>,
    export: Option<Export>,
    path: PathBuf,
    target: ExecutionTarget,
}

impl GraphSession {
    /// Loads the graph of a model folder. If `options` has a profile, [`GraphSession::placement`] ends and reads the profile.
    ///
    /// # Errors
    /// The file is not ONNX, its data is missing, memory is too small, or this tool does not support the inputs or outputs.
    pub fn load(
        environment: &Environment,
        folder: &ModelFolder,
        target: ExecutionTarget,
        options: SessionOptions,
    ) -> anyhow::Result<Self> {
        let in_model = || format!("model {}", folder.onnx.display());
        let export = graph::export(&folder.onnx);
        // The nodes of an export for CPUs are already those that optimizing leads to.
        let is_optimal = matches!(target, ExecutionTarget::Cpu { .. })
            && export.as_ref().is_some_and(|export| export.unpads);
        let level = if is_optimal { GraphOptimizationLevel::Disable } else { GraphOptimizationLevel::Level3 };
        let session = target.session(environment, &folder.onnx, level, options);
        let session = session.with_context(|| format!("{}: cannot be loaded", in_model()))?;
        let inputs = session.inputs().iter().map(|outlet| GraphInput::new(outlet, folder));
        let inputs = inputs.collect::<anyhow::Result<_>>().with_context(in_model)?;
        let GraphOutputs { preferred: output, pooled } =
            GraphOutputs::new(session.outputs(), folder).with_context(in_model)?;
        let options = selecting(&output.name)?;
        Ok(GraphSession {
            session,
            inputs,
            output,
            pooled,
            options,
            export,
            path: folder.onnx.clone(),
            target,
        })
    }

    /// Returns the pooled vectors `[chunks, width]`, one per chunk, not normalized. If every text begins with `prefix`, this
    /// function uses the keys and values of the prefix. If a GPU has too little free memory, this function frees the unused
    /// memory of ONNX Runtime, and runs the batch once more.
    ///
    /// # Errors
    /// [`OutOfMemory`] if the batch does not fit into memory, [`TooLargeForKernel`] if it has too many texts or tokens for the
    /// device, or another error if ONNX Runtime failed.
    pub fn forward(&mut self, batch: &Batch, prefix: Option<&SharedPrefix>) -> anyhow::Result<Array2<f32>> {
        let mut vectors = self.run(batch, prefix);
        if let ExecutionTarget::Cuda { number, .. } = self.target
            && vectors.as_ref().is_err_and(is_out_of_memory)
        {
            self.free_memory(number)?;
            vectors = self.run(batch, prefix);
        }
        vectors.map_err(|e| {
            if is_out_of_memory(&e) {
                return OutOfMemory.into();
            }
            let (texts, tokens) = (batch.len(), batch.padded_tokens() / batch.len());
            let (model, cause) = (self.path.display().to_string(), one_line(&format!("{e:#}")));
            if texts > 1 && exceeds_kernel(&cause) {
                return TooLargeForKernel(cause).into();
            }
            BatchError { model, texts, tokens, cause }.into()
        })
    }

    fn run(&mut self, batch: &Batch, prefix: Option<&SharedPrefix>) -> anyhow::Result<Array2<f32>> {
        let (input, lengths) = ModelInput::of_batch(batch, prefix);
        let outputs = self.session.run_with_options(input.tensors(&self.inputs)?, &self.options)?;
        self.output.read(&outputs[0], &lengths)
    }

    /// Embeds a batch by the head of the model's files and by the graph's own pooling, if the graph has both outputs. If the vectors
    /// of a text differ, reads those of the graph from now on. Vectors are equal if their cosine is at least `min_cosine`.
    ///
    /// # Errors
    /// ONNX Runtime failed, or a vector is not finite.
    pub fn check_head(&mut self, batch: &Batch, min_cosine: f64) -> anyhow::Result<Option<HeadDifference>> {
        let Some(pooled) = self.pooled.take() else { return Ok(None) };
        let (of_files, of_graph) = (self.width(), pooled.width);
        let by_files = self.vectors(batch)?;
        let output = self.read_from(pooled)?;
        if of_files != of_graph {
            return Ok(Some(HeadDifference::Dimensions { of_files, of_graph }));
        }
        let by_graph = self.vectors(batch)?;
        let cosine = by_files.iter().zip(&by_graph).map(|(a, b)| a.cosine(b)).fold(1.0, f64::min);
        if cosine < min_cosine {
            return Ok(Some(HeadDifference::Cosine(cosine)));
        }
        self.read_from(output)?;
        Ok(None)
    }

    /// Reads vectors from another output from now on. Returns the output that they were read from before.
    fn read_from(&mut self, output: GraphOutput) -> anyhow::Result<GraphOutput> {
        self.options = selecting(&output.name)?;
        Ok(mem::replace(&mut self.output, output))
    }

    /// Returns the normalized vectors of a batch without a shared prefix.
    ///
    /// # Errors
    /// The errors of [`GraphSession::forward`], or a vector is not finite.
    pub fn vectors(&mut self, batch: &Batch) -> anyhow::Result<Vec<Embedding>> {
        let pooled = self.forward(batch, None)?;
        pooled.rows().into_iter().map(|row| Ok(Embedding::normalized(row.iter().copied())?)).collect()
    }

    /// Computes the keys and values of a prefix. Returns `None` if the prefix is empty, or if the graph has no input for keys
    /// and values.
    ///
    /// # Errors
    /// ONNX Runtime failed.
    pub fn compute_prefix(&mut self, ids: &[u32]) -> anyhow::Result<Option<SharedPrefix>> {
        let takes_past = self.inputs.iter().any(|input| matches!(input.role, InputRole::Past { .. }));
        if ids.is_empty() || !takes_past {
            return Ok(None);
        }
        let input = ModelInput::of_prefix(ids);
        let options = selecting(PRESENT)?;
        let mut outputs = self.session.run_with_options(input.tensors(&self.inputs)?, &options)?;
        let keys_and_values = outputs.remove(PRESENT);
        let keys_and_values = keys_and_values.with_context(|| {
            format!("model {}: has no output `{PRESENT}`; export it again", self.path.display())
        })?;
        Ok(Some(SharedPrefix { ids: ids.to_vec(), keys_and_values }))
    }

    /// Frees the GPU memory that ONNX Runtime has allocated in pieces that are too small for the next batch. ONNX Runtime frees
    /// memory only at the end of a run, so this function runs the graph on one token.
    fn free_memory(&mut self, gpu: usize) -> anyhow::Result<()> {
        let mut options = selecting(&self.output.name)?;
        options.set(SHRINK, format!("gpu:{gpu}"))?;
        let input = ModelInput::of_one_token();
        // The run fails if memory is too small even for one token. ONNX Runtime frees memory even then.
        let _ = self.session.run_with_options(input.tensors(&self.inputs)?, &options);
        Ok(())
    }

    /// Ends the profile. Reads from the profile how many nodes of the graph ran on `provider`, and how many ran elsewhere.
    ///
    /// # Errors
    /// The session was loaded without a profile, or the profile cannot be read.
    pub fn placement(&mut self, provider: &str) -> anyhow::Result<Placement> {
        Placement::read(Path::new(&self.session.end_profiling()?), provider)
    }

    /// Returns the GPU that the session runs on; `None` on a CPU.
    pub fn gpu(&self) -> Option<&Gpu> {
        if let ExecutionTarget::Cuda { gpu, .. } = &self.target { Some(gpu) } else { None }
    }

    /// Returns the names of the inputs of the graph.
    pub fn inputs(&self) -> Vec<&str> {
        self.inputs.iter().map(|input| input.name.as_str()).collect()
    }

    /// Returns the name of the output that vectors are read from.
    pub fn output(&self) -> &str {
        &self.output.name
    }

    /// Returns the number of dimensions of the vectors.
    pub fn width(&self) -> usize {
        self.output.width
    }

    /// Returns what turns hidden states into vectors; `None` if the graph itself pools.
    pub fn head(&self) -> Option<&Head> {
        self.output.head.as_ref()
    }

    /// Returns the description of the export, if `model export` made the graph.
    pub fn export(&self) -> Option<&Export> {
        self.export.as_ref()
    }
}

fn selecting(output: &str) -> ort::Result<RunOptions<HasSelectedOutputs>> {
    Ok(RunOptions::new()?.with_outputs(OutputSelector::no_default().with(output)))
}
