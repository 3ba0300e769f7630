//! Checked access to tensors: shapes against what a decoder reads, before anything runs and on every frame.

use half::slice::HalfFloatSliceExt;

use super::PostError;
use crate::bundle::contract::{Activation, InputContract, Layout, OutputContract, Quantization};
use crate::engine::{DataType, Spec, Tensor, TensorData, TensorSpec};

/// A shape of which some lengths are decided at run time.
pub(super) type Shape = [Option<usize>];

/// `[1, ?, 84]`.
pub(super) fn shape_text(shape: &Shape) -> String {
    let dims: Vec<String> = shape.iter().map(|d| d.map_or_else(|| "?".into(), |d| d.to_string())).collect();
    format!("[{}]", dims.join(", "))
}

/// The element type's name.
pub(super) fn dtype_text(dtype: DataType) -> &'static str {
    match dtype {
        DataType::F32 => "f32",
        DataType::F16 => "f16",
        DataType::U8 => "u8",
        DataType::I8 => "i8",
        DataType::I32 => "i32",
        DataType::I64 => "i64",
    }
}

/// All tensors with type and shape, for error texts.
pub(super) fn list(tensors: &[TensorSpec]) -> String {
    if tensors.is_empty() {
        return "none".into();
    }
    let texts: Vec<String> =
        tensors.iter().map(|t| format!("`{}` {} {}", t.name, dtype_text(t.dtype), shape_text(&t.shape))).collect();
    texts.join(", ")
}

/// Takes leading dimensions off, as long as `is_one` holds for them, until `N` are left.
fn trim<T: Copy, const N: usize>(shape: &[T], is_one: impl Fn(T) -> bool) -> Option<[T; N]> {
    let (batch, rest) = shape.split_at_checked(shape.len().checked_sub(N)?)?;
    if !batch.iter().all(|d| is_one(*d)) {
        return None;
    }
    rest.try_into().ok()
}

/// The last `N` dimensions of a promised shape; `None` if it has fewer, or a leading one that cannot be 1.
pub(super) fn promised<const N: usize>(shape: &Shape) -> Option<[Option<usize>; N]> {
    trim(shape, |d| d.is_none_or(|d| d == 1))
}

/// Whether a promised length can be `expected`.
pub(super) fn may_be(promised: Option<usize>, expected: usize) -> bool {
    promised.is_none_or(|d| d == expected)
}

/// What a decoder says when a tensor's shape is not among those that it reads.
pub(super) struct Reader {
    /// The decoder's name.
    pub decoder: &'static str,
    /// The shapes that it reads.
    pub expected: String,
    /// What to do.
    pub fix: &'static str,
}

impl Reader {
    /// The error for a promised shape.
    pub(super) fn refuse(&self, tensor: &TensorSpec) -> PostError {
        self.error(&tensor.name, shape_text(&tensor.shape))
    }

    fn error(&self, tensor: &str, found: String) -> PostError {
        let (tensor, expected) = (tensor.to_owned(), self.expected.clone());
        PostError::Shape { decoder: self.decoder, tensor, found, expected, fix: self.fix }
    }

    /// The values of output `index` of a run and its last `N` dimensions, whose product is the number of values and
    /// which `accept` finds right.
    pub(super) fn read<'t, const N: usize>(
        &self,
        outputs: &'t [Tensor],
        index: usize,
        accept: impl Fn([usize; N]) -> bool,
    ) -> Result<([usize; N], &'t [f32]), PostError> {
        let (tensor, values) = self.values(outputs, index)?;
        match trim(&tensor.shape, |d| d == 1) {
            Some(dims) if accept(dims) => Ok((dims, values)),
            _ => Err(self.error(&tensor.name, format!("{:?}", tensor.shape))),
        }
    }

    /// The `len` values of output `index` of a run, whatever their dimensions.
    pub(super) fn read_flat<'t>(
        &self,
        outputs: &'t [Tensor],
        index: usize,
        len: usize,
    ) -> Result<&'t [f32], PostError> {
        let (tensor, values) = self.values(outputs, index)?;
        if values.len() != len {
            return Err(self.error(&tensor.name, format!("{:?}", tensor.shape)));
        }
        Ok(values)
    }

    /// An output of a run and its values, as many as its shape says.
    fn values<'t>(&self, outputs: &'t [Tensor], index: usize) -> Result<(&'t Tensor, &'t [f32]), PostError> {
        let tensor = outputs.get(index).ok_or_else(|| PostError::Missing {
            decoder: self.decoder,
            needs: "an output that the model promised and the run did not give",
            found: outputs.iter().map(|t| format!("`{}`", t.name)).collect::<Vec<_>>().join(", "),
        })?;
        let TensorData::F32(values) = &tensor.data else {
            return Err(not_float(self.decoder, &tensor.name, tensor.data.dtype()));
        };
        let needed = tensor.shape.iter().try_fold(1usize, |product, d| product.checked_mul(*d));
        if needed != Some(values.len()) {
            return Err(PostError::Length {
                tensor: tensor.name.clone(),
                shape: format!("{:?}", tensor.shape),
                found: values.len(),
                expected: needed.unwrap_or(usize::MAX),
            });
        }
        Ok((tensor, values))
    }
}

