//! Turns a model folder and a device into a [`LoadedModel`] that is ready to embed.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;

use anyhow::{Context, anyhow, bail, ensure};
use ort::environment::Environment;
use tempfile::TempDir;

use super::cuda::Gpu;
use super::device::{Device, DeviceChoice, DeviceError, DevicePrecision, has_dot_products};
use super::digests::RememberedDigests;
use super::fingerprint::{self, ModelFingerprint};
use super::folder::ModelFolder;
use super::head::{Head, MODULES};
use super::onnx::OnnxEmbedder;
use super::placement::Placement;
use super::precision::Precision;
use super::precision_choice;
use super::probe::{self, Probe};
use super::runtime;
use super::session::{GraphSession, HeadDifference};
use super::target::{ExecutionTarget, SessionOptions};
use super::workload::{Preparation, Resources, Workload};
use crate::console::{HumanCount, debug};
use crate::text::tokenize::Tokenizer;
use crate::vector::batch::Batching;
use crate::vector::embedder::Embedder;

/// ONNX Runtime's name for CUDA in a profile.
const CUDA: &str = "CUDAExecutionProvider";

/// Computes the workload of a model. Loading calls it on a thread of its own, because most workloads depend on the tokenizer, which
/// takes long to load.
pub type WorkloadOf<'a> = &'a (dyn Fn() -> anyhow::Result<Workload> + Sync);

/// A model whose files have been found. Tokenizer and graph are loaded when they are needed.
pub struct Model {
    /// The files of the model.
    pub folder: ModelFolder,
    /// The tokenizer, without an instruction; empty until [`Model::tokenizer`] loads it.
    tokenizer: OnceLock<Tokenizer>,
    device: DeviceChoice,
    /// The digest of the weights; empty until the digest is computed.
    weights: OnceLock<String>,
    /// The digests of earlier runs.
    remembered: RememberedDigests,
}

impl Model {
    /// Finds the files of a model. `path` is a model folder or a graph; `file` chooses a graph in the
    /// folder.
    ///
    /// # Errors
    /// A file is missing or wrong, or the processor does not support the device.
    pub fn open(path: &Path, file: Option<&str>, device: DeviceChoice) -> anyhow::Result<Self> {
        if let DeviceChoice::Only(device) = &device {
            device.check_processor()?;
        }
        let folder = ModelFolder::open(path, file)?;
        let remembered = RememberedDigests::of_user();
        let (tokenizer, weights) = (OnceLock::new(), OnceLock::new());
        Ok(Model { folder, tokenizer, device, weights, remembered })
    }

    /// Returns the tokenizer, without an instruction. The first call loads it, which takes longer than all the rest of a night
    /// without changes.
    ///
    /// # Errors
    /// The file is missing or wrong, or its vocabulary is not the one of the model.
    pub fn tokenizer(&self) -> anyhow::Result<&Tokenizer> {
        if let Some(tokenizer) = self.tokenizer.get() {
            return Ok(tokenizer);
        }
        let tokenizer = Tokenizer::load(&self.folder.tokenizer, self.folder.end_token())?;
        let (tokens, vocabulary) = (tokenizer.vocabulary(), self.folder.vocabulary().unwrap_or(usize::MAX));
        ensure!(
            tokens <= vocabulary,
            "tokenizer {}: has {tokens} tokens, but the model has {vocabulary}; use the tokenizer.json from the model's own repository",
            self.folder.tokenizer.display()
        );
        Ok(self.tokenizer.get_or_init(|| tokenizer))
    }

