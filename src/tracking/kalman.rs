//! Constant-velocity motion of a box in continuous time.

use crate::result::BBox;

/// Measurement noise of a sure object's box: standard deviation relative to the box's size.
pub const MEASUREMENT: f64 = 0.06;
/// Confidence from which an object is sure, and by how much its deviation grows per confidence that it lacks.
const SURE: f64 = 0.8;
const DOUBT: f64 = 1.5;
/// Spectral density of the white-noise acceleration of the centre, box sizes² per second³.
const CENTRE_ACCELERATION: f64 = 0.2;
/// The same for width and height.
const SIZE_ACCELERATION: f64 = 0.01;
/// Variance of a new track's centre velocity, box sizes² per second².
const CENTRE_VELOCITY: f64 = 2.0;
/// The same for width and height.
const SIZE_VELOCITY: f64 = 0.1;
/// The smallest width and height, frame heights: a filter may not shrink a box to nothing.
const SMALLEST: f64 = 1e-4;

/// Position and velocity on one axis with their covariance.
///
/// The four axes of a box (centre x, centre y, width, height) do not influence each other in the models of SORT
/// and ByteTrack, because all their noise is diagonal; so one 8-dimensional filter is exactly four of these.
#[derive(Debug, Clone, Copy)]
struct Axis {
    x: f64,
    v: f64,
    xx: f64,
    xv: f64,
    vv: f64,
}

impl Axis {
    fn new(x: f64, xx: f64, vv: f64) -> Self {
        Self { x, v: 0.0, xx, xv: 0.0, vv }
    }

    /// Moves on by `dt` seconds under white-noise acceleration of density `q` (Bar-Shalom et al., *Estimation with
    /// Applications to Tracking and Navigation*, 2001, 6.2.2): two steps do exactly what one of their sum does.
    fn advance(&mut self, dt: f64, q: f64) {
        self.x += self.v * dt;
        self.xx += dt * (2.0 * self.xv + dt * (self.vv + q * dt / 3.0));
        self.xv += dt * (self.vv + q * dt / 2.0);
        self.vv += q * dt;
    }

    /// Takes in a measurement `z` of variance `r` > 0.
    fn correct(&mut self, z: f64, r: f64) {
        let s = self.xx + r;
        let (kx, kv) = (self.xx / s, self.xv / s);
        let error = z - self.x;
        self.x += kx * error;
        self.v += kv * error;
        self.vv -= kv * self.xv;
        self.xv -= kx * self.xv;
        self.xx -= kx * self.xx;
    }

    fn scale(&mut self, k: f64) {
        self.x *= k;
        self.v *= k;
        self.xx *= k * k;
        self.xv *= k * k;
        self.vv *= k * k;
    }
}

/// The motion of one box. Boxes are in frame heights on both axes, so that noise is the same in every direction.
#[derive(Debug, Clone, Copy)]
pub struct Motion {
    cx: Axis,
    cy: Axis,
    w: Axis,
    h: Axis,
}

impl Motion {
    /// A box that was seen for the first time, at rest as far as is known.
    pub fn new(b: BBox, confidence: f32) -> Self {
        let s2 = size2(f64::from(b.w), f64::from(b.h));
        let noise = noise(confidence) * s2;
        let centre = |x: f32, d: f32| Axis::new(f64::from(x) + f64::from(d) / 2.0, noise, CENTRE_VELOCITY * s2);
        let extent = |d: f32| Axis::new(f64::from(d), noise, SIZE_VELOCITY * s2);
        Self { cx: centre(b.x, b.w), cy: centre(b.y, b.h), w: extent(b.w), h: extent(b.h) }
    }

    /// Moves on by `dt` seconds.
    pub fn advance(&mut self, dt: f64) {
        let s2 = size2(self.w.x, self.h.x);
        self.cx.advance(dt, CENTRE_ACCELERATION * s2);
        self.cy.advance(dt, CENTRE_ACCELERATION * s2);
        self.w.advance(dt, SIZE_ACCELERATION * s2);
        self.h.advance(dt, SIZE_ACCELERATION * s2);
        self.keep_size();
    }

    /// Takes in a detected box of that confidence.
    pub fn correct(&mut self, b: BBox, confidence: f32) {
        let noise = noise(confidence) * size2(self.w.x, self.h.x);
        self.cx.correct(f64::from(b.x) + f64::from(b.w) / 2.0, noise);
        self.cy.correct(f64::from(b.y) + f64::from(b.h) / 2.0, noise);
        self.w.correct(f64::from(b.w), noise);
        self.h.correct(f64::from(b.h), noise);
        self.keep_size();
    }

    /// The box as it is believed to be.
    pub fn bbox(&self) -> BBox {
        let (w, h) = (self.w.x, self.h.x);
        BBox { x: (self.cx.x - w / 2.0) as f32, y: (self.cy.x - h / 2.0) as f32, w: w as f32, h: h as f32 }
    }

    /// How sure the place is: standard deviation of the centre, in box sizes.
    pub fn spread(&self) -> f32 {
        (self.cx.xx.max(self.cy.xx) / size2(self.w.x, self.h.x)).sqrt() as f32
    }

    /// Speed of the centre, frame heights per second.
    pub fn velocity(&self) -> (f32, f32) {
        (self.cx.v as f32, self.cy.v as f32)
    }

    /// Moves the place, as the whole picture has moved.
    pub fn shift(&mut self, (x, y): (f32, f32)) {
        self.cx.x += f64::from(x);
        self.cy.x += f64::from(y);
    }

    /// Stretches the horizontal axis by `k`, for a frame whose shape changed.
    pub fn stretch(&mut self, k: f64) {
        self.cx.scale(k);
        self.w.scale(k);
    }

    fn keep_size(&mut self) {
        for axis in [&mut self.w, &mut self.h] {
            if axis.x < SMALLEST {
                (axis.x, axis.v) = (SMALLEST, 0.0);
            }
        }
    }
}

/// Variance of a detector's boxes in box sizes²: the less sure, the larger (the idea of the noise-scale-adaptive filter,
/// Du et al., *GIAOTracker*, ICCVW 2021).
fn noise(confidence: f32) -> f64 {
    let doubt = (SURE - f64::from(confidence)).clamp(0.0, SURE);
    (MEASUREMENT * (1.0 + DOUBT * doubt)).powi(2)
}

/// The square of a box's size: its area, so that a car and a person of one area count alike.
fn size2(w: f64, h: f64) -> f64 {
    w.max(SMALLEST) * h.max(SMALLEST)
}
