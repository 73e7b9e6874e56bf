//! Builds an ONNX graph, node by node. Large tensors are written to the data file at once and are not kept in memory. Only this
//! module and the generated schema use the crate prost.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use anyhow::{Context, ensure};
use half::{bf16, f16};
use prost::Message;
use rayon::prelude::*;

use super::schema::attribute_proto::AttributeType;
use super::schema::tensor_proto::{DataLocation, DataType};
use super::schema::tensor_shape_proto::{Dimension, dimension};
use super::schema::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use super::stage::StagedFile;
use crate::interrupt;

/// The version of ONNX's operators. Version 23 is the first with `Attention` and `RotaryEmbedding`.
const OPSET: i64 = 23;

/// The version of ONNX's file format.
const IR_VERSION: i64 = 10;

/// The domain of ONNX Runtime's own operators.
const MICROSOFT: &str = "com.microsoft";

/// Tensors of at least this many bytes are in the data file.
const EXTERNAL_FROM: usize = 1024;

/// The alignment of tensors in the data file, in bytes. A page of memory, so that a tensor can be mapped.
const ALIGNMENT: u64 = 4096;

/// Numbers per block when a tensor is turned into bytes by several threads.
const BLOCK: usize = 1 << 14;

/// An operator with its attributes.
#[derive(Debug, Clone)]
pub struct Operator {
    name: &'static str,
    domain: &'static str,
    attributes: Vec<AttributeProto>,
}

impl Operator {
    /// Returns an operator of ONNX.
    pub fn onnx(name: &'static str) -> Self {
        Operator { name, domain: "", attributes: Vec::new() }
    }

    /// Returns an operator that only ONNX Runtime has.
    pub fn contrib(name: &'static str) -> Self {
        Operator { domain: MICROSOFT, ..Operator::onnx(name) }
    }

    /// Returns the operator that converts numbers to another type.
    pub fn cast(kind: DataType) -> Self {
        Operator::onnx("Cast").int("to", i32::from(kind).into())
    }

    pub fn int(self, name: &str, value: i64) -> Self {
        self.with(name, AttributeType::Int, |attribute| attribute.i = Some(value))
    }

    pub fn float(self, name: &str, value: f32) -> Self {
        self.with(name, AttributeType::Float, |attribute| attribute.f = Some(value))
    }

    pub fn ints(self, name: &str, values: &[i64]) -> Self {
        self.with(name, AttributeType::Ints, |attribute| attribute.ints = values.to_vec())
    }

    fn graph(self, name: &str, graph: GraphProto) -> Self {
        self.with(name, AttributeType::Graph, |attribute| attribute.g = Some(graph))
    }

    fn with(mut self, name: &str, kind: AttributeType, set: impl FnOnce(&mut AttributeProto)) -> Self {
        let mut attribute =
            AttributeProto { name: Some(name.to_owned()), r#type: Some(kind.into()), ..Default::default() };
        set(&mut attribute);
        self.attributes.push(attribute);
        self
    }

    /// Returns a node with this operator.
    pub fn node(self, inputs: &[&str], outputs: Vec<String>, name: String) -> NodeProto {
        NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: outputs,
            name: Some(name),
            op_type: Some(self.name.to_owned()),
            domain: Some(self.domain.to_owned()),
            attribute: self.attributes,
            ..Default::default()
        }
    }
}

impl From<&'static str> for Operator {
    fn from(name: &'static str) -> Self {
        Operator::onnx(name)
    }
}

/// A tensor of constants.
#[derive(Debug)]
pub struct Tensor {
    kind: DataType,
    shape: Vec<usize>,
    /// The numbers in little-endian order.
    bytes: Vec<u8>,
}

/// A type of numbers in a tensor.
pub trait Number: Copy + Sync {
    const KIND: DataType;

    /// Appends numbers as little-endian bytes.
    fn write(values: &[Self], bytes: &mut Vec<u8>);
}

fn write_numbers<T: Copy + Sync, const N: usize>(
    values: &[T],
    bytes: &mut Vec<u8>,
    number: impl Fn(T) -> [u8; N] + Sync,
) {
    let start = bytes.len();
    bytes.resize(start + values.len() * N, 0);
    bytes[start..].par_chunks_mut(BLOCK * N).zip(values.par_chunks(BLOCK)).for_each(|(bytes, values)| {
        for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
            *bytes = number(*value);
        }
    });
}

