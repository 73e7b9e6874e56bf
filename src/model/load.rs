//! A model folder in, a [`Model`] that is ready to embed out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;

use anyhow::{Context, anyhow, bail, ensure};

use super::cuda::{self, Gpu};
use super::device::{self, Device, DeviceChoice};
use super::fingerprint::{self, ModelFingerprint};
use super::folder::ModelFolder;
use super::onnx::{OnnxEmbedder, Seat};
use super::placement::Placement;
use super::probe::{self, Probe};
use super::runtime;
use super::workload::{Resources, Texts};
use crate::text::tokenize::Tokenizer;
use crate::vector::batch::Batching;
use crate::vector::embedder::Embedder;

/// ONNX Runtime's name for what runs nodes on NVIDIA's GPUs.
const CUDA: &str = "CUDAExecutionProvider";

/// What is in a model folder. Nothing large has been read.
pub struct Model {
    /// Where its files are.
    pub folder: ModelFolder,
    /// Its tokenizer, without an instruction.
    pub tokenizer: Tokenizer,
    /// What is to run it.
    device: DeviceChoice,
    /// The digest of the weights, once it is known.
    weights: OnceLock<String>,
}

impl Model {
    /// Finds the files.
    ///
    /// # Errors
    /// What is missing or wrong, with the file and what to do.
    pub fn open(path: &Path, file: Option<&str>, device: DeviceChoice) -> anyhow::Result<Self> {
        if let DeviceChoice::Only(device) = &device {
            device.check()?;
        }
        let folder = ModelFolder::open(path, file)?;
        let tokenizer = Tokenizer::load(&folder.tokenizer, folder.end_token())?;
        let (ids, vocabulary) = (tokenizer.vocabulary(), folder.vocabulary().unwrap_or(usize::MAX));
        ensure!(
            ids <= vocabulary,
            "tokenizer {}: has ids up to {ids}, but the model takes {vocabulary}; take the tokenizer.json of the model's own repository",
            folder.tokenizer.display()
        );
        Ok(Model { folder, tokenizer, device, weights: OnceLock::new() })
    }

