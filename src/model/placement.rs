//! Reads from a profile of ONNX Runtime how many nodes of a graph ran on a device, and how many ran elsewhere. If a device has
//! no kernel for a node, ONNX Runtime silently runs the node on the CPU.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{anyhow, ensure};
use serde::Deserialize;

/// Words in the names of heavy operators. Heavy operators are matrix products and operators over all hidden states. A run of a
/// graph spends most of its time in heavy operators.
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

/// How many nodes of a graph run on a device, and how many run elsewhere.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Placement {
    on_device: usize,
    /// How many nodes of each operator run elsewhere.
    elsewhere: BTreeMap<String, usize>,
}

/// An event of a [profile](https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html). Profiles have the
/// format of Chrome's traces. Fields that this tool does not use are left out.
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
    /// Reads from the profile how many nodes ran on `provider`, and how many ran elsewhere. `provider` is ONNX Runtime's name
    /// for a device.
    ///
    /// # Errors
    /// The profile cannot be read, or lists no nodes.
    pub fn read(profile: &Path, provider: &str) -> anyhow::Result<Self> {
        let cannot_read = |e: &dyn fmt::Display| {
            anyhow!(
                "profile {}: cannot be read: {e}; set TMPDIR to a folder with free space",
                profile.display()
            )
        };
        let file = File::open(profile).map_err(|e| cannot_read(&e))?;
        let events: Vec<ProfileEvent> =
            serde_json::from_reader(BufReader::new(file)).map_err(|e| cannot_read(&e))?;
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
        ensure!(
            placement.nodes() > 0,
            "profile {}: has no nodes; try another version of ONNX Runtime",
            profile.display()
        );
        Ok(placement)
    }

    fn nodes(&self) -> usize {
        self.on_device + self.elsewhere.values().sum::<usize>()
    }

    /// Lists the heavy operators that run elsewhere, with the number of nodes per operator. Returns `None` if all heavy
    /// operators run on the device.
    pub fn heavy_elsewhere(&self) -> Option<String> {
        let is_heavy = |name: &str| HEAVY.iter().any(|heavy| name.contains(heavy));
        let heavy = self.elsewhere.iter().filter(|(name, _)| is_heavy(name));
        let counts: Vec<String> = heavy.map(|(name, count)| format!("{count} {name}")).collect();
        (!counts.is_empty()).then(|| counts.join(", "))
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} nodes on the GPU", self.on_device, self.nodes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::device::Device;
    use crate::model::folder::ModelFolder;
    use crate::model::runtime;
    use crate::model::session::GraphSession;
    use crate::model::target::{ExecutionTarget, SessionOptions};
    use crate::text::tokenize::Encoding;
    use crate::vector::batch::{Batch, ChunkKey};

    #[test]
    #[ignore = "needs what scripts/test installs"]
    fn nodes_that_run_elsewhere_are_counted() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/qwen3-tiny");
        let folder = ModelFolder::open(&model, None).unwrap();
        let profiles = tempfile::tempdir().unwrap();
        let placement = |provider: &str| {
            let library = runtime::find(&Device::Cpu).unwrap();
            let runtime = runtime::load(&Device::Cpu, &library).unwrap();
            let profile = profiles.path().join(provider);
            let target = ExecutionTarget::Cpu { threads: 1 };
            let options = SessionOptions { profile: Some(&profile), prepacks: true, spins: true };
            let mut session = GraphSession::load(&runtime.environment, &folder, target, options).unwrap();
            let key = ChunkKey { document: 0, chunk: 0 };
            session.forward(&Batch::new(vec![(key, Encoding::new(vec![1, 2, 3]))]), None).unwrap();
            session.placement(provider).unwrap()
        };
        let here = placement("CPUExecutionProvider");
        assert!(here.elsewhere.is_empty() && here.on_device > 20, "{here}");
        assert_eq!(here.heavy_elsewhere(), None);
        let elsewhere = placement("CUDAExecutionProvider");
        assert_eq!((elsewhere.on_device, elsewhere.nodes()), (0, here.nodes()));
        assert!(elsewhere.heavy_elsewhere().is_some_and(|heavy| heavy.contains("MatMul")), "{elsewhere:?}");
    }
}
