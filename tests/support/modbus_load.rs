//! Modbus exchanges in a cell in virtual time. Frames its bytes by itself: shares no code with the dissectors.

use std::collections::VecDeque;

use super::virtual_net::{Cell, SECOND_NS, Service};

/// The port of Modbus.
pub const PORT: u16 = 502;

/// Allows registers 128 to 137: reading, and writing 0 to 120.
pub const POLICY: &str = r#"
version = 1
robot = "robot"
[[allow]]
id = "registers"
from = "plc"
service = "modbus"
function = ["read_holding_registers", "write_single_register"]
address = ["128..=137"]
value = "0..=120"
"#;

/// No exchange may take longer, in virtual time. At 5 % loss on both cables an exchange fails once in 5.4 tries, and the
/// timer doubles from 1 s to 60 s: six failures in a row, one exchange in 25,000, already take a minute. 600 s are 14 in
/// a row, one exchange in 2e10.
pub const PATIENCE_NS: u64 = 600 * SECOND_NS;

fn adu(transaction: u16, pdu: &[u8]) -> Vec<u8> {
    let len = (pdu.len() + 1) as u16;
    [&transaction.to_be_bytes()[..], &[0, 0], &len.to_be_bytes(), &[255], pdu].concat()
}

/// The length of the whole unit at the start of `bytes`, as its header has it.
pub fn unit_len(bytes: &[u8]) -> Option<usize> {
    let len = 6 + usize::from(u16::from_be_bytes([*bytes.get(4)?, *bytes.get(5)?]));
    (bytes.len() >= len).then_some(len)
}

/// A request that the policy allows; every tenth writes.
pub fn allowed(n: u32) -> Vec<u8> {
    let pdu = match n % 10 {
        9 => [6, 0, 128 + (n % 7) as u8, 0, (n % 121) as u8],
        m => [3, 0, 128 + (m as u8) / 2, 0, 1 + (n % 4) as u8],
    };
    adu(n as u16, &pdu)
}

/// A request that it refuses, and the exception code that the box answers with.
pub fn forbidden(n: u32) -> (Vec<u8>, u8) {
    let (pdu, code): (&[u8], u8) = match n % 4 {
        0 => (&[5, 0, 1, 0xff, 0], 1),
        1 => (&[6, 0, 3, 0, 1], 2),
        2 => (&[6, 0, 128, 0, 121], 3),
        _ => (&[3, 0, 137, 0, 2], 2),
    };
    (adu(n as u16, pdu), code)
}

/// What a request is answered with by [`server`].
pub fn answer(request: &[u8]) -> Vec<u8> {
    let transaction = u16::from_be_bytes([request[0], request[1]]);
    match request[7] {
        3 => {
            let count = request[11];
            let values = (0..u16::from(count)).flat_map(|at| (transaction ^ (at * 0x0101)).to_be_bytes());
            adu(transaction, &[3, count * 2].into_iter().chain(values).collect::<Vec<_>>())
        }
        _ => adu(transaction, &request[7..]),
    }
}

/// The exception that answers a request.
pub fn exception(request: &[u8], code: u8) -> Vec<u8> {
    adu(u16::from_be_bytes([request[0], request[1]]), &[request[7] | 0x80, code])
}

/// Answers every whole request, in order.
pub fn server() -> Service {
    Box::new(|bytes, out| {
        let Some(len) = unit_len(bytes) else { return 0 };
        out.extend_from_slice(&answer(&bytes[..len]));
        len
    })
}

/// How requests are sent.
#[derive(Clone, Copy)]
pub struct Load {
    /// How many.
    pub exchanges: u32,
    /// How many may be unanswered.
    pub in_flight: usize,
    /// Header and body in segments of their own.
    pub split: bool,
    /// Every so manieth request is one that the policy refuses; 0 = none.
    pub forbidden_every: u32,
}

/// A request, and what answers it.
fn exchange(load: &Load, n: u32) -> (Vec<u8>, Vec<u8>, bool) {
    if load.forbidden_every != 0 && n % load.forbidden_every == load.forbidden_every - 1 {
        let (request, code) = forbidden(n / load.forbidden_every);
        let answer = exception(&request, code);
        (request, answer, false)
    } else {
        let request = allowed(n);
        let answer = answer(&request);
        (request, answer, true)
    }
}

/// Sends the requests over the cell's first connection and checks everything that arrives on either side: the client
/// gets one right answer to each, in order, and nothing else; the server gets the allowed ones, whole and in order, and
/// nothing else.
pub fn run(cell: &mut Cell, load: Load) -> Result<(), String> {
    let mut awaited: VecDeque<Vec<u8>> = VecDeque::new();
    let (mut next, mut answered) = (0, 0);
    let (mut from_client, mut from_server) = (cell.server().received().len(), cell.client().received().len());
    let mut arriving: VecDeque<Vec<u8>> = VecDeque::new();
    while answered < load.exchanges {
        while next < load.exchanges && awaited.len() < load.in_flight {
            let (request, answer, is_allowed) = exchange(&load, next);
            let cut = if load.split { 7 } else { request.len() };
            let (header, body) = request.split_at(cut);
            cell.client_mut().send(header);
            if !body.is_empty() {
                cell.client_mut().send(body);
            }
            awaited.push_back(answer);
            if is_allowed {
                arriving.push_back(request);
            }
            next += 1;
        }
        let waiting = |bytes: &[u8], at: usize| bytes.get(at..).and_then(unit_len).is_some();
        cell.run_until(PATIENCE_NS, |cell| {
            waiting(cell.client().received(), from_server)
                || !cell.client().is_established()
                || !cell.server().is_established()
        })
        .map_err(|stalled| format!("exchange {answered} stalled: {stalled:?}"))?;
        take(cell.client().received(), &mut from_server, &mut awaited, &mut answered)
            .map_err(|error| format!("answer {answered}: {error}"))?;
        let mut got = 0;
        take(cell.server().received(), &mut from_client, &mut arriving, &mut got)
            .map_err(|error| format!("the server, before answer {answered}: {error}"))?;
        if !cell.client().is_established() || !cell.server().is_established() {
            return Err(format!(
                "the connection ended after {answered} answers: {:?} {:?}, refused {:?}",
                cell.client().state(),
                cell.server().state(),
                cell.refusals()
            ));
        }
    }
    cell.assert_balanced();
    let rest = [cell.client().received().len() - from_server, cell.server().received().len() - from_client];
    if rest == [0, 0] && arriving.is_empty() { Ok(()) } else { Err(format!("left over: {rest:?} bytes")) }
}

/// Compares whole units from `at` on with what is wanted, in order.
fn take(bytes: &[u8], at: &mut usize, wanted: &mut VecDeque<Vec<u8>>, count: &mut u32) -> Result<(), String> {
    while let Some(len) = unit_len(&bytes[*at..]) {
        let unit = &bytes[*at..*at + len];
        match wanted.pop_front() {
            Some(right) if right == unit => {}
            other => return Err(format!("got {unit:02x?}, wanted {other:02x?}")),
        }
        *at += len;
        *count += 1;
    }
    Ok(())
}