    /// Returns the digest of `tokenizer.json`, without loading the tokenizer.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn tokenizer_digest(&self) -> anyhow::Result<String> {
        fingerprint::tokenizer(&self.folder.tokenizer, &self.remembered)
    }

    /// Makes the model compute the digests of its files, even if the files have not changed since an earlier run.
    #[must_use]
    pub fn with_new_digest(self) -> Self {
        Model { remembered: RememberedDigests::none(), ..self }
    }

    /// Returns the files of ONNX Runtime for the device of this model. Each pair is the path of a file, and the relative path
    /// of the file's copy in a bundle.
    ///
    /// # Errors
    /// ONNX Runtime is not installed for the device, or is in a system folder together with unrelated libraries.
    pub fn libraries(&self) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
        match &self.device {
            DeviceChoice::Auto => runtime::libraries(&Device::Cpu),
            DeviceChoice::Only(device) => runtime::libraries(device),
        }
    }

    /// Returns the fingerprint without loading the model. Only a loaded graph shows the width and whether the graph pools, so
    /// this function copies both from `before`. Returns `None` if the weights differ from the weights of
    /// `before`.
    ///
    /// # Errors
    /// A file of the model cannot be read.
    pub fn fingerprint_as(&self, before: &ModelFingerprint) -> anyhow::Result<Option<ModelFingerprint>> {
        if self.tokenizer_digest()? != before.tokenizer {
            // A damaged tokenizer is told as such, and not as another model.
            self.tokenizer()?;
        }
        let weights = self.weights()?;
        if weights != before.weights {
            return Ok(None);
        }
        let head = before.pooling.map(|_| self.folder.head()).transpose();
        let head = head.with_context(|| format!("model {}", self.folder.onnx.display()))?;
        self.fingerprint(weights, head.as_ref(), before.width, self.device.precision()).map(Some)
    }

    /// Loads the tokenizer and the model, tests which texts may share a batch, and prepares the model for the workload.
    ///
    /// # Errors
    /// A file, library or device is missing or wrong, memory is too small, or there is no workload.
    pub fn load(
        &self,
        resources: &Resources,
        preparation: Preparation,
        workload: WorkloadOf,
    ) -> anyhow::Result<LoadedModel> {
        let loaded = match &self.device {
            DeviceChoice::Only(device) => self.load_on(device, resources, preparation, workload),
            DeviceChoice::Auto => self.load_on_gpu(resources, preparation, workload).or_else(|error| {
                let loaded = self.load_on(&Device::Cpu, resources, preparation, workload)?;
                Ok(LoadedModel { cpu_reason: Some(error), ..loaded })
            }),
        }?;
        loaded.tell_choices(&self.device);
        Ok(loaded)
    }

    /// Loads the model on the first GPU. This function fails if the longest text does not fit into GPU memory, because the CPU
    /// can embed such a text.
    fn load_on_gpu(
        &self,
        resources: &Resources,
        preparation: Preparation,
        workload: WorkloadOf,
    ) -> Result<LoadedModel, CpuReason> {
        // The GPU is opened before any library is loaded. So on a machine without a GPU, the error names the missing GPU, and
        // not a missing library that only a GPU requires.
        Gpu::open(0).map_err(CpuReason::NoGpu)?;
        self.load_on_found_gpu(resources, preparation, workload).map_err(CpuReason::Unusable)
    }

    fn load_on_found_gpu(
        &self,
        resources: &Resources,
        preparation: Preparation,
        workload: WorkloadOf,
    ) -> anyhow::Result<LoadedModel> {
        let loaded = self.load_on(&Device::Cuda(vec![0]), resources, preparation, workload)?;
        let longest = loaded.workload.max_tokens;
        ensure!(
            loaded.embedders.iter().all(|embedder| embedder.batch_tokens() >= longest),
            "not enough GPU memory for a text of {longest} tokens"
        );
        Ok(loaded)
    }

    fn load_on(
        &self,
        device: &Device,
        resources: &Resources,
        preparation: Preparation,
        workload: WorkloadOf,
    ) -> anyhow::Result<LoadedModel> {
        let library = runtime::find(device)?;
        // The GPUs are opened before ONNX Runtime is loaded, because opening a GPU loads the driver's library, which some
        // libraries of CUDA need.
        let targets = targets(device, resources)?;
        let runtime = runtime::load(device, &library)?;
        let profiles = matches!(device, Device::Cuda(_)).then(profile_folder).transpose()?;
        // On a GPU, the runs of the probe also show where the nodes of the graph run.
        let is_quick = preparation == Preparation::Least && *device == Device::Cpu;
        let options = SessionOptions {
            profile: profiles.as_ref().map(TempDir::path),
            prepacks: !is_quick || self.has_packed_kernels(),
            spins: !is_quick,
        };
        let LoadedParts { mut sessions, tokenizer, workload, weights } =
            self.load_parts(&runtime.environment, targets, options, workload)?;
        let first = sessions.first_mut().context("no device to load the model on")?;
        let is_int8 = first.export().is_some_and(|export| export.variant == Precision::Int8.name());
        if is_int8 && *device == Device::Cpu && !has_dot_products() {
            let error = anyhow::Error::from(DeviceError::NoDotProducts);
            return Err(error.context(format!("model {}", self.folder.onnx.display())));
        }
        let mut head_difference = None;
        for session in &mut sessions {
            let found = probe::check_head(session, tokenizer, Self::min_cosine(session, device));
            head_difference = found.with_context(|| self.cannot_embed_a_sample())?.or(head_difference);
        }
        let first = sessions.first_mut().context("no device to load the model on")?;
        let is_one_text = workload.is_one_text && *device == Device::Cpu;
        let probe = (!is_one_text).then(|| self.probe(first, tokenizer, device)).transpose()?;
        let placement = self.check_placement(first)?;
        let fingerprint = self.fingerprint(weights, first.head(), first.width(), device.precision())?;
        let batching = probe.map_or(Batching::Alone, |probe| batching(&probe, first, device));
        let embedders = sessions.into_iter().map(|session| OnnxEmbedder::new(session, batching, &workload));
        let embedders = embedders.collect::<anyhow::Result<_>>()?;
        Ok(LoadedModel {
            embedders,
            workload,
            probe,
            head_difference,
            fingerprint,
            library: &runtime.library,
            device: device.clone(),
            threads: resources.threads,
            placement,
            cpu_reason: None,
        })
    }

    /// Returns whether the products of the graph are fast only with weights in the order of their kernels.
    fn has_packed_kernels(&self) -> bool {
        let name = self.folder.onnx.file_name().unwrap_or_default().to_string_lossy();
        matches!(precision_choice::of_file(&name), Some(Precision::Q8 | Precision::Q4))
    }

    /// Loads one session per target, and at the same time the tokenizer, and computes the workload and the digest of the weights. If
    /// `options` names a folder for profiles, the first session writes a profile to this folder.
    fn load_parts(
        &self,
        environment: &Environment,
        targets: Vec<ExecutionTarget>,
        options: SessionOptions,
        workload: WorkloadOf,
    ) -> anyhow::Result<LoadedParts<'_>> {
        let mut profile = options.profile.map(|folder| folder.join("run"));
        thread::scope(|scope| {
            let weights = scope.spawn(|| self.weights());
            let texts = scope.spawn(|| anyhow::Ok((self.tokenizer()?, workload()?)));
            let load = |target| {
                let profile = profile.take();
                let options = SessionOptions { profile: profile.as_deref(), ..options };
                GraphSession::load(environment, &self.folder, target, options)
            };
            let sessions: anyhow::Result<Vec<_>> = targets.into_iter().map(load).collect();
            let weights = weights.join().unwrap_or_else(|panic| resume_unwind(panic));
            let texts = texts.join().unwrap_or_else(|panic| resume_unwind(panic));
            let (tokenizer, workload) = texts?;
            Ok(LoadedParts { sessions: sessions?, tokenizer, workload, weights: weights? })
        })
    }

    fn probe(
        &self,
        session: &mut GraphSession,
        tokenizer: &Tokenizer,
        device: &Device,
    ) -> anyhow::Result<Probe> {
        let min_cosine = Self::min_cosine(session, device);
        probe::probe(session, tokenizer, min_cosine).with_context(|| self.cannot_embed_a_sample())
    }

    fn cannot_embed_a_sample(&self) -> String {
        format!("model {}: cannot embed a sample text", self.folder.onnx.display())
    }

    /// Returns the lowest cosine at which two vectors of the trial are treated as equal.
    fn min_cosine(session: &GraphSession, device: &Device) -> f64 {
        match (device, session.export().map(|export| export.variant.as_str())) {
            // Only exports of `model export` name their precision. Most other exports that run on a GPU have 16 bits.
            (_, Some("bf16")) | (Device::Cuda(_), None) => probe::MIN_COSINE_BF16,
            (Device::OpenVino, _) | (_, Some("f16")) => probe::MIN_COSINE_16_BITS,
            _ => probe::MIN_COSINE,
        }
    }

    /// Counts the nodes of the graph that run on the GPU. Returns `None` if the session runs on a CPU.
    ///
    /// # Errors
    /// The session has a GPU, but some heavy nodes, such as matrix products, run on the CPU.
    fn check_placement(&self, session: &mut GraphSession) -> anyhow::Result<Option<Placement>> {
        if session.gpu().is_none() {
            return Ok(None);
        }
        let placement = session.placement(CUDA)?;
        if let Some(heavy) = placement.heavy_elsewhere() {
            let onnx = self.folder.onnx.display();
            let cause = format!("model {onnx}: CUDA has no kernel for {heavy}, which would run on the CPU");
            bail!(DeviceError::NoOperator { cause, fitting: Precision::F16 });
        }
        Ok(Some(placement))
    }

    fn fingerprint(
        &self,
        weights: String,
        head: Option<&Head>,
        width: usize,
        precision: Option<DevicePrecision>,
    ) -> anyhow::Result<ModelFingerprint> {
        Ok(ModelFingerprint {
            architecture: self.folder.architecture().to_owned(),
            weights,
            tokenizer: self.tokenizer_digest()?,
            pooling: head.map(|head| head.pooling),
            layers: head.and_then(Head::digest),
            width,
            precision,
        })
    }

    fn weights(&self) -> anyhow::Result<String> {
        if let Some(weights) = self.weights.get() {
            return Ok(weights.clone());
        }
        let weights = fingerprint::weights(&self.folder.onnx, &self.remembered)?;
        Ok(self.weights.get_or_init(|| weights).clone())
    }
}

