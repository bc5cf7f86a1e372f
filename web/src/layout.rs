//! Where to draw peers: pure geometry, in CSS pixels.

pub mod scene;

/// A place on the canvas.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Point {
    /// From the left edge.
    pub x: f64,
    /// From the top edge.
    pub y: f64,
}

impl Point {
    /// The place `share` of the way from here to `other`.
    #[must_use]
    pub fn towards(self, other: Self, share: f64) -> Self {
        Self { x: self.x + (other.x - self.x) * share, y: self.y + (other.y - self.y) * share }
    }

    /// The distance to `other`.
    pub fn distance(self, other: Self) -> f64 {
        let (x, y) = (self.x - other.x, self.y - other.y);
        (x * x + y * y).sqrt()
    }
}

/// The canvas's width and height.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Size {
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
}

impl Size {
    /// Its middle.
    pub fn middle(self) -> Point {
        Point { x: self.width / 2.0, y: self.height / 2.0 }
    }
}

/// Room at each side for a node and its label.
const MARGIN: Size = Size { width: 64.0, height: 46.0 };
/// How many peers fit on the outer ring with readable labels.
const RING: u32 = 20;

/// Where `count` peers stand: on one ring (an ellipse that fills the canvas), the first at the top, then clockwise; on
/// up to three rings where they are many. The same count always gives the same places.
pub fn places(count: u32, size: Size) -> Vec<Point> {
    if count == 1 {
        return vec![size.middle()];
    }
    let rings = count.div_ceil(RING).clamp(1, 3);
    let weights = rings * (rings + 1) / 2;
    let mut left = count;
    let mut found = Vec::new();
    for ring in 0..rings {
        let on_ring = if ring + 1 == rings { left } else { count * (rings - ring) / weights };
        left -= on_ring;
        let reach = f64::from(rings - ring) / f64::from(rings);
        found.extend((0..on_ring).map(|index| on_ellipse(index, on_ring, reach, size)));
    }
    found
}

fn on_ellipse(index: u32, count: u32, reach: f64, size: Size) -> Point {
    let turn = f64::from(index) / f64::from(count.max(1));
    let half_width = (size.width / 2.0 - MARGIN.width).max(10.0) * reach;
    let half_height = (size.height / 2.0 - MARGIN.height).max(10.0) * reach;
    let middle = size.middle();
    Point { x: middle.x + half_width * sine(turn), y: middle.y - half_height * sine((turn + 0.25).fract()) }
}

/// The sine of a share of a full turn, from 0 to 1; by Bhaskara's formula, which is wrong by a pixel where the ring has a
/// radius of 600 of them, and takes less room in the page than the exact one.
fn sine(turn: f64) -> f64 {
    let half = (turn * 2.0).fract();
    let product = half * (1.0 - half);
    let size = 16.0 * product / (5.0 - 4.0 * product);
    if turn < 0.5 { size } else { -size }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 600.0, height: 400.0 };

    #[test]
    fn every_peer_has_a_place_of_its_own_on_the_canvas() {
        for count in [0, 1, 2, 5, 20, 21, 47, 120] {
            let places = places(count, SIZE);
            assert_eq!(places.len(), usize::try_from(count).unwrap());
            for (index, place) in places.iter().enumerate() {
                assert!(place.x > 0.0 && place.x < SIZE.width && place.y > 0.0 && place.y < SIZE.height);
                assert!(places[..index].iter().all(|other| place.distance(*other) > 4.0), "{count}: {index}");
            }
        }
    }

    #[test]
    fn the_sine_is_right_within_a_pixel() {
        for percent in 0..100 {
            let turn = f64::from(percent) / 100.0;
            assert!((sine(turn) - (std::f64::consts::TAU * turn).sin()).abs() < 0.0017, "{percent}");
        }
    }

    #[test]
    fn the_first_of_several_peers_is_at_the_top() {
        let places = places(5, SIZE);
        assert!(places.iter().skip(1).all(|place| place.y > places[0].y));
    }
}
