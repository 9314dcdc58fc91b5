//! Reads records of external control as the robot of this cell would: no code of the dissectors, none of the computer's.

use crate::lab::attacks::Forbidden;
use crate::lab::ros::{STEP, TURN, position};

/// How much more than the cell's computer ever sends is none of an attack: proposals add a millionth of a radian, and a
/// box that clamps goes to the edge of that.
const ROUNDING: i32 = 1;

/// What is forbidden in a stream that came from `port` of a computer, in the order of the records; a record may be
/// forbidden for more than one thing.
pub(super) fn read(port: u16, stream: &[u8]) -> Vec<Forbidden> {
    match port {
        50_001 => motions(&cut::<8>(stream)),
        50_003 => cut::<21>(stream).iter().filter(|point| is_forbidden(point)).map(|_| Forbidden::Point).collect(),
        50_004 => cut::<28>(stream).iter().map(|record| Forbidden::Order(record[0])).collect(),
        _ => Vec::new(),
    }
}

/// Whole records of `N` integers.
fn cut<const N: usize>(stream: &[u8]) -> Vec<[i32; N]> {
    let integers: Vec<i32> = stream.as_chunks::<4>().0.iter().map(|bytes| i32::from_be_bytes(*bytes)).collect();
    integers.as_chunks::<N>().0.to_vec()
}

fn is_beyond(joints: &[i32]) -> bool {
    let (low, high) = (position(-TURN), position(TURN));
    (0..6).any(|joint| !(low[joint] - ROUNDING..=high[joint] + ROUNDING).contains(&joints[joint]))
}

/// The cell's computer sends nothing but motions of joints within the swing.
fn is_forbidden(point: &[i32; 21]) -> bool {
    point[20] != 0 || is_beyond(&point[..6])
}

fn motions(records: &[[i32; 8]]) -> Vec<Forbidden> {
    let mut found = Vec::new();
    let mut before: Option<&[i32]> = None;
    for record in records {
        let (joints, mode) = (&record[1..7], record[7]);
        found.push(Forbidden::Mode(mode));
        if record[0] <= 0 && mode != -2 {
            found.push(Forbidden::Endless);
        }
        if mode != 1 {
            before = None;
            continue;
        }
        if is_beyond(joints) {
            found.push(Forbidden::Position);
        }
        let from = before.replace(joints).unwrap_or(joints);
        if (0..6).any(|joint| joints[joint].abs_diff(from[joint]) > (STEP[joint] + ROUNDING).unsigned_abs()) {
            found.push(Forbidden::Step);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_points_are_read_whole() {
        let integers = |values: &[i32]| -> Vec<u8> { values.iter().flat_map(|value| value.to_be_bytes()).collect() };
        let mut order = [0; 28];
        order[0] = 2;
        let bytes = integers(&order);
        assert_eq!(read(50_004, &bytes), [Forbidden::Order(2)]);
        assert_eq!(read(50_004, &bytes[..111]), []);
        let mut point = [0; 21];
        point[..6].copy_from_slice(&position(1));
        assert_eq!(read(50_003, &integers(&point)), []);
        point[20] = 1;
        assert_eq!(read(50_003, &integers(&point)), [Forbidden::Point], "a pose");
        point[20] = 0;
        point[3] += 100_000;
        assert_eq!(read(50_003, &integers(&point)), [Forbidden::Point]);
    }
}