fn not_float(decoder: &'static str, tensor: &str, dtype: DataType) -> PostError {
    PostError::DataType { decoder, tensor: tensor.to_owned(), found: dtype_text(dtype) }
}

/// Refuses integers that the contract gives no meaning, where the values have a unit.
pub(super) fn check_float(output: &OutputContract, tensor: &TensorSpec) -> Result<(), PostError> {
    match tensor.dtype {
        DataType::F32 | DataType::F16 => Ok(()),
        _ if output.quantization.contains_key(&tensor.name) => Ok(()),
        dtype => Err(not_float(output.decoder.as_str(), &tensor.name, dtype)),
    }
}

/// What each output's integers stand for, in the graph's order.
pub(super) type Scales = Vec<Option<Quantization>>;

/// The contract's `quantization` by the outputs' places.
pub(super) fn scales(output: &OutputContract, spec: &Spec) -> Result<Scales, PostError> {
    if let Some(name) = output.quantization.keys().find(|name| spec.outputs.iter().all(|t| t.name != **name)) {
        let why = format!("the model has no output `{name}`; its outputs are {}", list(&spec.outputs));
        return Err(PostError::Contract { key: "quantization", why });
    }
    Ok(spec.outputs.iter().map(|t| output.quantization.get(&t.name).copied()).collect())
}

/// Refuses an activation that the decoder does not apply; `usual` stands for a contract that names none.
pub(super) fn activation(
    output: &OutputContract,
    usual: Activation,
    allowed: &[Activation],
) -> Result<Activation, PostError> {
    let wanted = output.activation.unwrap_or(usual);
    if allowed.contains(&wanted) {
        return Ok(wanted);
    }
    let name = |a: Activation| match a {
        Activation::None => "none",
        Activation::Sigmoid => "sigmoid",
        Activation::Softmax => "softmax",
    };
    let names: Vec<&str> = allowed.iter().map(|a| name(*a)).collect();
    let (decoder, wanted, names) = (output.decoder.as_str(), name(wanted), names.join(", "));
    Err(PostError::Contract {
        key: "activation",
        why: format!("decoder {decoder} does not apply {wanted}; remove the key or choose from: {names}"),
    })
}

/// Checks the model's picture input against the contract; its place among the inputs.
pub(super) fn check_input(input: &InputContract, spec: &Spec) -> Result<usize, PostError> {
    let (c, w, h) = (input.color.channels(), input.width as usize, input.height as usize);
    let expected = match input.layout {
        Layout::Nchw => [1, c, h, w],
        Layout::Nhwc => [1, h, w, c],
    };
    let error = |fix| PostError::Input { found: list(&spec.inputs), expected: format!("{expected:?}"), fix };
    let Some(place) = picture_input(spec) else {
        return Err(error("Only a model with one input that has the dimensions of a picture can be run"));
    };
    // With or without the batch.
    let dims = spec.inputs.get(place).and_then(|t| t.shape.last_chunk::<3>());
    let Some([a, b, d]) = dims.copied() else {
        return Err(error("Only a model whose input has the dimensions of a picture can be run"));
    };
    let (channels, rows, columns) = match input.layout {
        Layout::Nchw => (a, b, d),
        Layout::Nhwc => (d, a, b),
    };
    if !may_be(channels, c) {
        // With the other layout's order the channels would fit: that is the key to mend.
        let other = if input.layout == Layout::Nchw { d } else { a };
        return Err(error(if other == Some(c) { "Change `input.layout`" } else { "Change `input.color`" }));
    }
    if !(may_be(rows, h) && may_be(columns, w)) {
        return Err(error("Change `input.size`"));
    }
    Ok(place)
}

/// The model's promise for one picture of its batch: outputs with the fixed batch of the input have a batch of 1.
pub(super) fn of_one_picture(spec: &Spec, image: usize) -> Spec {
    let mut spec = spec.clone();
    let batch = spec.inputs.get(image).and_then(|t| if t.shape.len() == 4 { *t.shape.first()? } else { None });
    for first in spec.outputs.iter_mut().filter_map(|t| t.shape.first_mut()) {
        if batch.is_some() && *first == batch {
            *first = Some(1);
        }
    }
    spec
}