macro_rules! number {
    ($type:ty, $kind:ident) => {
        impl Number for $type {
            const KIND: DataType = DataType::$kind;

            fn write(values: &[Self], bytes: &mut Vec<u8>) {
                write_numbers(values, bytes, <$type>::to_le_bytes);
            }
        }
    };
}

number!(f32, Float);
number!(f16, Float16);
number!(bf16, Bfloat16);
number!(i8, Int8);
number!(u8, Uint8);
number!(i64, Int64);

impl Tensor {
    /// Makes a tensor of a shape.
    pub fn new<T: Number>(shape: &[usize], values: &[T]) -> Self {
        let mut bytes = Vec::new();
        T::write(values, &mut bytes);
        Tensor { kind: T::KIND, shape: shape.to_vec(), bytes }
    }

    /// Makes a tensor without dimensions.
    pub fn scalar<T: Number>(value: T) -> Self {
        Tensor::new(&[], &[value])
    }
}

/// A graph under construction. Inside [`Graph::choose`], nodes are added to a branch; constants belong to the whole graph.
pub struct Graph<'a> {
    /// The whole graph, and each branch that is under construction.
    scopes: Vec<Scope>,
    initializers: Vec<TensorProto>,
    names: HashSet<String>,
    /// The number of nodes that have been named.
    count: usize,
    data: DataFile<'a>,
}

/// The nodes of a graph or of a branch, and descriptions of outputs of these nodes.
#[derive(Default)]
struct Scope {
    nodes: Vec<NodeProto>,
    infos: Vec<ValueInfoProto>,
}

