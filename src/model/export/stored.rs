//! Reads a model's own repository: `config.json` and the weights in safetensors. This module and `model/head.rs` use the crate
//! safetensors.
//!
//! Each tensor is read from its place in the file when it is asked for, so memory holds one tensor at a time.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use ndarray::Array2;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;
use serde_json::Value;

use super::float::FloatKind;
use super::weights::{Architecture, Norm, Projection, Weights};
use crate::model::folder::{CONFIG, TOKENIZER};
use crate::model::head::{MODULES, check_exportable};
use crate::model::settings::json;
use crate::model::weights_folder::{WEIGHTS, WEIGHTS_INDEX, weights_files};

/// The name of the embedding matrix in the checkpoint.
const EMBEDDINGS: &str = "embed_tokens.weight";

/// The start of the names of tensors in a checkpoint that was saved as a model for generating text. In a checkpoint that was
/// saved as a model for embedding, names do not have this start.
const PREFIX: &str = "model.";

/// The bytes of the number at the start of a safetensors file. The number is the length of the header.
const LENGTH_BYTES: usize = 8;

/// The largest header of a safetensors file, in bytes. The crate safetensors has the same limit.
const HEADER_MAX: u64 = 100_000_000;

/// The largest size in `config.json` that is taken for right. Products of two such sizes fit into 64 bits.
const SIZE_MAX: usize = 1 << 24;

/// The advice for a folder that is no checkpoint.
const NAME_ANOTHER: &str = "name the folder of the model's own repository";

/// The fields of `config.json` that an export depends on.
#[derive(Debug, Deserialize)]
struct Qwen3Config {
    num_hidden_layers: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: Option<usize>,
    vocab_size: usize,
    max_position_embeddings: usize,
    rms_norm_eps: f32,
    hidden_act: Option<String>,
    rope_theta: Option<f32>,
    rope_parameters: Option<Rope>,
    rope_scaling: Option<Rope>,
    #[serde(default)]
    use_sliding_window: bool,
    #[serde(default)]
    attention_bias: bool,
    quantization_config: Option<Value>,
}

/// The settings of rotary position embeddings. transformers 4 calls the field of the kind `type` or `rope_type`, and
/// transformers 5 calls it `rope_type`.
#[derive(Debug, Deserialize)]
struct Rope {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f32>,
}

/// A model's own repository.
#[derive(Debug)]
pub struct StoredWeights {
    folder: PathBuf,
    architecture: Architecture,
    tensors: HashMap<String, StoredTensor>,
    files: Vec<WeightsFile>,
    bytes: u64,
    numbers: u64,
}

/// An open safetensors file.
#[derive(Debug)]
struct WeightsFile {
    path: PathBuf,
    file: File,
}

/// Where a tensor is.
#[derive(Debug)]
struct StoredTensor {
    /// The index of the file.
    file: usize,
    /// The place of the first byte in the file.
    begin: u64,
    kind: FloatKind,
    shape: Vec<usize>,
}