/// The place of the one input with the four dimensions of a picture, or with three where its batch is left out.
pub(super) fn picture_input(spec: &Spec) -> Option<usize> {
    let only = |rank: usize| {
        let mut pictures = spec.inputs.iter().enumerate().filter(|(_, t)| t.shape.len() == rank).map(|(i, _)| i);
        pictures.next().filter(|_| pictures.next().is_none())
    };
    only(4).or_else(|| only(3))
}

/// The values of picture `k` of a run of `batch` pictures, copied into `buffer` (reused from run to run): what a run of
/// that picture alone would have left.
pub(super) fn item<'a>(outputs: &[Tensor], k: usize, batch: usize, buffer: &'a mut Vec<Tensor>) -> &'a [Tensor] {
    buffer.resize_with(outputs.len(), || Tensor::from_f32("", &[0], Vec::new()));
    for (to, from) in buffer.iter_mut().zip(outputs) {
        to.name.clone_from(&from.name);
        to.shape.clone_from(&from.shape);
        let part = match to.shape.first_mut() {
            Some(first) if *first == batch => {
                *first = 1;
                let len = from.data.len() / batch.max(1);
                k * len..(k + 1) * len
            }
            // An output that is not one for each picture.
            _ => 0..from.data.len(),
        };
        to.data.copy_part(&from.data, part);
    }
    buffer
}

/// The outputs as f32: themselves, or converted into `buffer` (reused from frame to frame), integers by their scale.
pub(super) fn as_floats<'a>(
    outputs: &'a [Tensor],
    scales: &[Option<Quantization>],
    buffer: &'a mut Vec<Tensor>,
) -> &'a [Tensor] {
    if outputs.iter().all(|t| matches!(t.data, TensorData::F32(_))) {
        return outputs;
    }
    buffer.resize_with(outputs.len(), || Tensor::from_f32("", &[0], Vec::new()));
    for (i, (to, from)) in buffer.iter_mut().zip(outputs).enumerate() {
        to.name.clone_from(&from.name);
        to.shape.clone_from(&from.shape);
        convert(&from.data, &mut to.data);
        if let (Some(Some(q)), TensorData::F32(values)) = (scales.get(i), &mut to.data) {
            let zero = q.zero_point as f32;
            values.iter_mut().for_each(|v| *v = (*v - zero) * q.scale);
        }
    }
    buffer
}

/// Converts values to f32, in place where the target has room.
fn convert(from: &TensorData, to: &mut TensorData) {
    if !matches!(to, TensorData::F32(_)) {
        *to = TensorData::F32(Vec::new().into());
    }
    let TensorData::F32(values) = to else { return };
    values.clear();
    match from {
        TensorData::F32(v) => values.extend_from_slice(v),
        TensorData::F16(v) => {
            values.resize(v.len(), 0.0);
            v.convert_to_f32_slice(values);
        }
        TensorData::U8(v) => values.extend(v.iter().map(|x| f32::from(*x))),
        TensorData::I8(v) => values.extend(v.iter().map(|x| f32::from(*x))),
        TensorData::I32(v) => values.extend(v.iter().map(|x| *x as f32)),
        TensorData::I64(v) => values.extend(v.iter().map(|x| *x as f32)),
    }
}

/// The largest value of a row; NaN if any value is not finite, negative infinity if there is none.
pub(super) fn peak(row: &[f32]) -> f32 {
    const LANES: usize = 8;
    let (mut best, mut poison) = ([f32::NEG_INFINITY; LANES], [0.0f32; LANES]);
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for ((best, poison), v) in best.iter_mut().zip(&mut poison).zip(chunk) {
            *best = if *v > *best { *v } else { *best };
            // 0 for a finite value, NaN for any other.
            *poison += *v * 0.0;
        }
    }
    for ((best, poison), v) in best.iter_mut().zip(&mut poison).zip(rest) {
        *best = if *v > *best { *v } else { *best };
        *poison += *v * 0.0;
    }
    let poison: f32 = poison.iter().sum();
    best.iter().copied().fold(f32::NEG_INFINITY, f32::max) + poison
}

/// Where `value` stands first in a row; 0 if it does not (a NaN, which the guard drops).
pub(super) fn position(row: impl IntoIterator<Item = f32>, value: f32) -> u32 {
    row.into_iter().position(|v| v == value).unwrap_or(0) as u32
}