/// What is loaded at the same time.
struct LoadedParts<'a> {
    /// One session per target.
    sessions: Vec<GraphSession>,
    tokenizer: &'a Tokenizer,
    workload: Workload,
    /// The digest of the weights.
    weights: String,
}

fn targets(device: &Device, resources: &Resources) -> anyhow::Result<Vec<ExecutionTarget>> {
    let &Resources { threads, gpu_memory: memory_max } = resources;
    match device {
        Device::Cpu => Ok(vec![ExecutionTarget::Cpu { threads }]),
        Device::OpenVino => Ok(vec![ExecutionTarget::OpenVino { threads }]),
        Device::Cuda(numbers) => {
            let target = |&number| {
                let gpu = Gpu::open(number).map_err(|e| DeviceError::NoGpu(format!("{e:#}")))?;
                Ok(ExecutionTarget::Cuda { gpu, number, memory_max })
            };
            numbers.iter().map(target).collect()
        }
    }
}

fn profile_folder() -> anyhow::Result<TempDir> {
    tempfile::tempdir()
        .map_err(|e| anyhow!("no temporary folder can be made: {e}; set TMPDIR to a folder with free space"))
}

/// Replaces [`Batching::AnyLengths`] by [`Batching::Rounded`] if rounded lengths save time. There are three cases. The graph
/// removes the padding again. Or the device is OpenVINO, which is a sixth faster at multiples of 16 tokens. Or the device is a
/// GPU: there, padding costs less time than small batches.
fn batching(probe: &Probe, session: &GraphSession, device: &Device) -> Batching {
    let removes_padding = session.export().is_some_and(|export| export.unpads);
    match probe.batching() {
        Batching::AnyLengths if removes_padding || *device != Device::Cpu => Batching::Rounded,
        batching => batching,
    }
}

