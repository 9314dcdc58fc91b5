//! What ports 30001 to 30003 and their read-only twins send: robot state packages and the realtime record.

use std::f64::consts::{PI, TAU};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Shared;
use super::dashboard::VERSION;
use super::script;
use super::state::{Program, Robot};
use crate::lab::journal::Connection;

/// Which stream a port carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Primary,
    Secondary,
    Realtime,
}

/// Streams to one client and takes its scripts, unless the port is a read-only twin.
pub(super) fn serve(mut connection: Connection, shared: &Arc<Shared>, kind: Kind, takes_scripts: bool) {
    let Ok(stream) = connection.stream.try_clone() else { return };
    let gone = Arc::new(AtomicBool::new(false));
    let streamer = {
        let (shared, gone) = (Arc::clone(shared), Arc::clone(&gone));
        thread::spawn(move || send_stream(stream, &shared, kind, &gone))
    };
    let mut intake = script::Intake::default();
    let mut buffer = [0; 64 * 1024];
    loop {
        let count = connection.read(&mut buffer);
        if takes_scripts {
            intake.push(&buffer[..count], count == 0, |unit| script::execute(&connection, shared, &unit));
        } else if count > 0 {
            connection.did("ignored", serde_json::json!({ "bytes": count }));
        }
        if count == 0 {
            break;
        }
    }
    gone.store(true, Ordering::Release);
    let _already_closed = connection.stream.shutdown(Shutdown::Both);
    let _streamer_panicked = streamer.join();
}

fn send_stream(mut stream: TcpStream, shared: &Shared, kind: Kind, gone: &AtomicBool) {
    use std::io::Write;

    let period = match kind {
        Kind::Primary | Kind::Secondary => Duration::from_millis(100),
        Kind::Realtime => Duration::from_secs(1) / shared.options.rate_hz,
    };
    if kind != Kind::Realtime && stream.write_all(&version_message(shared)).is_err() {
        return;
    }
    let mut next = Instant::now();
    while !gone.load(Ordering::Acquire) {
        let package = {
            let robot = shared.robot();
            if kind == Kind::Realtime { realtime_record(&robot) } else { robot_state(&robot) }
        };
        if stream.write_all(&package).is_err() {
            return;
        }
        next += period;
        let now = Instant::now();
        if next < now {
            next = now;
        }
        thread::sleep(next.saturating_duration_since(now));
    }
}

/// Big-endian bytes, field after field.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn f64s(&mut self, values: &[f64]) {
        self.0.extend(values.iter().flat_map(|value| value.to_be_bytes()));
    }

    fn f32s(&mut self, values: &[f32]) {
        self.0.extend(values.iter().flat_map(|value| value.to_be_bytes()));
    }

    fn u32s(&mut self, values: &[u32]) {
        self.0.extend(values.iter().flat_map(|value| value.to_be_bytes()));
    }

    fn u8s(&mut self, values: &[u8]) {
        self.0.extend(values);
    }

    /// One sub-package: length (its own five header bytes included), type, data.
    fn sub_package(&mut self, kind: u8, data: Self) {
        self.0.extend((data.0.len() as u32 + 5).to_be_bytes());
        self.0.push(kind);
        self.0.extend(data.0);
    }

    /// A whole package: length (itself included), type, body.
    fn package(kind: u8, body: Self) -> Vec<u8> {
        let mut package = (body.0.len() as u32 + 5).to_be_bytes().to_vec();
        package.push(kind);
        package.extend(body.0);
        package
    }
}

/// Robot message 3, which is the first package on primary and secondary.
fn version_message(shared: &Shared) -> Vec<u8> {
    let (major, minor, bugfix, build) = VERSION;
    let name = b"URControl";
    let mut body = Bytes::default();
    body.0.extend(((shared.robot().timestamp() * 1e6) as u64).to_be_bytes());
    body.u8s(&[0xfe, 3, name.len() as u8]);
    body.u8s(name);
    body.u8s(&[major as u8, minor as u8]);
    body.u32s(&[bugfix, build]);
    body.u8s(b"01-01-2023, 00:00:00");
    Bytes::package(20, body)
}

