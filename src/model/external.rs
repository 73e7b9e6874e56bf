//! Finds the names of the external data files in an ONNX graph. The messages here have only the fields of ONNX's messages that lead
//! to such names, so that weights inside a graph are skipped and not copied. Tags and names are those of onnx.proto.

use std::collections::BTreeSet;

use prost::Message;

/// The key of the entry that names the data file of a tensor.
const LOCATION: &str = "location";

#[derive(Message)]
struct OnnxModel {
    #[prost(message, optional, tag = "7")]
    graph: Option<OnnxGraph>,
    #[prost(message, repeated, tag = "25")]
    functions: Vec<OnnxFunction>,
}

#[derive(Message)]
struct OnnxGraph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<OnnxNode>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<OnnxTensor>,
    #[prost(message, repeated, tag = "15")]
    sparse_initializer: Vec<OnnxSparseTensor>,
}

#[derive(Message)]
struct OnnxFunction {
    #[prost(message, repeated, tag = "7")]
    node: Vec<OnnxNode>,
}

#[derive(Message)]
struct OnnxNode {
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<OnnxAttribute>,
}

#[derive(Message)]
struct OnnxAttribute {
    #[prost(message, optional, tag = "5")]
    t: Option<OnnxTensor>,
    #[prost(message, optional, tag = "6")]
    g: Option<OnnxGraph>,
    #[prost(message, repeated, tag = "10")]
    tensors: Vec<OnnxTensor>,
    #[prost(message, repeated, tag = "11")]
    graphs: Vec<OnnxGraph>,
    #[prost(message, optional, tag = "22")]
    sparse_tensor: Option<OnnxSparseTensor>,
    #[prost(message, repeated, tag = "23")]
    sparse_tensors: Vec<OnnxSparseTensor>,
}

#[derive(Message)]
struct OnnxSparseTensor {
    #[prost(message, optional, tag = "1")]
    values: Option<OnnxTensor>,
    #[prost(message, optional, tag = "2")]
    indices: Option<OnnxTensor>,
}

#[derive(Message)]
struct OnnxTensor {
    #[prost(message, repeated, tag = "13")]
    external_data: Vec<OnnxEntry>,
}

#[derive(Message)]
struct OnnxEntry {
    #[prost(string, optional, tag = "1")]
    key: Option<String>,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

/// Returns the names of the external data files of an encoded graph. Returns no names if the graph cannot be decoded, because ONNX
/// Runtime reports such a graph when it loads it.
pub fn names(onnx: &[u8]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if let Ok(OnnxModel { graph, functions }) = OnnxModel::decode(onnx) {
        graph.into_iter().for_each(|graph| of_graph(graph, &mut names));
        functions.into_iter().for_each(|function| of_nodes(function.node, &mut names));
    }
    names
}

fn of_graph(graph: OnnxGraph, names: &mut BTreeSet<String>) {
    graph.initializer.into_iter().for_each(|tensor| of_tensor(tensor, names));
    graph.sparse_initializer.into_iter().for_each(|tensor| of_sparse_tensor(tensor, names));
    of_nodes(graph.node, names);
}

fn of_nodes(nodes: Vec<OnnxNode>, names: &mut BTreeSet<String>) {
    for attribute in nodes.into_iter().flat_map(|node| node.attribute) {
        attribute.t.into_iter().chain(attribute.tensors).for_each(|tensor| of_tensor(tensor, names));
        attribute.g.into_iter().chain(attribute.graphs).for_each(|graph| of_graph(graph, names));
        let sparse = attribute.sparse_tensor.into_iter().chain(attribute.sparse_tensors);
        sparse.for_each(|tensor| of_sparse_tensor(tensor, names));
    }
}

fn of_sparse_tensor(tensor: OnnxSparseTensor, names: &mut BTreeSet<String>) {
    tensor.values.into_iter().chain(tensor.indices).for_each(|tensor| of_tensor(tensor, names));
}

fn of_tensor(tensor: OnnxTensor, names: &mut BTreeSet<String>) {
    let locations = tensor.external_data.into_iter().filter(|entry| entry.key.as_deref() == Some(LOCATION));
    names.extend(locations.filter_map(|entry| entry.value));
}

/// Returns an encoded graph that names an external data file.
#[cfg(test)]
pub fn graph_with(name: &str) -> Vec<u8> {
    let entry = OnnxEntry { key: Some(LOCATION.to_owned()), value: Some(name.to_owned()) };
    let tensor = OnnxTensor { external_data: vec![entry] };
    let graph = OnnxGraph { initializer: vec![tensor], ..Default::default() };
    OnnxModel { graph: Some(graph), ..Default::default() }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a field of a protobuf message: its tag with the wire type of bytes, the length and the bytes.
    fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
        let key = usize::from(tag) << 3 | 2;
        let varint = |number: usize| match number {
            0..0x80 => vec![u8::try_from(number).unwrap()],
            _ => vec![u8::try_from(number & 0x7F | 0x80).unwrap(), u8::try_from(number >> 7).unwrap()],
        };
        [varint(key), varint(bytes.len()), bytes.to_vec()].concat()
    }

    #[test]
    fn names_are_found_in_every_place_and_order() {
        let entry = |value_first: bool, name: &str| {
            let (key, value) = (field(1, b"location"), field(2, name.as_bytes()));
            field(13, &if value_first { [value, key].concat() } else { [key, value].concat() })
        };
        let other = field(13, &[field(1, b"offset"), field(2, b"4096")].concat());
        let initializer = field(5, &[other, entry(true, "value-first")].concat());
        let inner = field(1, &field(5, &field(5, &entry(false, "in-branch"))));
        let branch = field(1, &field(5, &field(6, &inner)));
        let attribute = field(1, &field(5, &field(10, &entry(false, "in-attribute"))));
        let sparse = field(15, &field(2, &entry(true, "sparse")));
        let function = field(25, &field(7, &field(5, &field(5, &entry(false, "in-function")))));
        let graph = field(7, &[initializer, branch, attribute, sparse].concat());
        let expected = ["in-attribute", "in-branch", "in-function", "sparse", "value-first"];
        assert_eq!(names(&[graph, function].concat()), expected.map(str::to_owned).into());
        // A name that only stands in a string is no name of a file.
        assert_eq!(names(&field(2, &entry(false, "in-a-string"))), BTreeSet::new());
        assert_eq!(names(b"no protobuf"), BTreeSet::new());
    }
}