impl StoredWeights {
    /// Opens the weights files, and checks that the model can be exported: its architecture, and the type and shape of every
    /// tensor that an export reads.
    ///
    /// # Errors
    /// The folder has no checkpoint, the model has another architecture, or a tensor is missing or has another type or shape.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let architecture = read_config(folder)?;
        let has = |name| folder.join(name).is_file();
        ensure!(has(TOKENIZER), "{}: no {TOKENIZER} in it; {NAME_ANOTHER}", folder.display());
        ensure!(
            has(WEIGHTS) || has(WEIGHTS_INDEX),
            "{}: neither {WEIGHTS} nor {WEIGHTS_INDEX} is in it; {NAME_ANOTHER}",
            folder.display()
        );
        if has(MODULES) {
            check_exportable(&folder.join(MODULES))?;
        }
        let mut stored = StoredWeights {
            folder: folder.to_owned(),
            architecture,
            tensors: HashMap::new(),
            files: Vec::new(),
            bytes: 0,
            numbers: 0,
        };
        for name in weights_files(folder)? {
            let path = folder.join(name);
            ensure!(path.is_file(), "{}: is missing; download the model again", path.display());
            stored.add_file(path)?;
        }
        stored.check_tensors()?;
        Ok(stored)
    }

    /// Returns the size of all tensors that an export reads, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the count of all numbers that an export reads.
    pub fn numbers(&self) -> u64 {
        self.numbers
    }

    /// Reads the header of a weights file, and adds its tensors.
    fn add_file(&mut self, path: PathBuf) -> anyhow::Result<()> {
        let cannot_read = |e: io::Error| {
            anyhow!("{}: cannot be read: {e}; check the disk and the permissions", path.display())
        };
        let file = File::open(&path).map_err(cannot_read)?;
        let length = file.metadata().map_err(cannot_read)?.len();
        let (metadata, data) = read_header(&file, length).map_err(|cause| match cause {
            HeaderError::Read(e) => cannot_read(e),
            HeaderError::CutOff => cut_off(&path),
            HeaderError::Damaged(why) => {
                anyhow!("{}: is no safetensors file: {why}; download it again", path.display())
            }
        })?;
        let end = data + metadata.data_len() as u64;
        ensure!(length >= end, cut_off(&path));
        for (name, info) in metadata.tensors() {
            let name = name.strip_prefix(PREFIX).unwrap_or(&name);
            let is_bias = is_of_layer(name) && name.ends_with(".bias");
            ensure!(
                !is_bias,
                "{}: has the bias {name}, and biases cannot be exported; use another model",
                path.display()
            );
            if let Some(tensor) = StoredTensor::new(self.files.len(), data, info) {
                self.tensors.insert(name.to_owned(), tensor);
            } else if is_of_layer(name) || name == EMBEDDINGS {
                bail!(
                    "{}: {name} has the type {}, so the model is quantized; use the model's own repository",
                    path.display(),
                    info.dtype
                );
            }
        }
        self.files.push(WeightsFile { path, file });
        Ok(())
    }

    fn check_tensors(&mut self) -> anyhow::Result<()> {
        let (mut bytes, mut numbers) = (0, 0);
        for (name, shape) in shapes(&self.architecture) {
            let tensor = self.tensor(&name)?;
            ensure!(
                tensor.shape == shape,
                "{}: {name} has the shape {:?}, but {CONFIG} says {shape:?}; {NAME_ANOTHER}",
                self.files[tensor.file].path.display(),
                tensor.shape
            );
            bytes += (tensor.count() * tensor.kind.bytes()) as u64;
            numbers += tensor.count() as u64;
        }
        (self.bytes, self.numbers) = (bytes, numbers);
        Ok(())
    }

    fn tensor(&self, name: &str) -> anyhow::Result<&StoredTensor> {
        self.tensors.get(name).with_context(|| {
            format!("{}: has no tensor {name}, which Qwen3 needs; {NAME_ANOTHER}", self.folder.display())
        })
    }

    /// Reads some of the numbers of a tensor.
    fn read(&self, name: &str, numbers: Range<usize>) -> anyhow::Result<Vec<f32>> {
        let tensor = self.tensor(name)?;
        let WeightsFile { path, file } = &self.files[tensor.file];
        let mut bytes = vec![0; numbers.len() * tensor.kind.bytes()];
        let place = tensor.begin + (numbers.start * tensor.kind.bytes()) as u64;
        file.read_exact_at(&mut bytes, place).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => cut_off(path),
            _ => anyhow!("{}: cannot be read: {e}; check the disk", path.display()),
        })?;
        Ok(tensor.kind.read(&bytes))
    }

    fn read_whole(&self, name: &str) -> anyhow::Result<Vec<f32>> {
        self.read(name, 0..self.tensor(name)?.count())
    }
}

impl Weights for StoredWeights {
    fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    fn embeddings(&self, rows: Range<usize>) -> anyhow::Result<Array2<f32>> {
        let width = self.architecture.width;
        let values = self.read(EMBEDDINGS, rows.start * width..rows.end * width)?;
        Ok(Array2::from_shape_vec((rows.len(), width), values)?)
    }

    fn norm(&self, norm: Norm) -> anyhow::Result<Vec<f32>> {
        self.read_whole(&weight(&norm.name()))
    }

    fn projection(&self, layer: usize, projection: Projection) -> anyhow::Result<Array2<f32>> {
        // The checkpoint has [out, in].
        let (inner, outer) = projection.shape(&self.architecture);
        let values = self.read_whole(&weight(&projection.name_in(layer)))?;
        Ok(Array2::from_shape_vec((outer, inner), values)?.reversed_axes())
    }

    fn output(&self) -> anyhow::Result<Option<Array2<f32>>> {
        Ok(None)
    }
}

impl StoredTensor {
    /// Returns `None` for a tensor that is not of floats.
    fn new(file: usize, data: u64, info: &TensorInfo) -> Option<Self> {
        let kind = match info.dtype {
            Dtype::F32 => FloatKind::F32,
            Dtype::F16 => FloatKind::F16,
            Dtype::BF16 => FloatKind::Bf16,
            _ => return None,
        };
        let begin = data + info.data_offsets.0 as u64;
        Some(StoredTensor { file, begin, kind, shape: info.shape.clone() })
    }

    fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The reason why the header of a safetensors file could not be read.
enum HeaderError {
    Read(io::Error),
    CutOff,
    Damaged(serde_json::Error),
}

impl From<io::Error> for HeaderError {
    fn from(e: io::Error) -> Self {
        HeaderError::Read(e)
    }
}

/// Returns the header of a safetensors file of `length` bytes, and the place of the first byte after the header.
fn read_header(file: &File, length: u64) -> Result<(Metadata, u64), HeaderError> {
    let mut number = [0; LENGTH_BYTES];
    if length < LENGTH_BYTES as u64 {
        return Err(HeaderError::CutOff);
    }
    file.read_exact_at(&mut number, 0)?;
    let header = u64::from_le_bytes(number);
    if header > HEADER_MAX {
        return Err(HeaderError::Damaged(serde::de::Error::custom("its header is too long")));
    }
    let end = LENGTH_BYTES as u64 + header;
    if length < end {
        return Err(HeaderError::CutOff);
    }
    let mut text = vec![0; usize::try_from(header).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut text, LENGTH_BYTES as u64)?;
    Ok((serde_json::from_slice(&text).map_err(HeaderError::Damaged)?, end))
}

fn cut_off(path: &Path) -> anyhow::Error {
    anyhow!("{}: is cut off; download it again", path.display())
}

/// Returns whether a tensor belongs to the layers of the decoder.
fn is_of_layer(name: &str) -> bool {
    name.starts_with("layers.")
}

fn weight(name: &str) -> String {
    format!("{name}.weight")
}

/// Returns the names of all tensors that an export reads, and their shapes in the checkpoint.
fn shapes(architecture: &Architecture) -> BTreeMap<String, Vec<usize>> {
    let Architecture { layers, width, head_dim, vocabulary, .. } = *architecture;
    let mut shapes = BTreeMap::from([
        (EMBEDDINGS.to_owned(), vec![vocabulary, width]),
        (weight(&Norm::Final.name()), vec![width]),
    ]);
    for layer in 0..layers {
        for projection in Projection::ALL {
            let (inner, outer) = projection.shape(architecture);
            shapes.insert(weight(&projection.name_in(layer)), vec![outer, inner]);
        }
        for (norm, size) in [
            (Norm::Attention(layer), width),
            (Norm::Mlp(layer), width),
            (Norm::Query(layer), head_dim),
            (Norm::Key(layer), head_dim),
        ] {
            shapes.insert(weight(&norm.name()), vec![size]);
        }
    }
    shapes
}

/// Reads `config.json`, and checks that the model has the architecture of Qwen3-Embedding.
fn read_config(folder: &Path) -> anyhow::Result<Architecture> {
    let path = folder.join(CONFIG);
    ensure!(path.is_file(), "{}: no {CONFIG} in it; {NAME_ANOTHER}", folder.display());
    let json: Value = json(&path)?;
    let kind = json.get("model_type").and_then(Value::as_str).unwrap_or("missing");
    ensure!(
        kind == "qwen3",
        "{}: model_type is {kind}, not qwen3; only models like Qwen3-Embedding can be exported",
        path.display()
    );
    let config: Qwen3Config = serde_json::from_value(json)
        .map_err(|e| anyhow!("{}: cannot be parsed: {e}; {NAME_ANOTHER}", path.display()))?;
    config.architecture().with_context(|| path.display().to_string())
}

impl Qwen3Config {
    fn architecture(self) -> anyhow::Result<Architecture> {
        let is_scaled = |rope: &Option<Rope>| {
            rope.as_ref().is_some_and(|rope| rope.rope_type.as_deref().is_some_and(|kind| kind != "default"))
        };
        let unsupported = [
            (self.quantization_config.is_some(), "quantized weights (quantization_config)"),
            (self.attention_bias, "biases (attention_bias)"),
            (self.use_sliding_window, "sliding windows (use_sliding_window)"),
            (is_scaled(&self.rope_scaling), "scaled position embeddings (rope_scaling)"),
            (is_scaled(&self.rope_parameters), "scaled position embeddings (rope_parameters)"),
            (
                self.hidden_act.as_deref().is_some_and(|name| name != "silu"),
                "another activation than SiLU (hidden_act)",
            ),
        ];
        if let Some((_, what)) = unsupported.iter().find(|(is_there, _)| *is_there) {
            bail!("the model has {what}, which cannot be exported; use another model");
        }
        let heads = self.num_attention_heads;
        let head_dim = self.head_dim.or(self.hidden_size.checked_div(heads)).unwrap_or(0);
        let sizes = [
            self.num_hidden_layers,
            self.hidden_size,
            self.intermediate_size,
            heads,
            self.num_key_value_heads,
            head_dim,
            self.vocab_size,
            self.max_position_embeddings,
        ];
        ensure!(
            sizes.iter().all(|size| (1..=SIZE_MAX).contains(size))
                && head_dim.is_multiple_of(2)
                && heads.is_multiple_of(self.num_key_value_heads),
            "the sizes of the model do not fit together; {NAME_ANOTHER}"
        );
        let rope_theta = self.rope_theta.or(self.rope_parameters.and_then(|rope| rope.rope_theta));
        Ok(Architecture {
            layers: self.num_hidden_layers,
            width: self.hidden_size,
            heads,
            kv_heads: self.num_key_value_heads,
            head_dim,
            inner: self.intermediate_size,
            vocabulary: self.vocab_size,
            positions: self.max_position_embeddings,
            epsilon: self.rms_norm_eps,
            rope_theta: rope_theta.with_context(|| {
                format!("neither rope_theta nor rope_parameters is there; {NAME_ANOTHER}")
            })?,
        })
    }
}