/// Package 16: sub-packages 0 to 8. Layouts as in the maker's public client library, controllers 3.5 and newer.
fn robot_state(robot: &Robot) -> Vec<u8> {
    let (q, qd) = (robot.q(), robot.qd());
    let mut body = Bytes::default();

    let mut mode = Bytes::default();
    mode.0.extend(((robot.timestamp() * 1e6) as u64).to_be_bytes());
    mode.u8s(&[
        1,
        1,
        u8::from(robot.powered()),
        0,
        u8::from(robot.protective_since.is_some()),
        u8::from(robot.playing()),
        u8::from(robot.program == Program::Paused),
        robot.mode as u8,
        0,
    ]);
    mode.f64s(&[robot.speed_slider, if robot.playing() { robot.speed_slider } else { 0.0 }, 1.0]);
    mode.u8s(&[0]);
    body.sub_package(0, mode);

    let mut joints = Bytes::default();
    for joint in 0..6 {
        joints.f64s(&[q[joint], q[joint], qd[joint]]);
        joints.f32s(&[0.1, 48.0, 31.5, 30.0]);
        joints.u8s(&[if robot.powered() { 253 } else { 239 }]);
    }
    body.sub_package(1, joints);

    let mut tool = Bytes::default();
    tool.u8s(&[0, 0]);
    tool.f64s(&[0.0, 0.0]);
    tool.f32s(&[48.0]);
    tool.u8s(&[robot.tool_voltage as u8]);
    tool.f32s(&[0.0, 29.0]);
    tool.u8s(&[253]);
    body.sub_package(2, tool);

    let mut board = Bytes::default();
    board.u32s(&[robot.digital_in as u32, robot.digital_out as u32]);
    board.u8s(&[0, 0]);
    board.f64s(&[0.0, 0.0]);
    board.u8s(&[0, 0]);
    board.f64s(&robot.analog_out);
    board.f32s(&[30.0, 48.0, 0.8, 0.0]);
    board.u8s(&[robot.safety as u8, 0, 0]);
    board.u32s(&[0]);
    board.u8s(&[1, 0, 0]);
    body.sub_package(3, board);

    let mut cartesian = Bytes::default();
    cartesian.f64s(&robot.pose());
    cartesian.f64s(&robot.tcp_offset);
    body.sub_package(4, cartesian);

    let mut kinematics = Bytes::default();
    kinematics.u32s(&[0; 6]);
    kinematics.f64s(&[0.0; 24]);
    kinematics.u32s(&[1]);
    body.sub_package(5, kinematics);

    let mut configuration = Bytes::default();
    configuration.f64s(&[-TAU, TAU].repeat(6));
    configuration.f64s(&[PI, 40.0].repeat(6));
    configuration.f64s(&[1.0, 1.2, 0.25, 1.2, 0.2]);
    configuration.f64s(&[0.0; 24]);
    configuration.u32s(&[1, 2, 0, 0]);
    body.sub_package(6, configuration);

    let mut force = Bytes::default();
    force.f64s(&[0.0; 7]);
    body.sub_package(7, force);

    let mut additional = Bytes::default();
    additional.u8s(&[0, 0, 0]);
    body.sub_package(8, additional);

    Bytes::package(16, body)
}

/// The realtime record of controllers from 5.10 on: 1220 bytes, length first.
fn realtime_record(robot: &Robot) -> Vec<u8> {
    let (q, qd, qdd, pose, speed) = (robot.q(), robot.qd(), robot.qdd(), robot.pose(), robot.pose_speed());
    let joint_mode = [if robot.powered() { 253.0 } else { 239.0 }; 6];
    let program = match robot.program {
        Program::Stopped => 1.0,
        Program::Playing => 2.0,
        Program::Paused => 4.0,
    };
    let safety = f64::from(robot.safety as u8);
    let mut record = Bytes(1220_u32.to_be_bytes().to_vec());
    record.f64s(&[robot.timestamp()]);
    for values in [q, qd, qdd, [0.1; 6], [0.0; 6]] {
        record.f64s(&values);
    }
    for values in [q, qd, [0.1; 6], [0.1; 6]] {
        record.f64s(&values);
    }
    for values in [pose, speed, [0.0; 6], pose, speed] {
        record.f64s(&values);
    }
    record.f64s(&[f64::from(robot.digital_in as u32)]);
    record.f64s(&[31.5; 6]);
    record.f64s(&[0.3, 0.0, robot.mode as i32 as f64]);
    record.f64s(&joint_mode);
    record.f64s(&[safety]);
    record.f64s(&[0.0; 6]);
    record.f64s(&[0.0, 0.0, 9.82]);
    record.f64s(&[0.0; 6]);
    record.f64s(&[robot.speed_slider, 0.0, 0.0, 0.0, 48.0, 48.0, 0.8]);
    record.f64s(&[48.0; 6]);
    record.f64s(&[f64::from(robot.digital_out as u32), program]);
    record.f64s(&[0.0, -0.2, 0.5, 0.0, 0.0, 0.0]);
    record.f64s(&[safety]);
    record.f64s(&[0.0; 3]);
    record.f64s(&[robot.payload]);
    record.f64s(&robot.cog);
    record.f64s(&[0.0; 6]);
    record.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realtime_record_is_as_long_as_it_says() {
        assert_eq!(realtime_record(&Robot::new()).len(), 1220);
    }

    /// Written apart from the dissector, which must read the same out of it.
    #[test]
    fn agrees_with_the_dissector() {
        use client_interface::{Package, Record, RobotMode, RobotState, SafetyMode};
        use dissect::Step;

        let mut robot = Robot::new();
        for program in [Program::Stopped, Program::Playing, Program::Paused] {
            robot.program = program;
            let shown = client_interface::Program::of(program as i8);
            let mode = RobotMode::of(robot.mode as i8);
            let package = robot_state(&robot);
            let Ok(Step::Whole { unit, .. }) = Package::step(&package) else { panic!("a package") };
            let state = RobotState::read(&unit).unwrap();
            let data = state.robot_mode().unwrap();
            assert_eq!((data.program(), data.robot_mode), (shown, mode));
            assert_eq!(state.safety_mode(), Some(SafetyMode::NORMAL));
            let bytes = realtime_record(&robot);
            let Ok(Step::Whole { unit, .. }) = Record::step(&bytes) else { panic!("a record") };
            assert_eq!(
                (unit.program(), unit.robot_mode(), unit.safety_mode()),
                (shown, mode, Some(SafetyMode::NORMAL))
            );
        }
    }

    #[test]
    fn robot_state_sub_packages_fill_the_package() {
        let package = robot_state(&Robot::new());
        let mut rest = &package[5..];
        let mut lengths = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_be_bytes(*rest.first_chunk().unwrap()) as usize;
            lengths.push((rest[4], length));
            rest = &rest[length..];
        }
        assert_eq!(
            lengths,
            [(0, 47), (1, 251), (2, 37), (3, 75), (4, 101), (5, 225), (6, 445), (7, 61), (8, 8)],
            "lengths as the maker's client library documents them"
        );
    }
}
