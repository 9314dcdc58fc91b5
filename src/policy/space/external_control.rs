//! External control: set-points, points, functions and texts.

use external_control::{Action, Freedrive, Function, Motion, Move, Point, Trajectory};

use super::number::distinct_numbers;
use super::{Block, ExternalCuts, Sample, Space};
use crate::command::Service;

/// Kinds of points that programs know, and one that none knows.
const POINTS: [i32; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 51, 99];

/// Adds the units.
pub(super) fn add(space: &mut Space, cuts: &ExternalCuts<'_>) {
    if !cuts.envelopes.is_empty() {
        space.limit("external control: motion envelopes are compared by set-points at their limits, not by all");
    }
    if !cuts.orders.is_empty() {
        space.limit("external control: arguments of functions are compared at the ends of their bounds, not by all");
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole numbers of 32 bits")]
    let timeouts: Vec<i32> = distinct_numbers(&cuts.timeouts, &[20.0], |number| {
        number.fract() == 0.0 && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number)
    })
    .into_iter()
    .map(|number| number as i32)
    .collect();
    let mut joints: Vec<[i32; 6]> = cuts.envelopes.iter().map(|envelope| envelope.middle()).collect();
    if joints.is_empty() {
        joints.push([0; 6]);
    }
    joints.sort_unstable();
    joints.dedup();
    let mut limits: Vec<[i32; 6]> = cuts.envelopes.iter().flat_map(|envelope| envelope.limits()).collect();
    limits.sort_unstable();
    limits.dedup();

    let others = [
        Action::Stop,
        Action::Idle,
        Action::Forward(Trajectory::Cancel),
        Action::Forward(Trajectory::Keep),
        Action::Forward(Trajectory::Start { points: 1 }),
        Action::Forward(Trajectory::StreamStart),
        Action::Forward(Trajectory::StreamEnd { points: 1 }),
        Action::Forward(Trajectory::Unknown(9)),
        Action::Freedrive(Freedrive::Stop),
        Action::Freedrive(Freedrive::Keep),
        Action::Freedrive(Freedrive::Start),
        Action::Freedrive(Freedrive::Unknown(9)),
        Action::Unknown(99),
    ];
    for action in others {
        let motions = timeouts.iter().map(|timeout_ms| Motion { timeout_ms: *timeout_ms, action });
        let elements = motions.map(|motion| Sample::Motion { motion, joints: [0; 6] }).collect();
        space.blocks.push(Block::single(Service::ExternalControl, format!("mode {}", action.name()), elements));
    }
    for how in Move::ALL {
        let mut elements = Vec::new();
        for (timeout_ms, joints) in
            timeouts.iter().flat_map(|timeout| joints.iter().map(move |joints| (*timeout, *joints)))
        {
            let rest = if how == Move::Servoj { joints } else { [0; 6] };
            for target in targets(rest, &limits) {
                let motion = Motion { timeout_ms, action: Action::Move(how, target) };
                elements.push(Sample::Motion { motion, joints });
            }
        }
        space.blocks.push(Block::single(Service::ExternalControl, format!("mode {}", how.name()), elements));
    }
    for kind in POINTS {
        let points = joints.iter().flat_map(|joints| {
            let point =
                move |target| Point { target, second: *joints, third: [0; 6], duration: 1_000_000, blend: 0, kind };
            targets(*joints, &limits)
                .into_iter()
                .map(move |target| Sample::Point { point: point(target), joints: *joints })
        });
        space.blocks.push(Block::single(Service::ExternalControl, format!("point of kind {kind}"), points.collect()));
    }
    for function in Function::ALL {
        let what = format!("function {}", function.name());
        let mut arguments = vec![vec![0; function.arguments()]];
        cuts.orders.iter().for_each(|bounds| bounds.examples(function, |example| arguments.push(example)));
        arguments.sort_unstable();
        arguments.dedup();
        let orders = arguments.into_iter().map(|arguments| Sample::Order { number: function as i32, arguments });
        space.blocks.push(Block::single(Service::ExternalControl, what, orders.collect()));
    }
    let unknown = Sample::Order { number: 999, arguments: Vec::new() };
    space.blocks.push(Block::single(Service::ExternalControl, "an unknown function", vec![unknown]));
    let named = cuts.programs.iter().map(|program| Sample::Handed(program.example()));
    space.blocks.push(Block::single(
        Service::ExternalControl,
        "a text handed to the robot",
        named.chain([Sample::Handed([0; 32])]).collect(),
    ));
}

/// Set-points in which one joint stands at a limit or just beyond it.
fn targets(rest: [i32; 6], limits: &[[i32; 6]]) -> Vec<[i32; 6]> {
    let mut targets = vec![rest];
    for limit in limits {
        for joint in 0..6 {
            for beyond in [-1, 0, 1] {
                let mut target = rest;
                if let (Some(slot), Some(limit)) = (target.get_mut(joint), limit.get(joint)) {
                    *slot = limit.saturating_add(beyond);
                    targets.push(target);
                }
            }
        }
    }
    targets.sort_unstable();
    targets.dedup();
    targets.sort_by_key(|target| *target != rest);
    targets
}
