//! A model folder in, a [`Model`] that is ready to embed out.

mod device;
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

pub use device::{Device, Precision};
pub use fingerprint::ModelFingerprint;
pub use folder::ModelFolder;
pub use onnx::OnnxEmbedder;
pub use probe::Probe;

/// What is in a model folder. Nothing large has been read.
pub struct Model {
    /// Where its files are.
    pub folder: ModelFolder,
    /// Its tokenizer, without an instruction.
    pub tokenizer: Tokenizer,
    /// What runs it.
    device: Device,
    /// The digest of the weights, once it is known.
    weights: Option<String>,
}

impl Model {
    /// Finds the files.
    ///
    /// # Errors
    /// What is missing or wrong, with the file and what to do.
    pub fn open(path: &Path, file: Option<&str>, device: Device) -> anyhow::Result<Self> {
        device.check()?;
        let folder = ModelFolder::open(path, file)?;
        let tokenizer = Tokenizer::load(&folder.tokenizer, folder.end_token())?;
        let (ids, vocabulary) = (tokenizer.vocabulary(), folder.vocabulary().unwrap_or(usize::MAX));
        ensure!(
            ids <= vocabulary,
            "tokenizer {}: has ids up to {ids}, but the model takes {vocabulary}; take the tokenizer.json of the model's own repository",
            folder.tokenizer.display()
        );
        Ok(Model { folder, tokenizer, device, weights: None })
    }

    /// The fingerprint, without loading the model, where it was loaded once with the same weights: what the graph
    /// says of itself is then known. `None` where it is another model.
    ///
    /// # Errors
    /// A file of it cannot be read.
    pub fn fingerprint_as(&mut self, before: &ModelFingerprint) -> anyhow::Result<Option<ModelFingerprint>> {
        let weights = match self.weights.take() {
            Some(weights) => weights,
            None => fingerprint::weights(&self.folder.onnx)?,
        };
        self.weights = Some(weights.clone());
        if weights != before.weights {
            return Ok(None);
        }
        Ok(Some(ModelFingerprint {
            architecture: self.folder.architecture().to_owned(),
            weights,
            tokenizer: fingerprint::digest(&self.folder.tokenizer)?,
            pooling: before.pooling.map(|_| self.folder.pooling()).transpose()?,
            width: before.width,
            precision: self.device.precision(),
        }))
    }

    /// Loads it, and tries how it may be batched.
    ///
    /// # Errors
    /// What is missing or wrong, with the file and what to do.
    pub fn load(&self, threads: usize) -> anyhow::Result<LoadedModel> {
        let runtime = runtime::environment(self.device)?;
        let (embedder, weights) = thread::scope(|scope| {
            // Gigabytes are read twice, side by side: by the engine and for the digest.
            let known = self.weights.clone();
            let weights = scope.spawn(|| known.map_or_else(|| fingerprint::weights(&self.folder.onnx), Ok));
            let embedder = OnnxEmbedder::load(runtime, &self.folder, self.device, threads);
            (embedder, weights.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let mut embedder = embedder?;
        let precision = self.device.precision();
        let probe = probe::probe(&mut embedder, &self.tokenizer, precision)
            .with_context(|| format!("model {}: cannot embed a sample text", self.folder.onnx.display()))?;
        let fingerprint = ModelFingerprint {
            architecture: self.folder.architecture().to_owned(),
            weights: weights?,
            tokenizer: fingerprint::digest(&self.folder.tokenizer)?,
            pooling: embedder.pooling(),
            width: embedder.width(),
            precision,
        };
        let unpads = embedder.export().is_some_and(|export| export.unpads);
        // A sixth faster there, at lengths that are multiples of 16.
        let favours_round_lengths = self.device == Device::OpenVino;
        embedder.set_batching(match probe.batching() {
            Batching::AnyLengths if unpads || favours_round_lengths => Batching::Rounded,
            batching => batching,
        });
        Ok(LoadedModel { embedder, probe, fingerprint })
    }
}

/// A loaded model.
pub struct LoadedModel {
    /// The engine that runs it.
    pub embedder: OnnxEmbedder,
    /// How its texts may be batched.
    pub probe: Probe,
    /// What its vectors depend on.
    pub fingerprint: ModelFingerprint,
}

impl LoadedModel {
    /// What the model does worse than others, if it does.
    pub fn warning(&self) -> Option<String> {
        let is_int8 = self.embedder.export().is_some_and(|export| export.variant == "int8");
        if is_int8 && !device::has_dot_products() {
            return Some(
                "its 8-bit products can overflow on this processor, which has no VNNI, so vectors may be off; take the fp32 or q8 variant".to_owned(),
            );
        }
        (self.probe.batching() == Batching::Alone).then(|| {
            format!(
                "{}, so each text goes through the model alone, which is slow for short ones; another export (fp32, or int8 by token) can be batched",
                self.probe.equal_lengths
            )
        })
    }
}