impl<'a> Graph<'a> {
    /// Begins a graph, and creates its data file.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn new(data: &'a StagedFile) -> anyhow::Result<Self> {
        Ok(Graph {
            scopes: vec![Scope::default()],
            initializers: Vec::new(),
            names: HashSet::new(),
            count: 0,
            data: DataFile::create(data)?,
        })
    }

    /// Adds a node with one output, and returns the name of the output.
    pub fn add(&mut self, operator: impl Into<Operator>, inputs: &[&str]) -> String {
        let operator = operator.into();
        let name = self.next_name(operator.name);
        self.push(operator.node(inputs, vec![name.clone()], name.clone()));
        name
    }

    /// Adds a node with several outputs, and returns the names of the outputs.
    pub fn add_many(
        &mut self,
        operator: impl Into<Operator>,
        inputs: &[&str],
        outputs: usize,
    ) -> Vec<String> {
        let operator = operator.into();
        let name = self.next_name(operator.name);
        let outputs: Vec<String> = (0..outputs).map(|number| format!("{name}_{number}")).collect();
        self.push(operator.node(inputs, outputs.clone(), name));
        outputs
    }

    /// Adds a node whose output has a name that other parts of the graph refer to.
    pub fn name(&mut self, name: &str, operator: impl Into<Operator>, inputs: &[&str]) {
        let node = operator.into().node(inputs, vec![name.to_owned()], name.to_owned());
        self.push(node);
    }

    /// Adds a node that gives a tensor another shape, at most one of whose sizes is not fixed.
    ///
    /// # Errors
    /// The errors of [`Graph::constant`].
    pub fn reshape(&mut self, tensor: &str, kind: DataType, shape: &[Size]) -> anyhow::Result<String> {
        let target = self.integers(&sizes(shape))?;
        let reshaped = self.add("Reshape", &[tensor, &target]);
        self.describe(&reshaped, kind, shape);
        Ok(reshaped)
    }

    /// Describes an output of a node whose sizes ONNX Runtime cannot infer. ONNX Runtime uses the memory of a tensor for a later one
    /// if both are known to have the same size. When it loads the graph, it compares each output with all earlier ones that nothing
    /// was found for, so unknown sizes make loading take the square of the number of nodes.
    pub fn describe(&mut self, name: &str, kind: DataType, shape: &[Size]) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.infos.push(value_info(name, kind, shape));
        }
    }

    /// Adds two branches. At run time, the condition chooses the branch that is computed. Each function adds the nodes of its
    /// branch and returns the names of the outputs; both have the same number of outputs.
    ///
    /// # Errors
    /// The errors of the two functions.
    pub fn choose(
        &mut self,
        condition: &str,
        then: impl FnOnce(&mut Graph<'a>) -> anyhow::Result<Vec<String>>,
        otherwise: impl FnOnce(&mut Graph<'a>) -> anyhow::Result<Vec<String>>,
    ) -> anyhow::Result<Vec<String>> {
        let then = self.branch("then", then)?;
        let otherwise = self.branch("else", otherwise)?;
        let outputs = then.output.len();
        let operator = Operator::onnx("If").graph("else_branch", otherwise).graph("then_branch", then);
        Ok(match outputs {
            1 => vec![self.add(operator, &[condition])],
            _ => self.add_many(operator, &[condition], outputs),
        })
    }

    fn branch(
        &mut self,
        name: &str,
        build: impl FnOnce(&mut Graph<'a>) -> anyhow::Result<Vec<String>>,
    ) -> anyhow::Result<GraphProto> {
        self.scopes.push(Scope::default());
        let outputs = build(self)?;
        let Scope { nodes, infos } = self.scopes.pop().unwrap_or_default();
        let output =
            outputs.into_iter().map(|name| ValueInfoProto { name: Some(name), ..Default::default() });
        Ok(GraphProto {
            node: nodes,
            value_info: infos,
            name: Some(format!("{name}_{}", self.count)),
            output: output.collect(),
            ..Default::default()
        })
    }

    /// Returns whether the graph has a constant of this name.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Adds a constant, unless the graph has a constant of this name, and returns the name.
    ///
    /// # Errors
    /// The data file cannot be written, or a signal has arrived.
    pub fn constant(&mut self, name: &str, tensor: Tensor) -> anyhow::Result<String> {
        if self.has(name) {
            return Ok(name.to_owned());
        }
        let Tensor { kind, shape, bytes } = tensor;
        if bytes.len() < EXTERNAL_FROM {
            let mut tensor = initializer(name, kind, &shape);
            tensor.raw_data = Some(bytes);
            self.add_initializer(tensor);
            return Ok(name.to_owned());
        }
        self.constant_in_parts(name, &shape, [Ok(Tensor { kind, shape: shape.clone(), bytes })])
    }

    /// Adds a constant of the data file whose parts come one after the other.
    ///
    /// # Errors
    /// A part is an error, the data file cannot be written, or a signal has arrived.
    pub fn constant_in_parts(
        &mut self,
        name: &str,
        shape: &[usize],
        parts: impl IntoIterator<Item = anyhow::Result<Tensor>>,
    ) -> anyhow::Result<String> {
        let (mut kind, mut count) = (DataType::Undefined, 0);
        let offset = self.data.align()?;
        for part in parts {
            interrupt::check()?;
            let part = part?;
            kind = part.kind;
            count += part.shape.iter().product::<usize>();
            self.data.write(&part.bytes)?;
        }
        debug_assert_eq!(count, shape.iter().product::<usize>());
        let mut tensor = initializer(name, kind, shape);
        tensor.data_location = Some(DataLocation::External.into());
        tensor.external_data = vec![
            entry("location", &self.data.staged.name()),
            entry("offset", &offset.to_string()),
            entry("length", &(self.data.length - offset).to_string()),
        ];
        self.add_initializer(tensor);
        Ok(name.to_owned())
    }

    /// Adds a constant vector of integers.
    ///
    /// # Errors
    /// The errors of [`Graph::constant`].
    pub fn integers(&mut self, values: &[i64]) -> anyhow::Result<String> {
        let names: Vec<String> = values.iter().map(i64::to_string).collect();
        self.constant(&format!("integers_{}", names.join("_")), Tensor::new(&[values.len()], values))
    }

    /// Adds a constant number. In the graph the number has 32 bits.
    ///
    /// # Errors
    /// The errors of [`Graph::constant`].
    #[allow(clippy::cast_possible_truncation)] // Rounding to 32 bits is what the graph needs.
    pub fn number(&mut self, value: f64) -> anyhow::Result<String> {
        self.constant(&format!("number_{value:?}"), Tensor::scalar(value as f32))
    }

    /// Ends the graph. Flushes the data file to disk, and returns the bytes of the graph file and the size of the data file in
    /// bytes.
    ///
    /// # Errors
    /// The data file cannot be flushed, or a branch is not complete.
    pub fn finish(
        mut self,
        name: &str,
        inputs: Vec<ValueInfoProto>,
        outputs: Vec<ValueInfoProto>,
        metadata: &[(&str, String)],
    ) -> anyhow::Result<(Vec<u8>, u64)> {
        let bytes = self.data.finish()?;
        let Scope { nodes, infos } = self.scopes.pop().context("the graph has no nodes")?;
        ensure!(self.scopes.is_empty(), "a branch of the graph is not complete");
        let graph = GraphProto {
            node: nodes,
            value_info: infos,
            name: Some(name.to_owned()),
            initializer: self.initializers,
            input: inputs,
            output: outputs,
            ..Default::default()
        };
        Ok((model(graph, metadata).encode_to_vec(), bytes))
    }

    fn next_name(&mut self, kind: &str) -> String {
        self.count += 1;
        format!("{kind}_{}", self.count)
    }

    fn push(&mut self, node: NodeProto) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.nodes.push(node);
        }
    }

    fn add_initializer(&mut self, tensor: TensorProto) {
        self.names.extend(tensor.name.clone());
        self.initializers.push(tensor);
    }
}

