//! The graph for ONNX Runtime's CUDA kernels. One operator turns queries and keys by their positions and computes attention; it
//! has a flash kernel.

use super::decoder::{Decoder, Dialect};
use crate::model::export::builder::Operator;
use crate::model::export::schema::tensor_proto::DataType;
use crate::model::export::weights::Architecture;

/// The operators of ONNX Runtime's CUDA kernels.
pub struct Cuda;

impl Dialect for Cuda {
    fn shapes(&mut self, decoder: &mut Decoder) -> anyhow::Result<()> {
        decoder.shapes(Self::UNPADS)?;
        let graph = &mut decoder.graph;
        let cast = || Operator::cast(DataType::Int32);
        graph.name("seqlens_k", cast(), &["last"]);
        let tokens = graph.add("Squeeze", &["tokens"]);
        graph.name("total", cast(), &[&tokens]);
        Ok(())
    }

    fn attend(
        &mut self,
        decoder: &mut Decoder,
        query: &str,
        key: &str,
        value: &str,
        _layer: usize,
    ) -> anyhow::Result<String> {
        let Architecture { heads, kv_heads, head_dim, .. } = *decoder.architecture;
        let flat = decoder.graph.add("Reshape", &[value, &format!("flat_{kv_heads}")]);
        decoder.describe_texts(&flat, &[kv_heads * head_dim]);
        let [cosines, sines] = decoder.rotary()?;
        let operator = Operator::contrib("GroupQueryAttention")
            .int("do_rotary", 1)
            .int("kv_num_heads", kv_heads as i64)
            .int("num_heads", heads as i64);
        // Two inputs are left out: there are no keys and values before the texts.
        let inputs = [query, key, &flat, "", "", "seqlens_k", "total", &cosines, &sines];
        Ok(decoder.graph.add_many(operator, &inputs, 3).swap_remove(0))
    }
}