    /// ONNX Runtime for its device, and what it is called beside this program: for a GPU and OpenVINO with all that lies beside it.
    ///
    /// # Errors
    /// It is not installed.
    pub fn libraries(&self) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
        let device = match &self.device {
            DeviceChoice::Auto => &Device::Cpu,
            DeviceChoice::Only(device) => device,
        };
        let library = runtime::find(device)?;
        let Some(folder) = library.parent().filter(|_| device.provider_library().is_some()) else {
            return Ok(vec![(library, PathBuf::from(runtime::LIBRARY))]);
        };
        ensure!(
            !runtime::is_of_system(folder),
            "{}: has more than ONNX Runtime in it; {}",
            folder.display(),
            device.advice()
        );
        let folders = match device {
            Device::Cuda(_) => cuda::folders(&library),
            Device::Cpu | Device::OpenVino => vec![folder.to_owned()],
        };
        let mut paths = Vec::new();
        for folder in folders {
            let files = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
            paths.extend(files.collect::<Result<Vec<_>, _>>()?);
        }
        // Packages have more in them.
        let belongs = |name: &Path| {
            ["lib", "LICENSE", "ThirdParty"].iter().any(|start| name.to_string_lossy().starts_with(start))
        };
        let named = |path: PathBuf| Some((PathBuf::from(path.file_name()?), path));
        // Of the same name, that in the first folder, which is the one that is loaded.
        let paths = paths.into_iter().rev().filter(|path| path.is_file()).filter_map(named);
        let libraries: BTreeMap<_, _> = paths.filter(|(name, _)| belongs(name)).collect();
        Ok(libraries.into_iter().map(|(name, path)| (path, name)).collect())
    }

    /// The fingerprint, without loading the model, where it was loaded once with the same weights: what the graph
    /// says of itself is then known. `None` where it is another model.
    ///
    /// # Errors
    /// A file of it cannot be read.
    pub fn fingerprint_as(&self, before: &ModelFingerprint) -> anyhow::Result<Option<ModelFingerprint>> {
        let weights = self.weights()?;
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

    fn weights(&self) -> anyhow::Result<String> {
        if let Some(weights) = self.weights.get() {
            return Ok(weights.clone());
        }
        let weights = fingerprint::weights(&self.folder.onnx)?;
        Ok(self.weights.get_or_init(|| weights).clone())
    }

    /// Loads it, tries how it may be batched, and gets it ready for such texts.
    ///
    /// # Errors
    /// What is missing or wrong, with the file and what to do.
    pub fn load(&self, resources: &Resources, texts: &Texts) -> anyhow::Result<LoadedModel> {
        match &self.device {
            DeviceChoice::Only(device) => self.load_on(device, resources, texts),
            DeviceChoice::Auto => self.load_on_gpu(resources, texts).or_else(|why| {
                let loaded = self.load_on(&Device::Cpu, resources, texts)?;
                Ok(LoadedModel { no_gpu: Some(why), ..loaded })
            }),
        }
    }

    /// On the first GPU, if there is one that has the memory.
    fn load_on_gpu(&self, resources: &Resources, texts: &Texts) -> Result<LoadedModel, NoGpu> {
        // First of all: without a GPU its libraries are not needed.
        Gpu::open(0).map_err(NoGpu::Absent)?;
        self.load_on_found_gpu(resources, texts).map_err(NoGpu::Unusable)
    }

    fn load_on_found_gpu(&self, resources: &Resources, texts: &Texts) -> anyhow::Result<LoadedModel> {
        let loaded = self.load_on(&Device::Cuda(vec![0]), resources, texts)?;
        let fits = |embedder: &OnnxEmbedder| embedder.batch_tokens() >= texts.max_tokens;
        ensure!(
            loaded.embedders.iter().all(fits),
            "the GPU has not the memory for a text of {} tokens",
            texts.max_tokens
        );
        Ok(loaded)
    }

    fn load_on(&self, device: &Device, resources: &Resources, texts: &Texts) -> anyhow::Result<LoadedModel> {
        let library = runtime::find(device)?;
        // Some of the libraries need that of the driver.
        let seats = seats(device, resources)?;
        let runtime = runtime::load(device, &library)?;
        let profiles = matches!(device, Device::Cuda(_)).then(tempfile::tempdir).transpose();
        let profiles = profiles.context("no folder for temporary files")?;
        let (embedders, weights) = thread::scope(|scope| {
            // Gigabytes are read twice, side by side: by the engine and for the digest.
            let weights = scope.spawn(|| self.weights());
            let load = |(at, seat)| {
                let profile = profiles.as_ref().filter(|_| at == 0).map(|folder| folder.path().join("run"));
                OnnxEmbedder::load(&runtime.environment, &self.folder, seat, profile.as_deref())
            };
            let embedders: anyhow::Result<Vec<_>> = seats.into_iter().enumerate().map(load).collect();
            (embedders, weights.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let mut embedders = embedders?;
        let onnx = self.folder.onnx.display();
        let first = embedders.first_mut().context("a model without a device")?;
        let precision = device.precision();
        let same = match (device, first.export().map(|export| export.variant.as_str())) {
            // What others export says nothing of its numbers; on a GPU they have mostly 16 bits.
            (_, Some("bf16")) | (Device::Cuda(_), None) => probe::SAME_IN_BF16,
            (Device::OpenVino, _) | (_, Some("f16")) => probe::SAME_IN_16_BITS,
            _ => probe::SAME,
        };
        let probe = probe::probe(first, &self.tokenizer, same)
            .with_context(|| format!("model {onnx}: cannot embed a sample text"))?;
        let placement = if first.gpu().is_some() { Some(first.placement(CUDA)?) } else { None };
        if let Some(heavy) = placement.as_ref().and_then(Placement::heavy_elsewhere) {
            bail!(
                "model {onnx}: CUDA has no kernel for {heavy}, which would run on the CPU; take another export, such as `scripts/export_onnx.py --variant f16` makes"
            );
        }
        let fingerprint = ModelFingerprint {
            architecture: self.folder.architecture().to_owned(),
            weights: weights?,
            tokenizer: fingerprint::digest(&self.folder.tokenizer)?,
            pooling: first.pooling(),
            width: first.width(),
            precision,
        };
        let unpads = first.export().is_some_and(|export| export.unpads);
        // OpenVINO is a sixth faster at lengths that are multiples of 16; on a GPU, padding costs less than small batches.
        let favours_round_lengths = *device != Device::Cpu;
        let batching = match probe.batching() {
            Batching::AnyLengths if unpads || favours_round_lengths => Batching::Rounded,
            batching => batching,
        };
        let mut is_shared = false;
        for embedder in &mut embedders {
            embedder.set_batching(batching);
            is_shared = embedder.share_prefix(&texts.prefix)?;
            embedder.fit(texts)?;
        }
        let threads = resources.threads;
        Ok(LoadedModel {
            embedders,
            probe,
            fingerprint,
            is_shared,
            library: &runtime.library,
            device: device.clone(),
            threads,
            placement,
            no_gpu: None,
        })
    }
}

fn seats(device: &Device, resources: &Resources) -> anyhow::Result<Vec<Seat>> {
    let &Resources { threads, gpu_memory: memory_max } = resources;
    Ok(match device {
        Device::Cpu => vec![Seat::Cpu { threads }],
        Device::OpenVino => vec![Seat::OpenVino { threads }],
        Device::Cuda(numbers) => {
            let seat = |&number| {
                let gpu = Gpu::open(number);
                let gpu = gpu.map_err(|e| anyhow!("{e:#}; use --device cpu"))?;
                Ok(Seat::Cuda { gpu, number, memory_max })
            };
            numbers.iter().map(seat).collect::<anyhow::Result<_>>()?
        }
    })
}

/// A loaded model.
pub struct LoadedModel {
    /// The engines that run it, one a GPU, or one on the CPU.
    pub embedders: Vec<OnnxEmbedder>,
    /// How its texts may be batched.
    pub probe: Probe,
    /// What its vectors depend on.
    pub fingerprint: ModelFingerprint,
    /// Whether what all texts begin with is computed once.
    pub is_shared: bool,
    /// The ONNX Runtime that runs it.
    pub library: &'static Path,
    /// Where it is.
    device: Device,
    /// On a CPU.
    threads: usize,
    /// How much of the graph is on a GPU.
    placement: Option<Placement>,
    /// Why it is on the CPU, where a GPU would have been preferred.
    no_gpu: Option<NoGpu>,
}

/// Why a model is on the CPU although any device would have been taken.
enum NoGpu {
    Absent(anyhow::Error),
    /// There is a GPU.
    Unusable(anyhow::Error),
}

impl LoadedModel {
    /// Returns what runs it, in words, and why that is no GPU if any device would have been taken.
    pub fn device(&self) -> String {
        match &self.no_gpu {
            Some(NoGpu::Absent(why) | NoGpu::Unusable(why)) => {
                format!("{} ({why:#})", self.device_in_words())
            }
            None => self.device_in_words(),
        }
    }

    /// Returns what runs it, in words, and why that is no GPU if there is one.
    pub fn device_in_use(&self) -> String {
        match &self.no_gpu {
            Some(NoGpu::Unusable(_)) => self.device(),
            Some(NoGpu::Absent(_)) | None => self.device_in_words(),
        }
    }

    fn device_in_words(&self) -> String {
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

    /// What the ONNX Runtime that is loaded was built for.
    pub fn providers(&self) -> Vec<&'static str> {
        let all = [("CPU", Device::Cpu), ("CUDA", Device::Cuda(Vec::new())), ("OpenVINO", Device::OpenVino)];
        let built_in = |device: &Device| device.is_built_in().unwrap_or(false);
        all.iter().filter(|(_, device)| built_in(device)).map(|&(name, _)| name).collect()
    }

    /// What the model does worse than others, if it does.
    pub fn warning(&self) -> Option<String> {
        let export = self.embedders.first().and_then(OnnxEmbedder::export);
        let is_int8 = export.is_some_and(|export| export.variant == "int8");
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
