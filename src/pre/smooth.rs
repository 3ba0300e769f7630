//! Rows by a filter that grows with the reduction, as PIL and torchvision resize (`antialias=True`): every stored sample
//! counts, where plain bilinear sampling skips most of them in a strong reduction.
//!
//! The filter is the triangle of PIL's `BILINEAR`: as wide on either side as one pixel of the target is in the source, but
//! at least one sample (Pillow, `src/libImaging/Resample.c`). Plain Rust: it is for classifiers, whose targets are small.

use super::color::{Channel, ColorMap, subsampling};
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
    /// The used samples of one channel, summed over the rows that count.
    sums: Vec<f32>,
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
    }

    /// Makes row `y` of the target.
    pub(super) fn row(&mut self, color: &ColorMap, frame: &FrameView<'_>, y: usize, mut out: [&mut [f32]; 3]) {
        let Self { axes, sums, samples } = self;
        let width = out[0].len();
        for (channel, samples) in color.channels.iter().zip(samples.iter_mut()) {
            let (columns, rows) = &axes[usize::from(channel.chroma)];
            sum_rows(frame, channel, columns.used, rows.of(y), sums);
            samples.clear();
            samples.extend((0..width).map(|x| {
                let (first, weights) = columns.of(x);
                let part = sums.get(first - columns.used.0..).unwrap_or_default();
                part.iter().zip(weights).map(|(s, w)| s * w).sum::<f32>()
            }));
        }
        for x in 0..width {
            let at = |c: usize| samples[c].get(x).copied().unwrap_or_default();
            let values = [
                at(0),
                if color.channels.len() > 1 { at(1) } else { 0.0 },
                if color.channels.len() > 2 { at(2) } else { 0.0 },
            ];
            for (row, map) in out.iter_mut().zip(&color.maps).take(color.outputs) {
                row[x] = map.apply(values);
            }
        }
    }
}

/// The `used` samples of a channel, weighted and summed over the rows from `first` on.
fn sum_rows(
    frame: &FrameView<'_>,
    channel: &Channel,
    used: (usize, usize),
    (first, weights): (usize, &[f32]),
    sums: &mut Vec<f32>,
) {
    let (data, stride) = frame.plane(channel.plane);
    sums.clear();
    sums.resize(used.1.saturating_sub(used.0), 0.0);
    for (row, weight) in (first..).zip(weights) {
        let start = row * stride + used.0 * channel.step + channel.offset;
        let bytes = data.get(start..).unwrap_or_default();
        for (sum, byte) in sums.iter_mut().zip(bytes.iter().step_by(channel.step)) {
            *sum += f32::from(*byte) * weight;
        }
    }
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