/// A model that is ready to embed.
pub struct LoadedModel {
    /// One engine per GPU, or one engine on the CPU.
    pub embedders: Vec<OnnxEmbedder>,
    /// The texts that the model was loaded for.
    pub workload: Workload,
    /// The results of the trial with sample texts; `None` for a run that embeds only one text.
    pub probe: Option<Probe>,
    /// How the vectors that the graph itself has pooled differ from those that the model's files describe, if they do.
    head_difference: Option<HeadDifference>,
    /// The fingerprint of the model on this device.
    pub fingerprint: ModelFingerprint,
    /// The path of the loaded library of ONNX Runtime.
    pub library: &'static Path,
    device: Device,
    /// The number of threads per operator on a CPU.
    threads: usize,
    /// How many nodes run on the GPU, and how many run elsewhere; `None` on a CPU.
    placement: Option<Placement>,
    cpu_reason: Option<CpuReason>,
}

/// The reason why `--device auto` chose the CPU.
#[derive(Debug)]
pub enum CpuReason {
    /// There is no GPU, or no driver for the GPU.
    NoGpu(anyhow::Error),
    /// The GPU cannot run the model.
    Unusable(anyhow::Error),
}

impl CpuReason {
    /// Returns the error of the GPU.
    pub fn error(&self) -> &anyhow::Error {
        match self {
            CpuReason::NoGpu(error) | CpuReason::Unusable(error) => error,
        }
    }
}

