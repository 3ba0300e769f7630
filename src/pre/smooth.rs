//! Rows by a filter that grows with the reduction, as PIL and torchvision resize (`antialias=True`): every stored sample
//! counts, where plain bilinear sampling skips most of them in a strong reduction.
//!
//! The filter is the triangle of PIL's `BILINEAR`: as wide on either side as one pixel of the target is in the source, but
//! at least one sample (Pillow, `src/libImaging/Resample.c`). Plain Rust: it is for classifiers, whose targets are small.

use super::color::{ColorMap, subsampling};
use super::geometry::Geometry;
use crate::frame::{FrameInfo, FrameView};

/// For every output position of an axis the stored samples that count, with their weights.
#[derive(Debug, Default)]
struct Taps {
    /// First sample and place of its weight in `weights`; one entry more than outputs, whose weights would begin at the
    /// end.
    starts: Vec<(usize, usize)>,
    weights: Vec<f32>,
    /// Samples that count for any output: from, to (excluded).
    used: (usize, usize),
}

impl Taps {
    /// Spreads `count` outputs over the pixels `start..start + length` of a plane with `size` samples of `subsampling`
    /// pixels.
    fn rebuild(&mut self, start: f32, length: f32, count: usize, size: usize, subsampling: usize) {
        let (start, length) = (f64::from(start) / subsampling as f64, f64::from(length) / subsampling as f64);
        let step = length / count as f64;
        let reach = step.max(1.0);
        self.starts.clear();
        self.weights.clear();
        self.used = (size, 0);
        for i in 0..count {
            let centre = start + (i as f64 + 0.5) * step;
            let last = size.saturating_sub(1);
            let first = ((centre - reach + 0.5).max(0.0) as usize).min(last);
            let end = ((centre + reach + 0.5).max(0.0) as usize).clamp(first + 1, size.max(first + 1));
            let from = self.weights.len();
            let weight = |sample: usize| (1.0 - (sample as f64 + 0.5 - centre).abs() / reach).max(0.0);
            let sum: f64 = (first..end).map(weight).sum();
            // A position past the edge repeats the sample there.
            let scale = if sum > 0.0 { 1.0 / sum } else { 0.0 };
            self.weights.extend((first..end).map(|s| (weight(s) * scale) as f32));
            if sum <= 0.0 {
                self.weights.truncate(from);
                self.weights.push(1.0);
            }
            self.starts.push((first, from));
            self.used = (self.used.0.min(first), self.used.1.max(first + self.weights.len() - from));
        }
        self.starts.push((0, self.weights.len()));
    }

    /// The first sample that counts for output `i` and the weights from it on.
    fn of(&self, i: usize) -> (usize, &[f32]) {
        let (first, from) = self.starts.get(i).copied().unwrap_or_default();
        let to = self.starts.get(i + 1).map_or(from, |(_, to)| *to);
        (first, self.weights.get(from..to).unwrap_or_default())
    }
}

/// Makes rows; keeps tables and buffers.
#[derive(Debug, Default)]
pub(super) struct Renderer {
    /// Columns and rows of the channels at full resolution, then of chroma.
    axes: [(Taps, Taps); 2],
    /// The rows that count of each stored channel, made as narrow as the target.
    narrow: [Vec<u8>; 3],
    /// Their width.
    width: usize,
    /// A row of the target for each stored channel.
    samples: [Vec<f32>; 3],
}

impl Renderer {
    /// Fits the tables to frames like `info` and to `geometry`.
    pub(super) fn prepare(&mut self, info: &FrameInfo, geometry: &Geometry) {
        let (sx, sy, sw, sh) = geometry.source;
        let (_, _, tw, th) = geometry.target;
        let chroma = subsampling(info.format);
        for ((x, y), (kx, ky)) in self.axes.iter_mut().zip([(1, 1), chroma]) {
            x.rebuild(sx, sw, tw as usize, (info.width as usize).div_ceil(kx), kx);
            y.rebuild(sy, sh, th as usize, (info.height as usize).div_ceil(ky), ky);
        }
        self.width = tw as usize;
    }

