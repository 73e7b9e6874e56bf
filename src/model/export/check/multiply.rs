//! Multiplies matrices in fp32 with ONNX Runtime, which has the fastest kernels for every processor.

use anyhow::Context;
use ndarray::{Array2, Ix2};
use ort::environment::Environment;
use ort::inputs;
use ort::session::Session;
use ort::value::TensorRef;
use prost::Message;

use crate::model::export::builder::{Operator, Size, model, value_info};
use crate::model::export::schema::GraphProto;
use crate::model::export::schema::tensor_proto::DataType;

/// Multiplies matrices in fp32.
pub trait Multiply {
    /// Multiplies rows `[rows, in]` with a matrix `[out, in]`, and returns `[rows, out]`.
    ///
    /// # Errors
    /// ONNX Runtime failed.
    fn multiply(&mut self, rows: &Array2<f32>, matrix: &Array2<f32>) -> anyhow::Result<Array2<f32>>;
}

/// Multiplies matrices with ONNX Runtime.
pub struct Multiplier {
    session: Session,
}

impl Multiplier {
    /// Loads a graph with one product.
    ///
    /// # Errors
    /// ONNX Runtime failed.
    pub fn new(environment: &Environment, threads: usize) -> anyhow::Result<Self> {
        let info = |name: &'static str, first, second| {
            value_info(name, DataType::Float, &[Size::Named(first), Size::Named(second)])
        };
        let node = Operator::onnx("Gemm").int("transB", 1).node(
            &["rows", "matrix"],
            vec!["product".to_owned()],
            "product".to_owned(),
        );
        let graph = GraphProto {
            node: vec![node],
            name: Some("product".to_owned()),
            input: vec![info("rows", "rows", "in"), info("matrix", "out", "in")],
            output: vec![info("product", "rows", "out")],
            ..Default::default()
        };
        let load = || -> ort::Result<Session> {
            Session::builder(environment)?
                .with_intra_threads(threads)?
                .with_memory_pattern(false)?
                .commit_from_memory(&model(graph, &[]).encode_to_vec())
        };
        let session = load()?;
        Ok(Multiplier { session })
    }
}

impl Multiply for Multiplier {
    fn multiply(&mut self, rows: &Array2<f32>, matrix: &Array2<f32>) -> anyhow::Result<Array2<f32>> {
        let mut outputs = self.session.run(inputs! {
            "rows" => TensorRef::from_array_view(rows)?,
            "matrix" => TensorRef::from_array_view(matrix)?,
        })?;
        let product = outputs.remove("product").context("the product has no output")?;
        Ok(product.try_extract_array::<f32>()?.into_dimensionality::<Ix2>()?.to_owned())
    }
}