impl LoadedModel {
    /// Returns a description of the device for messages, for example "CPU, 8 threads".
    pub fn device(&self) -> String {
        let mut parts = vec![self.device.to_string()];
        match self.device {
            Device::Cuda(_) => {
                parts.extend(self.embedders.iter().filter_map(OnnxEmbedder::gpu).map(Gpu::name));
                parts.extend(self.placement.iter().map(Placement::to_string));
            }
            Device::Cpu | Device::OpenVino => parts.push(format!("{} threads", self.threads)),
        }
        parts.join(", ")
    }

    /// Says why the model runs on this device, and in which batches.
    fn tell_choices(&self, choice: &DeviceChoice) {
        debug(|| {
            let why = match (choice, &self.cpu_reason) {
                (DeviceChoice::Only(_), _) => "it is the only one asked for".to_owned(),
                (DeviceChoice::Auto, None) => "the first GPU can be used".to_owned(),
                (DeviceChoice::Auto, Some(reason)) => format!("no GPU can be used: {:#}", reason.error()),
            };
            format!("device {}: {why}", self.device())
        });
        debug(|| {
            let Some((embedder, probe)) = self.embedders.first().zip(self.probe) else {
                return "batches of one text: only one text is embedded".to_owned();
            };
            let (batching, tokens) = (embedder.batching(), self.workload.batch_tokens);
            let tokens = HumanCount(tokens.unwrap_or_else(|| embedder.batch_tokens()) as u64);
            let effect = if batching == Batching::Alone { probe.equal_lengths } else { probe.padded };
            format!("batches of {batching}, up to {tokens} tokens per batch: {effect}")
        });
    }

    /// Returns the reason why `--device auto` chose the CPU; `None` if the user named a device, or if the option chose a GPU.
    pub fn cpu_reason(&self) -> Option<&CpuReason> {
        self.cpu_reason.as_ref()
    }

    /// Returns whether the keys and values of the workload's prefix are computed only once, for all texts.
    pub fn shares_prefix(&self) -> bool {
        self.embedders.iter().all(OnnxEmbedder::shares_prefix)
    }

    /// Returns a warning with advice if the graph pools in another way than the model's files say.
    pub fn head_warning(&self) -> Option<String> {
        self.head_difference.map(|difference| {
            format!(
                "its graph makes other vectors than {MODULES} and 1_Pooling describe ({difference}), so the vectors of the graph are used; get these files from the repository of the graph"
            )
        })
    }

    /// Returns a warning with advice if batches are slow.
    pub fn batching_warning(&self) -> Option<String> {
        let probe = self.probe.filter(|probe| probe.batching() == Batching::Alone);
        probe.map(|probe| {
            format!(
                "{}, so each batch has one text only, which is slow for short texts; use another export (fp32, or int8 quantized per token)",
                probe.equal_lengths
            )
        })
    }
}
