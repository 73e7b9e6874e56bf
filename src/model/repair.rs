//! Repairs a fault of torch's exporter, so that texts can share a batch.
//!
//! Since opset 23, torch (2.15 at least) writes rotary position embeddings as `RotaryEmbedding`. If positions are no input of the
//! graph, all texts have the same angles, and torch makes one row of them. ONNX wants one row per text, so ONNX Runtime refuses
//! every batch of several texts. The repaired graph repeats the row.

use std::fs;
use std::path::Path;

use memchr::memmem;
use prost::Message;

use super::export::schema::attribute_proto::AttributeType;
use super::export::schema::tensor_proto::DataType;
use super::export::schema::{AttributeProto, ModelProto, NodeProto, TensorProto};
use super::metadata::EXPORT;

/// The operator of rotary position embeddings, since opset 23.
const ROTARY: &str = "RotaryEmbedding";

/// The input of the graph whose first dimension is the number of texts.
const IDS: &str = "input_ids";

/// The start of the names that a repair adds.
const ADDED: &str = "qwen3-index.repair.";

/// The largest graph that is repaired, in bytes. Weights are in a data file or make the graph larger than this.
const GRAPH_BYTES_MAX: u64 = 64 << 20;

/// Returns the repaired graph; `None` if the graph does not have the fault, or cannot be read.
pub fn repaired(path: &Path) -> Option<Vec<u8>> {
    if path.metadata().ok()?.len() > GRAPH_BYTES_MAX {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    let has = |words: &str| memmem::find(&bytes, words.as_bytes()).is_some();
    // The exports of this tool have a row per text.
    if !has(ROTARY) || has(EXPORT) {
        return None;
    }
    let mut model = ModelProto::decode(bytes.as_slice()).ok()?;
    let graph = model.graph.as_mut().filter(|graph| graph.input.iter().any(|input| input.name() == IDS))?;
    if !graph.node.iter().any(takes_angles) {
        return None;
    }
    let added = |name: &str| format!("{ADDED}{name}");
    let (texts, ones, shape) = (added("texts"), added("ones"), added("shape"));
    graph.initializer.push(TensorProto {
        name: Some(ones.clone()),
        dims: vec![2],
        data_type: Some(DataType::Int64.into()),
        int64_data: vec![1, 1],
        ..TensorProto::default()
    });
    // The shape [texts, 1, 1], to which angles [1, tokens, numbers] are expanded.
    let mut nodes = vec![
        node("Shape", &[IDS], &texts, &[("start", 0), ("end", 1)]),
        node("Concat", &[&texts, &ones], &shape, &[("axis", 0)]),
    ];
    for mut rotary in std::mem::take(&mut graph.node) {
        if takes_angles(&rotary) {
            for angles in &mut rotary.input[1..3] {
                let expanded = added(&format!("{}.{angles}", nodes.len()));
                nodes.push(node("Expand", &[angles, &shape], &expanded, &[]));
                *angles = expanded;
            }
        }
        nodes.push(rotary);
    }
    graph.node = nodes;
    Some(model.encode_to_vec())
}

/// Returns whether a node takes the angles of each text. With `position_ids`, the angles are a table over all
/// positions, and need no row per text.
fn takes_angles(node: &NodeProto) -> bool {
    let has_positions = node.input.get(3).is_some_and(|name| !name.is_empty());
    node.op_type() == ROTARY && node.domain().is_empty() && node.input.len() >= 3 && !has_positions
}

fn node(operator: &str, inputs: &[&str], output: &str, attributes: &[(&str, i64)]) -> NodeProto {
    let attribute = |&(name, value): &(&str, i64)| AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int.into()),
        i: Some(value),
        ..AttributeProto::default()
    };
    NodeProto {
        op_type: Some(operator.to_owned()),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute: attributes.iter().map(attribute).collect(),
        ..NodeProto::default()
    }
}
