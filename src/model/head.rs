//! Reads how the hidden states of a model become vectors, from the files of sentence-transformers: the pooling, and the layers
//! after it. Reads the matrices of these layers with the crate safetensors.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail, ensure};
use ndarray::{Array1, Array2, ArrayView3};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::export::float::FloatKind;
use super::settings::{BrokenFile, cannot_read, json};
use crate::vector::layer::{Activation, Dense, HeadLayer};
use crate::vector::pool::{Pooling, pool};

/// The file of sentence-transformers that lists the modules of a model, such as pooling.
pub const MODULES: &str = "modules.json";

/// The settings of a Dense module, in the folder of the module.
const SETTINGS: &str = "config.json";

/// The matrix and the bias of a Dense module, in the folder of the module.
const MATRICES: &str = "model.safetensors";

/// The vector of a text in the modules of sentence-transformers. A module may also read the hidden states of all tokens.
const SENTENCE: &str = "sentence_embedding";

/// What turns the hidden states of a text into its vector.
#[derive(Debug)]
pub struct Head {
    pub pooling: Pooling,
    /// The layers after the pooling.
    pub layers: Vec<HeadLayer>,
}

/// An entry of `modules.json`.
#[derive(Deserialize)]
struct Module {
    /// The folder of the module, relative to the model folder.
    #[serde(default)]
    path: String,
    /// The name of the Python class.
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct DenseSettings {
    in_features: usize,
    out_features: usize,
    #[serde(default = "yes")]
    bias: bool,
    /// The name of the Python class.
    activation_function: String,
    module_input_name: Option<String>,
    module_output_name: Option<String>,
}

fn yes() -> bool {
    true
}

impl Head {
    /// Returns the dimensions of the vectors if the hidden states have `hidden` dimensions.
    ///
    /// # Errors
    /// A layer takes vectors with another number of dimensions.
    pub fn width(&self, hidden: usize) -> anyhow::Result<usize> {
        let mut width = hidden;
        for layer in &self.layers {
            let HeadLayer::Dense(Dense { weights, .. }) = layer else { continue };
            ensure!(
                weights.ncols() == width,
                "a Dense module takes {} dimensions, but gets {width}; use the modules from the model's own repository",
                weights.ncols()
            );
            width = weights.nrows();
        }
        Ok(width)
    }

    /// Turns hidden states `[batch, tokens, hidden]` into vectors `[batch, width]`. `lengths` has the number of tokens of each text,
    /// padding excluded.
    ///
    /// # Panics
    /// The panics of [`pool`] and [`HeadLayer::apply`].
    pub fn vectors<T: Copy + Into<f32>>(&self, hidden: ArrayView3<T>, lengths: &[usize]) -> Array2<f32> {
        self.layers.iter().fold(pool(hidden, lengths, self.pooling), |vectors, layer| layer.apply(&vectors))
    }

    /// Returns the BLAKE3 digest of the layers after the pooling; `None` if there are no layers.
    pub fn digest(&self) -> Option<String> {
        let mut hasher = blake3::Hasher::new();
        for layer in &self.layers {
            let HeadLayer::Dense(Dense { weights, bias, activation }) = layer else {
                hasher.update(b"normalize");
                continue;
            };
            hasher.update(format!("dense {:?} {activation:?}", weights.dim()).as_bytes());
            hasher.update(&weights.iter().chain(bias).flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
        }
        (!self.layers.is_empty()).then(|| hasher.finalize().to_hex().to_string())
    }
}

/// Returns the names of the files that the modules of a model may have besides `modules.json` and the pooling file, relative to
/// the model folder.
///
/// # Errors
/// The file cannot be read or parsed.
pub fn module_files(path: &Path) -> anyhow::Result<Vec<String>> {
    let modules: Vec<Module> = json(path)?;
    let dense = modules.iter().filter(|module| module.name() == "Dense" && module.is_inside());
    Ok(dense.flat_map(|module| [SETTINGS, MATRICES].map(|file| format!("{}/{file}", module.path))).collect())
}

/// Checks that a modules.json names no module that an export by this tool lacks.
///
/// # Errors
/// The file names another module, or cannot be read or parsed.
pub fn check_exportable(path: &Path) -> anyhow::Result<()> {
    let modules: Vec<Module> = json(path)?;
    for name in modules.iter().map(Module::name) {
        ensure!(
            ["Transformer", "Pooling", "Normalize"].contains(&name),
            "{}: the model has a `{name}` module, which the exports made by this tool lack, so the vectors would be wrong; use a repository with an ONNX file",
            path.display()
        );
    }
    Ok(())
}

impl Module {
    /// Returns the last part of the name of the class, which old and new versions of sentence-transformers share.
    fn name(&self) -> &str {
        self.kind.rsplit('.').next().unwrap_or(&self.kind)
    }

