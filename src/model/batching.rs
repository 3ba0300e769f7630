//! Whether an engine's users share runs: measured when it is loaded, with pictures of noise.

use std::sync::Arc;
use std::time::{Duration, Instant};

use half::f16;

use super::warm::WarmUp;
use super::{MAX_BATCH, MAX_BATCH_VALUES};
use crate::engine::gather::{Gather, Step, measure};
use crate::engine::options::Background;
use crate::engine::{Engine, EngineError, Io, Spec, Tensor, TensorData};

/// Most time to measure in. Larger runs are not tried where it would take longer: a run that takes so long already would delay
/// frames even more with others in it.
const BUDGET: Duration = Duration::from_secs(2);
/// Most time to measure one size in; one measurement is always made.
const STEP: Duration = Duration::from_millis(300);
/// Most measurements of one size. The least time counts: whatever else the machine does makes runs longer and never
/// shorter.
const ROUNDS: usize = 7;
/// How much longer a run may take after one of another size.
const CHANGE: u32 = 3;
/// Pictures that differ from each other. Three, so that no run of 2, 4, … can have them in another order unnoticed.
const PICTURES: usize = 3;
/// How far answers of a shared run may lie from those of single runs, relative and absolute. Runtimes add up in another order
/// when there is more to add, and who rounds products to 11 bits (TF32, TensorRT's default) does it in an order of its own, which
/// is some 1e-4 of the values. In 16-bit floats one step is 5e-4 to 1e-3 by itself.
const TOLERANCE: f32 = 1e-3;
const TOLERANCE_F16: f32 = 1e-2;

/// `engine`, with shared runs if it takes any number of pictures and that pays. `most` pictures at most go into one run, 0 for as
/// many as pay. `picture` is the shape of its picture input, if that is known and the model leaves it open.
///
/// # Errors
/// [`EngineError::Late`] and [`EngineError::Cancelled`] as for other first runs, and what says that the engine is dead. A
/// model that fails on the pictures for another reason is left to those who know its contract.
pub(super) fn gather(
    engine: Arc<dyn Engine>,
    most: usize,
    picture: Option<[usize; 4]>,
    background: Option<&Background>,
) -> Result<Arc<dyn Engine>, EngineError> {
    let Some(shapes) = shapes(engine.spec(), picture) else { return Ok(engine) };
    let values = shapes.iter().map(|shape| shape.iter().product::<usize>()).max().unwrap_or(0);
    let most = if most == 0 { MAX_BATCH } else { most.min(MAX_BATCH) };
    let most = most.min(MAX_BATCH_VALUES / values.max(1));
    if most < 2 {
        return Ok(engine);
    }
    let warm_up = WarmUp::on(&engine, background)?;
    let mut bench = Bench { engine: &engine, warm_up, shapes, singles: Vec::new(), begun: Instant::now() };
    let measured = bench.single(0).and_then(|()| measure(most, |size| bench.step(size)));
    let measured = match measured {
        Ok(measured) => measured,
        Err(error) if is_fatal(&error) => return Err(error),
        Err(_) => return Ok(engine),
    };
    let Some((one, _)) = bench.singles.into_iter().next() else { return Ok(engine) };
    Ok(Arc::new(Gather::new(engine, measured, &one)))
}

/// Whether the engine cannot be used any more, or is not wanted.
fn is_fatal(error: &EngineError) -> bool {
    use EngineError::{Cancelled, Crashed, Late, Restarting};
    matches!(error, Late(_) | Cancelled | Crashed(_) | Restarting(_))
}

/// The shapes of one picture's inputs; `None` if the first dimension of any tensor is not free, or another one of an input is
/// not known.
fn shapes(spec: &Spec, picture: Option<[usize; 4]>) -> Option<Vec<Vec<usize>>> {
    let is_free = |shape: &Vec<Option<usize>>| shape.first() == Some(&None);
    if !spec.inputs.iter().chain(&spec.outputs).all(|tensor| is_free(&tensor.shape)) {
        return None;
    }
    let known = |shape: &Vec<Option<usize>>| {
        let given = picture.filter(|given| given.len() == shape.len());
        let side = |at: usize| shape.get(at).copied().flatten().or_else(|| given?.get(at).copied());
        (0..shape.len()).map(|at| if at == 0 { Some(1) } else { side(at) }).collect::<Option<Vec<_>>>()
    };
    spec.inputs.iter().map(|tensor| known(&tensor.shape)).collect()
}

/// An engine that is measured.
struct Bench<'a> {
    engine: &'a Arc<dyn Engine>,
    warm_up: WarmUp,
    shapes: Vec<Vec<usize>>,
    /// Tensors of runs of one picture each, with the answers, and how long the runs took.
    singles: Vec<(Io, Duration)>,
    begun: Instant,
}

