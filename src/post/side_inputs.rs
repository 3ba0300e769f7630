//! Inputs beside the picture: the size that boxes are to be given in, or the factor that the picture was resized by.
//!
//! They are filled once with what makes the model answer in pixels of its own input; the way back to the frame is
//! [`Geometry`](crate::pre::geometry::Geometry)'s. Sources: RT-DETR `tools/export_onnx.py` (`orig_target_sizes`: width,
//! height), PaddleDetection `deploy/README` (`im_shape`: height, width; `scale_factor`: height, width), YOLOv3
//! of the ONNX model zoo (`image_shape`: height, width).

use super::{PostError, view};
use crate::bundle::contract::InputContract;
use crate::engine::{Io, Spec, TensorData, TensorSpec};

/// An input beside the picture and the two values that it takes for each picture.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SideInput {
    index: usize,
    values: [f32; 2],
}

/// Finds what goes into the inputs other than `image`.
///
/// # Errors
/// [`PostError::Input`] if one of them is not known.
pub(super) fn find(input: &InputContract, spec: &Spec, image: usize) -> Result<Vec<SideInput>, PostError> {
    let others = spec.inputs.iter().enumerate().filter(|(i, _)| *i != image);
    others
        .map(|(index, tensor)| {
            let values = values(tensor, input).ok_or_else(|| PostError::Input {
                found: view::list(&spec.inputs),
                expected: format!("of one picture, {}x{}", input.width, input.height),
                fix: "Beside it only the inputs orig_target_sizes, im_shape, image_shape and scale_factor are known: \
                      export the model without others",
            })?;
            Ok(SideInput { index, values })
        })
        .collect()
}

/// What an input of two values takes, told by its name.
fn values(tensor: &TensorSpec, input: &InputContract) -> Option<[f32; 2]> {
    let (w, h) = (input.width as f32, input.height as f32);
    if !matches!(tensor.shape.as_slice(), [.., last] if view::may_be(*last, 2)) || tensor.shape.len() > 2 {
        return None;
    }
    match tensor.name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_' || c == '.') {
        "orig_target_sizes" | "orig_target_size" | "target_sizes" => Some([w, h]),
        "im_shape" | "image_shape" | "img_shape" => Some([h, w]),
        "scale_factor" => Some([1.0, 1.0]),
        _ => None,
    }
}

impl SideInput {
    /// Writes the values for each of `batch` pictures.
    pub(super) fn fill(&self, io: &mut Io, batch: usize) {
        let Some(tensor) = io.inputs.get_mut(self.index) else { return };
        let numbers: Vec<f32> = std::iter::repeat_n(self.values, batch.max(1)).flatten().collect();
        tensor.shape = if tensor.shape.len() == 1 { vec![numbers.len()] } else { vec![batch.max(1), 2] };
        // In the memory that they have: it may be shared with the engine's process.
        tensor.data.resize(0);
        match &mut tensor.data {
            TensorData::F32(v) => v.extend_from_slice(&numbers),
            TensorData::F16(v) => v.extend(numbers.iter().map(|n| half::f16::from_f32(*n))),
            TensorData::I32(v) => v.extend(numbers.iter().map(|n| *n as i32)),
            TensorData::I64(v) => v.extend(numbers.iter().map(|n| *n as i64)),
            // A size does not fit into a byte.
            TensorData::U8(_) | TensorData::I8(_) => tensor.data.resize(numbers.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::DataType;
    use crate::post::tests::{input, tensor};

    fn spec(name: &str, dtype: DataType, shape: &[Option<usize>]) -> Spec {
        let image = tensor("images", DataType::F32, &[None; 4]);
        Spec { inputs: vec![image, tensor(name, dtype, shape)], ..Spec::default() }
    }

    #[test]
    fn the_size_is_given_in_the_order_of_each_family() {
        let of = |name: &str, dtype| {
            let spec = spec(name, dtype, &[None, Some(2)]);
            let sides = find(&input(640, 480), &spec, 0).unwrap();
            let mut io = Io::new(&spec, &[]);
            sides.iter().for_each(|side| side.fill(&mut io, 2));
            assert_eq!(io.inputs[1].shape, [2, 2]);
            io.inputs[1].data.clone()
        };
        assert_eq!(of("orig_target_sizes", DataType::I64), TensorData::I64(vec![640, 480, 640, 480].into()));
        assert_eq!(of("im_shape", DataType::F32), TensorData::F32(vec![480.0, 640.0, 480.0, 640.0].into()));
        assert_eq!(of("scale_factor", DataType::F32), TensorData::F32(vec![1.0; 4].into()));
    }

    #[test]
    fn an_input_that_nobody_knows_is_told() {
        for (name, shape) in [("prompt", &[Some(1), Some(2)][..]), ("im_shape", &[Some(1), Some(3)])] {
            let text = find(&input(64, 64), &spec(name, DataType::F32, shape), 0).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains("export the model without others"), "{text}");
        }
    }
}