    /// Returns whether the module has a folder of its own inside the model folder.
    fn is_inside(&self) -> bool {
        !self.path.is_empty()
            && Path::new(&self.path).components().all(|part| matches!(part, Component::Normal(_)))
    }
}

/// Reads the layers that `modules.json` lists after the pooling. `path` is the path of this file. `find` returns the path of a file
/// of the model.
///
/// # Errors
/// This tool does not run a module, or a file of a module is missing or wrong.
pub fn layers(
    path: &Path,
    find: impl Fn(&str) -> anyhow::Result<Option<PathBuf>>,
) -> anyhow::Result<Vec<HeadLayer>> {
    let modules: Vec<Module> = json(path)?;
    let mut layers = Vec::new();
    let mut is_pooled = false;
    for module in &modules {
        match module.name() {
            "Transformer" if !is_pooled => {}
            "Pooling" if !is_pooled => is_pooled = true,
            "Normalize" if is_pooled => layers.push(HeadLayer::Normalize),
            "Dense" if is_pooled && module.is_inside() => {
                let needed = |file: &str| {
                    let name = format!("{}/{file}", module.path);
                    find(&name)?.with_context(|| {
                        format!("{}: names the Dense module {}, but there is no {name}; copy it there from the model's own repository", path.display(), module.path)
                    })
                };
                layers.push(HeadLayer::Dense(read_dense(&needed(SETTINGS)?, &needed(MATRICES)?)?));
            }
            "Dense" if is_pooled => bail!(
                "{}: the folder `{}` of a Dense module is not inside the model folder; use the modules.json from the model's own repository",
                path.display(),
                module.path
            ),
            name @ ("Transformer" | "Pooling" | "Normalize" | "Dense") => bail!(
                "{}: this tool does not run a `{name}` module in this place of the list, so the vectors would be wrong; use another model",
                path.display()
            ),
            name => bail!(
                "{}: the model has a `{name}` module, which this tool does not run, so the vectors would be wrong; use another model",
                path.display()
            ),
        }
    }
    // All vectors are normalized at the end.
    while layers.last() == Some(&HeadLayer::Normalize) {
        layers.pop();
    }
    Ok(layers)
}

fn read_dense(settings: &Path, matrices: &Path) -> anyhow::Result<Dense> {
    let DenseSettings {
        in_features,
        out_features,
        bias,
        activation_function,
        module_input_name,
        module_output_name,
    } = json(settings)?;
    for name in [module_input_name, module_output_name].into_iter().flatten() {
        ensure!(
            name == SENTENCE,
            "{}: this tool does not run a Dense module on {name}, only on {SENTENCE}; use another model",
            settings.display()
        );
    }
    let activation = match activation_function.rsplit('.').next() {
        Some("Identity") => Activation::Identity,
        Some("Tanh") => Activation::Tanh,
        Some("ReLU") => Activation::Relu,
        _ => bail!(
            "{}: this tool does not run a Dense module with the activation {activation_function}; use another model",
            settings.display()
        ),
    };
    let bytes = fs::read(matrices).map_err(|e| cannot_read(matrices, &e))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| {
        BrokenFile(format!("{}: is no complete safetensors file: {e}; download it again", matrices.display()))
    })?;
    let read = |name: &str, shape: &[usize]| {
        let tensor = tensors.tensor(name).ok().filter(|tensor| tensor.shape() == shape);
        tensor.as_ref().and_then(numbers).ok_or_else(|| {
            BrokenFile(format!(
                "{}: has no tensor {name} of floats of the shape {shape:?}, as {} says; download both again",
                matrices.display(),
                settings.display()
            ))
        })
    };
    let weights = Array2::from_shape_vec(
        (out_features, in_features),
        read("linear.weight", &[out_features, in_features])?,
    )?;
    let bias = if bias { read("linear.bias", &[out_features])? } else { vec![0.0; out_features] };
    Ok(Dense { weights, bias: Array1::from_vec(bias), activation })
}

/// Returns the numbers of a tensor; `None` if the tensor has no floats.
fn numbers(tensor: &TensorView) -> Option<Vec<f32>> {
    let kind = match tensor.dtype() {
        Dtype::F32 => FloatKind::F32,
        Dtype::F16 => FloatKind::F16,
        Dtype::BF16 => FloatKind::Bf16,
        _ => return None,
    };
    Some(kind.read(tensor.data()))
}