impl Bench<'_> {
    /// Tensors with `count` pictures.
    fn io(&self, first: usize, count: usize) -> Io {
        let shapes: Vec<Vec<usize>> =
            self.shapes.iter().map(|one| [&[count], one.get(1..).unwrap_or(&[])].concat()).collect();
        let mut io = self.engine.io(&shapes);
        for tensor in &mut io.inputs {
            fill(tensor, (first, count));
        }
        io
    }

    /// Sees to it that picture `number` was looked at alone.
    fn single(&mut self, number: usize) -> Result<(), EngineError> {
        while self.singles.len() <= number {
            let answer = self.warm_up.run(self.io(self.singles.len(), 1))?;
            self.singles.push(answer);
        }
        Ok(())
    }

    /// Measures runs of `size` pictures.
    fn step(&mut self, size: usize) -> Result<Step, EngineError> {
        self.single(size.min(PICTURES) - 1)?;
        let half = self.singles.iter().map(|(_, time)| *time).min().unwrap_or_default() * size as u32 / 2;
        // A first run and one of each size; a larger run takes no longer than its pictures one by one.
        if self.begun.elapsed() + half * 5 > BUDGET {
            return Ok(Step::No(format!("{size} take too long to be tried")));
        }
        let whole = match self.warm_up.run(self.io(0, size)) {
            Ok((io, _)) => io,
            Err(error) if is_fatal(&error) => return Err(error),
            Err(error) => return Ok(Step::No(format!("a run of {size} fails: {error}"))),
        };
        if let Some(differs) = self.differs(&whole, size) {
            return Ok(Step::No(differs));
        }
        self.time(self.io(0, size / 2), whole)
    }

    /// The least times of two runs, which take turns: who shares runs has them of changing sizes. A runtime that prepares
    /// anew for each change, as CUDA's provider does, is told by that the same run takes a part of the time after its like.
    fn time(&self, mut half: Io, mut whole: Io) -> Result<Step, EngineError> {
        let (mut least, begun) = ([Duration::MAX; 2], Instant::now());
        for round in 0..ROUNDS {
            if round > 0 && begun.elapsed() > STEP {
                break;
            }
            let ran = [self.warm_up.run(half)?, self.warm_up.run(whole)?];
            for (least, (_, time)) in least.iter_mut().zip(&ran) {
                *least = (*least).min(*time);
            }
            [half, whole] = ran.map(|(io, _)| io);
        }
        let ([half, changed], size) = (least, whole.inputs.first().and_then(|t| t.shape.first()).copied().unwrap_or(0));
        let (_, same) = self.warm_up.run(whole)?;
        if changed > same * CHANGE {
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            let text = format!(
                "a run of {size} takes {:.2} ms, and {:.2} ms after one of another size",
                ms(same),
                ms(changed)
            );
            return Ok(Step::No(text));
        }
        Ok(Step::Took(half, changed))
    }

    /// What is wrong with the answer about `size` pictures, compared with those about each alone.
    fn differs(&self, io: &Io, size: usize) -> Option<String> {
        let shape = |io: &Io| io.outputs.iter().map(|t| t.shape.get(1..).map(<[usize]>::to_vec)).collect::<Vec<_>>();
        let one = self.singles.first().map(|(io, _)| shape(io));
        if self.singles.iter().any(|(io, _)| Some(shape(io)) != one) || Some(shape(io)) != one {
            return Some("the shape of answers depends on the picture".into());
        }
        for (index, output) in io.outputs.iter().enumerate() {
            if output.shape.first() != Some(&size) {
                return Some(format!("a run of {size} does not answer about each picture: output {:?}", output.name));
            }
            let row = output.data.len() / size;
            for picture in 0..size {
                let single = self.singles.get(picture % PICTURES)?.0.outputs.get(index)?;
                if single.shape.first() != Some(&1) || !is_near(&output.data, picture * row, &single.data) {
                    let name = &output.name;
                    return Some(format!("a run of {size} answers otherwise than one picture: output {name:?}"));
                }
            }
        }
        None
    }
}

/// Fills `count` pictures, number `first` and those after it.
fn fill(tensor: &mut Tensor, (first, count): (usize, usize)) {
    // What is not a picture says something about it, such as its size or its scale.
    let is_picture = tensor.shape.len() > 2;
    let row = tensor.data.len() / count.max(1);
    for picture in 0..count {
        let kind = (first + picture) % PICTURES;
        // One is dark, as pictures at night: what a model finds there may be nothing.
        let range = if kind == 1 { 0.02 } else { 1.0 };
        let mut seed = 0x9E37_79B9_u32.wrapping_mul(kind as u32 + 1);
        for at in picture * row..(picture + 1) * row {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = if is_picture { (seed >> 8) as f32 / (1 << 24) as f32 * range } else { 1.0 };
            set(&mut tensor.data, at, value);
        }
    }
}

/// Sets one value; 0..1 for floats is 0..127 for whole numbers that are more than a flag.
fn set(data: &mut TensorData, at: usize, value: f32) {
    fn put<T>(values: &mut [T], at: usize, value: T) {
        if let Some(to) = values.get_mut(at) {
            *to = value;
        }
    }
    match data {
        TensorData::F32(v) => put(v, at, value),
        TensorData::F16(v) => put(v, at, f16::from_f32(value)),
        TensorData::U8(v) => put(v, at, (value * 127.0) as u8),
        TensorData::I8(v) => put(v, at, (value * 127.0) as i8),
        TensorData::I32(v) => put(v, at, value.ceil() as i32),
        TensorData::I64(v) => put(v, at, value.ceil() as i64),
    }
}

/// Whether the values of `all` from `start` on are those of `one`.
fn is_near(all: &TensorData, start: usize, one: &TensorData) -> bool {
    let tolerance = if matches!(one, TensorData::F16(_)) { TOLERANCE_F16 } else { TOLERANCE };
    (0..one.len()).all(|at| match (all.get(start + at), one.get(at)) {
        // No number is as good as another, and as bad.
        (Some(a), Some(b)) => {
            a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * (1.0 + a.abs().max(b.abs()))
        }
        _ => false,
    })
}
