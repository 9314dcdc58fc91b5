//! How far apart two directions of the tool are.

/// What an angle of [`angle`] can be wrong by, in radians: of nearly equal directions the cosine loses half its digits.
pub(super) const PRECISION: f64 = 1e-7;

/// The angle by which the tool turns from one rotation vector to another, in radians, from 0 to pi. Two vectors of one
/// direction (`r` and `r` less a whole turn about its axis) are 0 apart.
/// Source: a rotation vector is its axis times its angle (UR's script manual, poses); of two unit quaternions the product
/// with the other's inverse has the cosine of half the angle between them as its real part.
pub(super) fn angle(from: [f64; 3], to: [f64; 3]) -> f64 {
    let (a, b) = (quaternion(from), quaternion(to));
    let cosine: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
    // The same direction has two quaternions, of opposite signs.
    2.0 * cosine.abs().min(1.0).acos()
}

fn quaternion([x, y, z]: [f64; 3]) -> [f64; 4] {
    let turn = (x * x + y * y + z * z).sqrt();
    let scale = if turn > 0.0 { (turn / 2.0).sin() / turn } else { 0.5 };
    [(turn / 2.0).cos(), x * scale, y * scale, z * scale]
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_angles() {
        let near = |from, to, expected: f64| assert!((angle(from, to) - expected).abs() < PRECISION, "{from:?} {to:?}");
        near([0.0; 3], [0.0; 3], 0.0);
        near([0.0; 3], [0.3, 0.0, 0.0], 0.3);
        near([0.2, 0.0, 0.0], [-0.3, 0.0, 0.0], 0.5);
        near([PI, 0.0, 0.0], [-PI, 0.0, 0.0], 0.0);
        near([0.1, 0.0, 0.0], [0.1 - 2.0 * PI, 0.0, 0.0], 0.0);
        // Half a turn about x, then about y: half a turn about z lies between.
        near([PI, 0.0, 0.0], [0.0, PI, 0.0], PI);
        near([PI / 2.0, 0.0, 0.0], [0.0, PI / 2.0, 0.0], 2.0 * PI / 3.0);
    }

    proptest! {
        #[test]
        fn it_is_a_distance(
            a in prop::array::uniform3(-4.0..4.0_f64),
            b in prop::array::uniform3(-4.0..4.0_f64),
            c in prop::array::uniform3(-4.0..4.0_f64),
        ) {
            prop_assert!((angle(a, b) - angle(b, a)).abs() < PRECISION);
            prop_assert!((0.0..=PI).contains(&angle(a, b)) && angle(a, a) < PRECISION);
            prop_assert!(angle(a, c) <= angle(a, b) + angle(b, c) + 3.0 * PRECISION);
        }
    }
}
