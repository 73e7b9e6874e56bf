//! A model folder in, a [`Model`] that is ready to embed out.

mod fingerprint;
mod folder;
mod onnx;
mod probe;
mod runtime;

use std::path::Path;
use std::thread;

use anyhow::{Context, ensure};

use crate::batch::Batching;
use crate::embed::Embedder;
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
        let (ids, vocabulary) = (tokenizer.vocabulary(), folder.vocabulary().unwrap_or(usize::MAX));
        ensure!(
            ids <= vocabulary,
            "tokenizer {}: has ids up to {ids}, but the model takes {vocabulary}; take the tokenizer.json of the model's own repository",
            folder.tokenizer.display()
        );
        let runtime = runtime::environment()?;
        let (embedder, weights) = thread::scope(|scope| {
            // Gigabytes are read twice, side by side: by the engine and for the digest.
            let weights = scope.spawn(|| fingerprint::weights(&folder.onnx));
            let embedder = OnnxEmbedder::load(runtime, &folder, threads);
            (embedder, weights.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let mut embedder = embedder?;
        let probe = probe::probe(&mut embedder, &tokenizer)
            .with_context(|| format!("model {}: cannot embed a sample text", folder.onnx.display()))?;
        let fingerprint = ModelFingerprint {
            architecture: folder.architecture().to_owned(),
            weights: weights?,
            tokenizer: fingerprint::digest(&folder.tokenizer)?,
            pooling: embedder.pooling(),
            width: embedder.width(),
        };
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