/// The logistic function.
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    #[test]
    fn peak_is_the_maximum_and_poisoned_by_anything_not_finite() {
        for len in 1..40 {
            let mut row: Vec<f32> = (0..len).map(|i| (i as f32 * 7.0) % 11.0 - 20.0).collect();
            let expected = row.iter().copied().fold(f32::MIN, f32::max);
            assert_eq!(peak(&row), expected);
            assert_eq!(row[position(row.iter().copied(), expected) as usize], expected);
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                row[len / 2] = bad;
                assert!(peak(&row).is_nan());
            }
        }
        assert_eq!(peak(&[]), f32::NEG_INFINITY);
    }

    #[test]
    fn every_type_becomes_f32_and_the_buffer_is_reused() {
        let outputs = [
            Tensor {
                name: "a".into(),
                shape: vec![2],
                data: TensorData::F16(vec![f16::from_f32(0.5), f16::NAN].into()),
            },
            Tensor { name: "b".into(), shape: vec![1], data: TensorData::I64(vec![-3].into()) },
            Tensor::from_f32("c", &[1], vec![0.25]),
        ];
        let mut buffer = Vec::new();
        for _ in 0..2 {
            let floats = as_floats(&outputs, &[], &mut buffer);
            let TensorData::F32(a) = &floats[0].data else { panic!("not f32") };
            assert!(a[0] == 0.5 && a[1].is_nan());
            assert_eq!(floats[1].data, TensorData::F32(vec![-3.0].into()));
            assert_eq!(floats[2], outputs[2]);
        }
        assert_eq!(buffer.len(), 3);
    }

    #[test]
    fn integers_stand_for_what_their_scale_says() {
        let data = TensorData::U8(vec![10, 12, 255].into());
        let outputs = [Tensor { name: "a".into(), shape: vec![1, 3], data }];
        let scales = [Some(Quantization { scale: 0.5, zero_point: 10 })];
        let mut buffer = Vec::new();
        assert_eq!(as_floats(&outputs, &scales, &mut buffer)[0].data, TensorData::F32(vec![0.0, 1.0, 122.5].into()));
        let mut contract = OutputContract::new(crate::bundle::contract::DecoderKind::Yolov8);
        let spec = TensorSpec { name: "a".into(), dtype: DataType::U8, shape: vec![Some(1), Some(3)] };
        assert!(check_float(&contract, &spec).is_err());
        contract.quantization.insert("a".into(), Quantization { scale: 0.5, zero_point: 10 });
        assert_eq!(check_float(&contract, &spec), Ok(()));
        let spec = Spec { outputs: vec![TensorSpec { name: "b".into(), ..spec }], ..Spec::default() };
        let text = scales_error(&contract, &spec);
        assert!(text.starts_with("`output.quantization`: the model has no output `a`"), "{text}");
    }

    fn scales_error(contract: &OutputContract, spec: &Spec) -> String {
        scales(contract, spec).unwrap_err().to_string()
    }

    #[test]
    fn a_fixed_batch_is_promised_picture_by_picture() {
        let tensor = |name: &str, shape: &[usize]| TensorSpec {
            name: name.into(),
            dtype: DataType::F32,
            shape: shape.iter().map(|d| Some(*d)).collect(),
        };
        let spec = Spec {
            inputs: vec![tensor("images", &[4, 3, 8, 8])],
            outputs: vec![tensor("boxes", &[4, 84, 21]), tensor("constant", &[3])],
            ..Spec::default()
        };
        let one = of_one_picture(&spec, 0);
        assert_eq!(one.outputs, [tensor("boxes", &[1, 84, 21]), tensor("constant", &[3])]);
    }

    #[test]
    fn a_picture_of_a_batch_is_what_a_run_of_it_alone_leaves() {
        let outputs = [
            Tensor::from_f32("a", &[2, 1, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            Tensor { name: "count".into(), shape: vec![2], data: TensorData::I32(vec![7, 8].into()) },
            Tensor::from_f32("constant", &[3], vec![7.0, 8.0, 9.0]),
        ];
        let mut buffer = Vec::new();
        let second = item(&outputs, 1, 2, &mut buffer);
        assert_eq!(second[0], Tensor::from_f32("a", &[1, 1, 3], vec![4.0, 5.0, 6.0]));
        assert_eq!((second[1].shape.as_slice(), &second[1].data), (&[1][..], &TensorData::I32(vec![8].into())));
        assert_eq!(second[2], outputs[2]);
    }

    #[test]
    fn leading_ones_are_taken_off() {
        assert_eq!(promised::<2>(&[Some(1), Some(84), None]), Some([Some(84), None]));
        assert_eq!(promised::<2>(&[None, Some(84), Some(9)]), Some([Some(84), Some(9)]));
        assert_eq!(promised::<2>(&[Some(84), Some(9)]), Some([Some(84), Some(9)]));
        assert_eq!(promised::<2>(&[Some(2), Some(84), Some(9)]), None);
        assert_eq!(promised::<2>(&[Some(9)]), None);
    }
}
