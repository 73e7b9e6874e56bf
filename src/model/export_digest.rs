//! What the digest of a model covers of a graph that this tool exported. Release 0.1.0 covered the whole file, and its indexes have
//! to know an export that a later release makes of the same weights. So the digest is that of the file as 0.1.0 would have
//! written it.

use prost::Message;

use super::export::schema::{GraphProto, ModelProto};
use super::metadata::{EXPORT, MADE_WITH, ModelMetadata};

/// The version of this tool that every digest covers.
const FIRST_RELEASE: &str = "qwen3-index 0.1.0";

/// Returns the bytes of a graph that its digest covers; `None` if this tool did not export the graph.
pub fn covered(onnx: &[u8]) -> Option<Vec<u8>> {
    // Decoding a graph with weights in it would take much memory.
    let has_key = |key: &str| ModelMetadata::decode(onnx).is_ok_and(|metadata| metadata.has(key));
    let mut model = has_key(EXPORT).then(|| ModelProto::decode(onnx).ok())??;
    model.graph.as_mut().into_iter().for_each(remove_sizes);
    let made_with = model.metadata_props.iter_mut().filter(|entry| entry.key() == MADE_WITH);
    made_with.for_each(|entry| entry.value = Some(FIRST_RELEASE.to_owned()));
    Some(model.encode_to_vec())
}

/// Removes the descriptions of tensors inside a graph. They change no vector: they only help ONNX Runtime to plan its memory.
fn remove_sizes(graph: &mut GraphProto) {
    graph.value_info.clear();
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        attribute.g.as_mut().into_iter().chain(&mut attribute.graphs).for_each(remove_sizes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::export::schema::{AttributeProto, NodeProto, StringStringEntryProto, ValueInfoProto};

    #[test]
    fn nodes_are_covered_and_sizes_and_the_version_are_not() {
        let entry = |key: &str, value: &str| StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value.to_owned()),
        };
        let graph = |operator: &str, sizes: usize, branch: Option<GraphProto>| GraphProto {
            node: vec![NodeProto {
                op_type: Some(operator.to_owned()),
                attribute: vec![AttributeProto { g: branch, ..Default::default() }],
                ..Default::default()
            }],
            value_info: vec![ValueInfoProto::default(); sizes],
            ..Default::default()
        };
        let model = |operator: &str, sizes: usize, version: &str| ModelProto {
            graph: Some(graph("If", sizes, Some(graph(operator, sizes, None)))),
            metadata_props: vec![entry(EXPORT, "{}"), entry(MADE_WITH, version)],
            ..Default::default()
        };
        let first = model("MatMul", 0, FIRST_RELEASE).encode_to_vec();
        assert_eq!(covered(&first).unwrap(), first);
        assert_eq!(covered(&model("MatMul", 2, "qwen3-index 9.9.9").encode_to_vec()).unwrap(), first);
        assert_ne!(covered(&model("Add", 0, FIRST_RELEASE).encode_to_vec()).unwrap(), first);
        // The exports of other programs are covered whole.
        let other = ModelProto { metadata_props: Vec::new(), ..model("MatMul", 2, FIRST_RELEASE) };
        assert_eq!(covered(&other.encode_to_vec()), None);
    }
}