    /// Begins a frame: as Pillow does, the rows are made narrow first, and rounded to whole levels.
    pub(super) fn begin(&mut self, color: &ColorMap, frame: &FrameView<'_>) {
        for (channel, narrow) in color.channels.iter().zip(&mut self.narrow) {
            let (columns, rows) = &self.axes[usize::from(channel.chroma)];
            let (data, stride) = frame.plane(channel.plane);
            narrow.clear();
            for y in rows.used.0..rows.used.1 {
                let row = data.get(y * stride + channel.offset..).unwrap_or_default();
                narrow.extend((0..self.width).map(|x| {
                    let (first, weights) = columns.of(x);
                    let bytes = row.get(first * channel.step..).unwrap_or_default().iter().step_by(channel.step);
                    whole(bytes.zip(weights).map(|(byte, weight)| f32::from(*byte) * weight).sum()) as u8
                }));
            }
        }
    }

    /// Makes row `y` of the target.
    pub(super) fn row(&mut self, color: &ColorMap, y: usize, mut out: [&mut [f32]; 3]) {
        for ((channel, narrow), samples) in color.channels.iter().zip(&self.narrow).zip(&mut self.samples) {
            let (_, rows) = &self.axes[usize::from(channel.chroma)];
            let (first, weights) = rows.of(y);
            samples.clear();
            samples.resize(self.width, 0.0);
            let lines = narrow.chunks_exact(self.width.max(1)).skip(first - rows.used.0);
            for (line, weight) in lines.zip(weights) {
                samples.iter_mut().zip(line).for_each(|(sum, byte)| *sum += f32::from(*byte) * weight);
            }
        }
        for x in 0..out[0].len() {
            let values = self.samples.each_ref().map(|row| whole(row.get(x).copied().unwrap_or_default()));
            for (row, map) in out.iter_mut().zip(&color.maps).take(color.outputs) {
                row[x] = map.apply(values);
            }
        }
    }
}

/// The nearest whole level, halves upwards, as Pillow rounds.
fn whole(value: f32) -> f32 {
    (value + 0.5).floor().clamp(0.0, 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taps(start: f32, length: f32, count: usize, size: usize, sub: usize) -> Vec<(usize, Vec<f32>)> {
        let mut taps = Taps::default();
        taps.rebuild(start, length, count, size, sub);
        (0..count).map(|i| (taps.of(i).0, taps.of(i).1.to_vec())).collect()
    }

    #[test]
    fn a_reduction_by_two_weighs_four_samples() {
        // Centres at 1 and 3, reach 2: 1/8, 3/8, 3/8, 1/8, cut at the edges and brought to a sum of 1.
        let found = taps(0.0, 4.0, 2, 4, 1);
        assert_eq!(found[0], (0, vec![3.0 / 7.0, 3.0 / 7.0, 1.0 / 7.0]));
        assert_eq!(found[1], (1, vec![1.0 / 7.0, 3.0 / 7.0, 3.0 / 7.0]));
    }

    #[test]
    fn an_enlargement_is_plain_bilinear() {
        let found = taps(0.0, 2.0, 4, 2, 1);
        let value =
            |(first, weights): &(usize, Vec<f32>)| weights.iter().zip(*first..).map(|(w, i)| w * i as f32).sum::<f32>();
        assert_eq!(found.iter().map(value).collect::<Vec<_>>(), [0.0, 0.25, 0.75, 1.0]);
    }

    #[test]
    fn weights_sum_to_one_and_stay_inside_whatever_the_part() {
        for (start, length, count, size, sub) in
            [(0.0, 1080.0, 224, 540, 2), (333.3, 17.2, 9, 1080, 1), (-4.0, 3.0, 5, 10, 1), (99.5, 8.0, 3, 100, 1)]
        {
            for (first, weights) in taps(start, length, count, size, sub) {
                assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{start} {first} {weights:?}");
                assert!(first + weights.len() <= size, "{start} {first} {weights:?}");
            }
        }
    }
}
