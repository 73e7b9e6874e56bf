//! A batch in, pooled vectors out of one graph on one execution target.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use ndarray::Array2;
use ort::environment::Environment;
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session};

use super::cuda::Gpu;
use super::feed::{ModelInput, SharedPrefix};
use super::folder::ModelFolder;
use super::graph::{self, Export, GraphInput, GraphOutput, InputRole, PRESENT};
use super::placement::Placement;
use super::target::{ExecutionTarget, is_out_of_memory, one_line};
use crate::vector::batch::Batch;
use crate::vector::embedder::OutOfMemory;
use crate::vector::pool::Pooling;

/// An option of an ONNX Runtime run: the devices on which it frees memory at the end that it holds but does not use.
const SHRINK: &str = "memory.enable_memory_arena_shrinkage";

/// A graph that is loaded and can run. It does not know which texts may share a batch.
pub(super) struct GraphSession {
    session: Session,
    inputs: Vec<GraphInput>,
    output: GraphOutput,
    /// Selects the one output that is read, so that caches and the like are not computed.
    options: RunOptions<HasSelectedOutputs>,
    export: Option<Export>,
    path: PathBuf,
    target: ExecutionTarget,
}

impl GraphSession {
    /// Loads the graph of a model folder. ONNX Runtime writes a profile to a file whose path starts with `profile`, if given,
    /// until [`GraphSession::placement`] reads it.
    ///
    /// # Errors
    /// The file is not ONNX, its data is missing, memory is too small, or no embedding model has such inputs and outputs.
    pub fn load(
        environment: &Environment,
        folder: &ModelFolder,
        target: ExecutionTarget,
        profile: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let in_model = || format!("model {}", folder.onnx.display());
        let session = target.session(environment, &folder.onnx, profile);
        let session = session.with_context(|| format!("{}: cannot be loaded", in_model()))?;
        let inputs = session.inputs().iter().map(|outlet| GraphInput::new(outlet, folder));
        let inputs = inputs.collect::<anyhow::Result<_>>().with_context(in_model)?;
        let output = GraphOutput::new(session.outputs(), folder).with_context(in_model)?;
        let options = selecting(&output.name)?;
        let export = graph::export(&session)?;
        Ok(GraphSession { session, inputs, output, options, export, path: folder.onnx.clone(), target })
    }

    /// Returns pooled vectors `[chunks of the batch, width]`, not normalized. If every text begins with `prefix`, its keys and
    /// values are used. On a GPU without enough memory, the memory that ONNX Runtime holds is freed and the batch tried again.
    ///
    /// # Errors
    /// [`OutOfMemory`], or ONNX Runtime failed.
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
            anyhow!(
                "model {}: failed on {texts} texts of {tokens} tokens: {}; try another export of the model, or lower --batch-tokens and --max-tokens",
                self.path.display(),
                one_line(&format!("{e:#}"))
            )
        })
    }

    fn run(&mut self, batch: &Batch, prefix: Option<&SharedPrefix>) -> anyhow::Result<Array2<f32>> {
        let (input, lengths) = ModelInput::of_batch(batch, prefix);
        let outputs = self.session.run_with_options(input.tensors(&self.inputs)?, &self.options)?;
        self.output.read(&outputs[0], &lengths)
    }

    /// Computes the keys and values of a prefix. Returns `None` if there is no prefix or the graph has no input for them.
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

    /// Frees the GPU memory that ONNX Runtime holds in pieces too small for the next batch. It frees memory only at the end
    /// of a run, so this runs one token.
    fn free_memory(&mut self, gpu: usize) -> anyhow::Result<()> {
        let mut options = selecting(&self.output.name)?;
        options.set(SHRINK, format!("gpu:{gpu}"))?;
        let input = ModelInput::of_one_token();
        // The run fails if there is no memory even for one token. ONNX Runtime frees memory all the same.
        let _ = self.session.run_with_options(input.tensors(&self.inputs)?, &options);
        Ok(())
    }

    /// Ends the profile and returns which nodes of the graph ran on `provider` so far.
    ///
    /// # Errors
    /// The session was loaded without a profile, or the profile cannot be read.
    pub fn placement(&mut self, provider: &str) -> anyhow::Result<Placement> {
        Placement::read(Path::new(&self.session.end_profiling()?), provider)
    }

    /// Returns the GPU that the session runs on.
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

    /// Returns the dimensions of the vectors.
    pub fn width(&self) -> usize {
        self.output.width
    }

    /// Returns how hidden states are pooled, or `None` if the graph pools.
    pub fn pooling(&self) -> Option<Pooling> {
        self.output.pooling
    }

    /// Returns what the graph says about its export, if `scripts/export_onnx.py` made it.
    pub fn export(&self) -> Option<&Export> {
        self.export.as_ref()
    }
}

fn selecting(output: &str) -> ort::Result<RunOptions<HasSelectedOutputs>> {
    Ok(RunOptions::new()?.with_outputs(OutputSelector::no_default().with(output)))
}