/// Returns a model with a graph and metadata.
pub fn model(graph: GraphProto, metadata: &[(&str, String)]) -> ModelProto {
    let opset = |domain: &str, version| OperatorSetIdProto {
        domain: Some(domain.to_owned()),
        version: Some(version),
    };
    ModelProto {
        ir_version: Some(IR_VERSION),
        opset_import: vec![opset("", OPSET), opset(MICROSOFT, 1)],
        producer_name: Some("qwen3-index".to_owned()),
        graph: Some(graph),
        metadata_props: metadata.iter().map(|(key, value)| entry(key, value)).collect(),
        ..Default::default()
    }
}

fn initializer(name: &str, kind: DataType, shape: &[usize]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(kind.into()),
        dims: shape.iter().map(|&size| size as i64).collect(),
        ..Default::default()
    }
}

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) }
}

/// A dimension of a tensor in the graph.
#[derive(Debug, Clone, Copy)]
pub enum Size {
    Fixed(usize),
    /// A size that only the run knows. Dimensions of the same name have the same size.
    Named(&'static str),
}

/// Returns the sizes as `Reshape` takes them.
pub fn sizes(shape: &[Size]) -> Vec<i64> {
    shape.iter().map(|size| if let Size::Fixed(size) = *size { size as i64 } else { -1 }).collect()
}

/// Describes a tensor in the graph.
pub fn value_info(name: &str, kind: DataType, shape: &[Size]) -> ValueInfoProto {
    let dim = shape.iter().map(|size| {
        let value = match *size {
            Size::Fixed(size) => dimension::Value::DimValue(size as i64),
            Size::Named(name) => dimension::Value::DimParam(name.to_owned()),
        };
        Dimension { value: Some(value), ..Default::default() }
    });
    let shape = TensorShapeProto { dim: dim.collect() };
    let tensor = type_proto::Tensor { elem_type: Some(kind.into()), shape: Some(shape) };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(kind), ..Default::default() }
}

/// The file with the large tensors.
struct DataFile<'a> {
    staged: &'a StagedFile,
    file: File,
    length: u64,
}

impl<'a> DataFile<'a> {
    fn create(staged: &'a StagedFile) -> anyhow::Result<Self> {
        let file = File::create(&staged.path).map_err(|e| staged.cannot_write(&e))?;
        Ok(DataFile { staged, file, length: 0 })
    }

    /// Skips to the next page, and returns the place.
    fn align(&mut self) -> anyhow::Result<u64> {
        self.length = self.length.next_multiple_of(ALIGNMENT);
        self.file.seek(SeekFrom::Start(self.length)).map_err(|e| self.staged.cannot_write(&e))?;
        Ok(self.length)
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.file.write_all(bytes).map_err(|e| self.staged.cannot_write(&e))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Flushes the file to disk, and returns its length.
    fn finish(self) -> anyhow::Result<u64> {
        self.file.sync_all().map_err(|e| self.staged.cannot_write(&e))?;
        Ok(self.length)
    }
}
