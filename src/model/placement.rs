//! Which operators of a graph run on the device that was asked for, and which on the CPU: read from what ONNX Runtime
//! writes down while it runs, since it moves what a device has no kernel for in silence.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

/// Operators with these in their names do the arithmetic of any graph, or go through all of its hidden states.
const HEAVY: [&str; 8] = [
    "MatMul",
    "Gemm",
    "Attention",
    "Softmax",
    "LayerNormalization",
    "RMSNormalization",
    "RotaryEmbedding",
    "Gelu",
];

/// How many nodes run where.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// On the device.
    on_device: usize,
    /// Elsewhere, by operator.
    elsewhere: BTreeMap<String, usize>,
}

/// What there is of a [profile](https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html), which has
/// the format of Chrome's traces.
#[derive(Deserialize)]
struct ProfileEvent {
    name: String,
    #[serde(default)]
    args: Arguments,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Arguments {
    op_name: Option<String>,
    provider: Option<String>,
}

impl Placement {
    /// Of what has run while the profile was written.
    ///
    /// # Errors
    /// The profile cannot be read, or there are no nodes in it.
    pub fn read(profile: &Path, provider: &str) -> anyhow::Result<Self> {
        let in_profile = || format!("what ONNX Runtime has written in {}", profile.display());
        let file = File::open(profile).with_context(in_profile)?;
        let events: Vec<ProfileEvent> =
            serde_json::from_reader(BufReader::new(file)).with_context(in_profile)?;
        let nodes: HashMap<String, Arguments> = events
            .into_iter()
            .filter(|event| event.name.ends_with("_kernel_time") && event.args.provider.is_some())
            .map(|event| (event.name, event.args))
            .collect();
        let mut placement = Placement::default();
        for Arguments { op_name, provider: found } in nodes.into_values() {
            if found.as_deref() == Some(provider) {
                placement.on_device += 1;
            } else {
                *placement.elsewhere.entry(op_name.unwrap_or_default()).or_default() += 1;
            }
        }
        anyhow::ensure!(placement.nodes() > 0, "{}: has no nodes in it", in_profile());
        Ok(placement)
    }

    /// How many there are.
    fn nodes(&self) -> usize {
        self.on_device + self.elsewhere.values().sum::<usize>()
    }

    /// Those operators on the CPU that do most of the work, where there are any.
    pub fn heavy_elsewhere(&self) -> Option<String> {
        let is_heavy = |name: &str| HEAVY.iter().any(|heavy| name.contains(heavy));
        let heavy = self.elsewhere.iter().filter(|(name, _)| is_heavy(name));
        let counts: Vec<String> = heavy.map(|(name, count)| format!("{count} {name}")).collect();
        (!counts.is_empty()).then(|| counts.join(", "))
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} nodes on it", self.on_device, self.nodes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::device::Device;
    use crate::model::folder::ModelFolder;
    use crate::model::onnx::{OnnxEmbedder, Seat};
    use crate::model::runtime;

    #[test]
    fn nodes_that_run_elsewhere_are_seen() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/qwen3-tiny");
        let folder = ModelFolder::open(&model, None).unwrap();
        let profiles = tempfile::tempdir().unwrap();
        let placement = |provider: &str| {
            let library = runtime::find(&Device::Cpu).unwrap();
            let runtime = runtime::load(&Device::Cpu, &library).unwrap();
            let profile = profiles.path().join(provider);
            let seat = Seat::Cpu { threads: 1 };
            let mut embedder =
                OnnxEmbedder::load(&runtime.environment, &folder, seat, Some(&profile)).unwrap();
            let key = crate::vector::batch::ChunkKey { document: 0, chunk: 0 };
            let text = crate::text::tokenize::Encoding::new(vec![1, 2, 3]);
            let batch = crate::vector::batch::Batch::new(vec![(key, text)]);
            crate::vector::embedder::embed(&mut embedder, &batch).unwrap();
            embedder.placement(provider).unwrap()
        };
        let here = placement("CPUExecutionProvider");
        assert!(here.elsewhere.is_empty() && here.on_device > 20, "{here}");
        assert_eq!(here.heavy_elsewhere(), None);
        let elsewhere = placement("CUDAExecutionProvider");
        assert_eq!((elsewhere.on_device, elsewhere.nodes()), (0, here.nodes()));
        assert!(elsewhere.heavy_elsewhere().is_some_and(|heavy| heavy.contains("MatMul")), "{elsewhere:?}");
    }
}
