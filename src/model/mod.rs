//! A model folder in, a [`Model`] that is ready to embed out.

mod fingerprint;
mod folder;
mod onnx;
mod probe;
mod runtime;

use std::path::Path;
use std::thread;

use anyhow::Context;

use crate::batch::Batching;
use crate::tokenize::Tokenizer;

pub use fingerprint::ModelFingerprint;
pub use folder::ModelFolder;
pub use onnx::OnnxEmbedder;
pub use probe::Probe;

/// A loaded model.
pub struct Model {
    /// Where it came from.
    pub folder: ModelFolder,
    /// Its tokenizer, without an instruction.
    pub tokenizer: Tokenizer,
    /// The engine that runs it.
    pub embedder: OnnxEmbedder,
    /// How its texts may be batched.
    pub probe: Probe,
    /// What its vectors depend on.
    pub fingerprint: ModelFingerprint,
}

impl Model {
    /// Finds the files, loads them, and tries how the model may be batched.
    ///
    /// # Errors
    /// What is missing or wrong, with the file and what to do.
    pub fn load(path: &Path, file: Option<&str>, threads: usize) -> anyhow::Result<Self> {
        let folder = ModelFolder::open(path, file)?;
        let tokenizer = Tokenizer::load(&folder.tokenizer, folder.end_token())?;
        let runtime = runtime::environment()?;
        let (mut embedder, fingerprint) = thread::scope(|scope| {
            // Gigabytes are read twice, side by side: by the engine and for the digest.
            let fingerprint = scope.spawn(|| ModelFingerprint::of(&folder));
            let embedder = OnnxEmbedder::load(runtime, &folder, threads);
            let fingerprint = fingerprint.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // In this order: of data that is missing, the digest's error says more than the engine's.
            let fingerprint = fingerprint?;
            anyhow::Ok((embedder?, fingerprint))
        })?;
        let probe = probe::probe(&mut embedder, &tokenizer)
            .with_context(|| format!("model {}: does not run", folder.onnx.display()))?;
        Ok(Model { folder, tokenizer, embedder, probe, fingerprint })
    }

    /// One line on what the model does worse than others, if it does.
    pub fn warning(&self) -> Option<String> {
        (self.probe.batching() == Batching::Alone).then(|| {
            format!(
                "model {}: {}, so each text goes through it alone, which is slow for short ones; another export (fp32, or int8 by token) can be batched",
                self.folder.onnx.display(),
                self.probe.equal_lengths
            )
        })
    }
}
