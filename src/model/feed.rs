//! Turns a batch into the input tensors of a graph.

use half::{bf16, f16};
use ndarray::{Array2, ArrayD, Axis};
use ort::session::SessionInputValue;
use ort::value::{DynValue, Tensor, TensorElementType};

use super::graph::{GraphInput, InputRole};
use crate::vector::batch::Batch;

/// The token ids that all texts begin with, and the keys and values that the model has computed for these ids.
pub(super) struct SharedPrefix {
    pub ids: Vec<u32>,
    /// The keys and values in the shape of [`InputRole::Past`].
    pub keys_and_values: DynValue,
}

/// The inputs for one run of a graph.
pub(super) struct ModelInput<'a> {
    /// Token ids `[batch, tokens]`, without the ids of the prefix.
    ids: Array2<i64>,
    mask: Array2<i64>,
    prefix: Option<&'a SharedPrefix>,
    /// The number of tokens for which the graph returns keys and values.
    kept: usize,
}

impl<'a> ModelInput<'a> {
    /// Makes the input for a batch. If every text begins with `prefix`, the keys and values of the prefix replace the tokens of
    /// the prefix. Also returns how many tokens of each text remain, padding excluded.
    pub fn of_batch(batch: &Batch, prefix: Option<&'a SharedPrefix>) -> (Self, Vec<usize>) {
        let prefix = prefix.filter(|prefix| batch.all_begin_with(&prefix.ids));
        let skipped = prefix.map_or(0, |prefix| prefix.ids.len());
        let after_prefix = |rows: Array2<i64>| rows.view().split_at(Axis(1), skipped).1.to_owned();
        let input =
            ModelInput { ids: after_prefix(batch.ids()), mask: after_prefix(batch.mask()), prefix, kept: 0 };
        (input, batch.lengths().iter().map(|length| length - skipped).collect())
    }

    /// Makes an input with only one text, which consists of these token ids. The graph returns the keys and values of all these
    /// tokens.
    pub fn of_prefix(ids: &[u32]) -> Self {
        let row = Array2::from_shape_fn((1, ids.len()), |(_, at)| i64::from(ids[at]));
        ModelInput { mask: Array2::ones(row.dim()), ids: row, prefix: None, kept: ids.len() }
    }

    /// Makes the smallest input: one text of one token.
    pub fn of_one_token() -> Self {
        ModelInput { ids: Array2::zeros((1, 1)), mask: Array2::ones((1, 1)), prefix: None, kept: 0 }
    }

    /// Returns the name and the tensor of each input of a graph.
    ///
    /// # Errors
    /// ONNX Runtime cannot make a tensor.
    pub fn tensors<'b>(
        &'b self,
        inputs: &'b [GraphInput],
    ) -> ort::Result<Vec<(&'b str, SessionInputValue<'b>)>> {
        inputs.iter().map(|input| Ok((input.name.as_str(), self.tensor(input)?))).collect()
    }

    fn tensor(&self, input: &GraphInput) -> ort::Result<SessionInputValue<'_>> {
        let (batch, tokens) = self.ids.dim();
        let integers = match input.role {
            InputRole::Ids => self.ids.clone().into_dyn(),
            InputRole::Mask => self.mask.clone().into_dyn(),
            InputRole::Positions => ArrayD::from_shape_fn(vec![batch, tokens], |at| at[1] as i64),
            InputRole::TokenTypes => ArrayD::zeros(vec![batch, tokens]),
            InputRole::Kept => ArrayD::from_elem(vec![1], self.kept as i64),
            InputRole::EmptyCache { heads, head_dim } => {
                return empty(vec![batch, heads, 0, head_dim], input.element);
            }
            InputRole::Past { tensors, width } => {
                return match self.prefix {
                    Some(prefix) => Ok((&prefix.keys_and_values).into()),
                    None => empty(vec![tensors, 0, width], input.element),
                };
            }
        };
        if input.element == TensorElementType::Int32 {
            #[allow(clippy::cast_possible_truncation)] // Token ids and positions are far below 2³¹.
            return Ok(Tensor::from_array(integers.mapv(|x| x as i32))?.into());
        }
        Ok(Tensor::from_array(integers)?.into())
    }
}

fn empty(shape: Vec<usize>, element: TensorElementType) -> ort::Result<SessionInputValue<'static>> {
    Ok(match element {
        TensorElementType::Float16 => Tensor::from_array(ArrayD::<f16>::zeros(shape))?.into(),
        TensorElementType::Bfloat16 => Tensor::from_array(ArrayD::<bf16>::zeros(shape))?.into(),
        _ => Tensor::from_array(ArrayD::<f32>::zeros(shape))?.into(),
    })
}
