//! The clock by a time server on the management port: SNTP, as a process of its own that may set the clock and nothing
//! else. Without a server the clock is the board's.
//!
//! Source: RFC 4330 (SNTP), RFC 5905 section 7.3 (the packet).

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use clock_steering::unix::UnixClock;
use clock_steering::{Clock, TimeOffset, Timestamp};

/// The program's name as a child: `init clock SERVER...`.
pub const COMMAND: &str = "clock";

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Time between two looks once the clock is right, and while no server answers.
const RIGHT: Duration = Duration::from_secs(600);
const SILENT: Duration = Duration::from_secs(15);

/// Below this the clock is left as it is: a quartz drifts a tenth of it in a second of a bad day, and each step is a jump
/// in the records.
const TOLERATED_NS: i128 = 5_000_000;

/// Seconds from 1900, where NTP begins, to 1970.
const FROM_1900: u64 = 2_208_988_800;

/// Nothing is older than the source of this program, 2026-01-01: a server that says so is wrong.
const EARLIEST: u64 = 1_767_225_600;

const PACKET: usize = 48;

/// Asks the servers that are named, for ever.
#[must_use]
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let servers: Vec<IpAddr> = args.filter_map(|it| it.to_str()?.parse().ok()).collect();
    if servers.is_empty() {
        eprintln!("clock needs the address of a time server");
        return ExitCode::from(2);
    }
    let clock = UnixClock::CLOCK_REALTIME;
    let mut told = None;
    loop {
        let found = servers.iter().find_map(|server| ask(&clock, *server).ok().map(|offset| (*server, offset)));
        let now = found.map(|(server, _)| server);
        if told != Some(now) {
            told = Some(now);
            match now {
                Some(server) => println!("the clock follows {server}"),
                None => println!("no time server answers: the clock is the board's"),
            }
        }
        match found {
            Some((_, offset)) => {
                if let Err(error) = set(&clock, offset) {
                    eprintln!("the clock can't be set: {error:?}");
                }
                std::thread::sleep(RIGHT);
            }
            None => std::thread::sleep(SILENT),
        }
    }
}

/// Sets the clock where it is wrong by more than is tolerated, and tells the kernel that it is right: the kernel then
/// writes the time to the board's clock as well.
fn set(clock: &UnixClock, offset_ns: i128) -> Result<(), clock_steering::unix::Error> {
    if offset_ns.abs() > TOLERATED_NS {
        let seconds = offset_ns.div_euclid(1_000_000_000);
        let nanos = u32::try_from(offset_ns.rem_euclid(1_000_000_000)).unwrap_or(0);
        clock.step_clock(TimeOffset { seconds: i64::try_from(seconds).unwrap_or(0), nanos })?;
        println!("the clock was wrong by {} ms", offset_ns.div_euclid(1_000_000).saturating_neg());
    }
    // What a network of a plant may add to half of a round trip.
    clock.error_estimate_update(Duration::from_millis(30), Duration::from_millis(300))?;
    clock.set_leap_seconds(clock_steering::LeapIndicator::NoWarning)
}

/// How far the clock is behind a server, in nanoseconds.
fn ask(clock: &UnixClock, server: IpAddr) -> std::io::Result<i128> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(SocketAddr::new(server, 123))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // What the server repeats, so that its answer is one to this question: random, and no word of the own clock.
    let mut cookie = [0_u8; 8];
    rustix::rand::getrandom(&mut cookie, rustix::rand::GetRandomFlags::empty())?;
    let sent = nanoseconds(clock);
    socket.send(&question(cookie))?;
    let mut answer = [0_u8; 512];
    let length = socket.recv(&mut answer)?;
    let arrived = nanoseconds(clock);
    let (received, left) = answer
        .get(..length)
        .and_then(|answer| times(answer, cookie))
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "no usable answer"))?;
    // RFC 5905, section 8: half of what both ways differ by.
    let there = received.saturating_sub(sent);
    Ok(there.saturating_add(left.saturating_sub(arrived)).div_euclid(2))
}

fn nanoseconds(clock: &UnixClock) -> i128 {
    let Ok(Timestamp { seconds, nanos, .. }) = clock.now() else { return 0 };
    i128::from(seconds).saturating_mul(1_000_000_000).saturating_add(i128::from(nanos))
}

/// Version 4, client; all else is zero but the time of sending.
fn question(cookie: [u8; 8]) -> [u8; PACKET] {
    let mut packet = [0_u8; PACKET];
    let [first, .., a, b, c, d, e, f, g, h] = &mut packet;
    *first = 0b00_100_011;
    [*a, *b, *c, *d, *e, *f, *g, *h] = cookie;
    packet
}

/// When the question arrived at the server and its answer left, in nanoseconds since 1970; `None` where it is no answer to
/// this question, or from a server whose own clock is not set.
fn times(answer: &[u8], cookie: [u8; 8]) -> Option<(i128, i128)> {
    const SERVER: u8 = 4;
    const NOT_SET: u8 = 3;
    let [head, stratum, ..] = answer else { return None };
    let is_fit = answer.len() >= PACKET
        && head & 7 == SERVER
        && head >> 6 != NOT_SET
        && (1..=15).contains(stratum)
        && *answer.get(24..)?.first_chunk::<8>()? == cookie;
    if !is_fit {
        return None;
    }
    let (received, left) = (time(*answer.get(32..)?.first_chunk()?)?, time(*answer.get(40..)?.first_chunk()?)?);
    (left >= received).then_some((received, left))
}

/// Seconds since 1900 and a fraction. The seconds turn over in 2036: what is before the earliest possible is after that.
fn time(bytes: [u8; 8]) -> Option<i128> {
    let [a, b, c, d, fraction @ ..] = bytes;
    let seconds = u64::from(u32::from_be_bytes([a, b, c, d]));
    let since = match seconds.checked_sub(FROM_1900).filter(|since| *since >= EARLIEST) {
        Some(since) => since,
        None => seconds.checked_add(1 << 32)?.checked_sub(FROM_1900)?,
    };
    // The turn is in 2036; a box does not outlive 2100, and a server that says so is wrong.
    const LATEST: u64 = 4_102_444_800;
    if !(EARLIEST..LATEST).contains(&since) {
        return None;
    }
    let nanos = u64::from(u32::from_be_bytes(fraction)).checked_mul(1_000_000_000)? >> 32;
    i128::from(since).checked_mul(1_000_000_000)?.checked_add(i128::from(nanos))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]
    use super::*;

    fn answer(cookie: [u8; 8], seconds: u32) -> [u8; PACKET] {
        let mut packet = [0_u8; PACKET];
        packet[0] = 0b00_100_100;
        packet[1] = 2;
        packet[24..32].copy_from_slice(&cookie);
        packet[32..36].copy_from_slice(&seconds.to_be_bytes());
        packet[40..44].copy_from_slice(&seconds.to_be_bytes());
        packet[44] = 0x80;
        packet
    }

    /// 2026-11-30, in NTP's seconds.
    const NOW: u32 = 3_989_001_600;

    #[test]
    fn an_answer_is_one_to_this_question_alone() {
        let cookie = *b"question";
        let (received, left) = times(&answer(cookie, NOW), cookie).unwrap();
        assert_eq!(received, (i128::from(NOW) - i128::from(FROM_1900)) * 1_000_000_000);
        assert_eq!(left - received, 500_000_000);
        assert_eq!(times(&answer(cookie, NOW), *b"another!"), None);
        let asked = question(cookie);
        assert_eq!((asked[0], &asked[40..]), (0x23, &cookie[..]));
        for end in 0..PACKET {
            assert_eq!(times(&answer(cookie, NOW)[..end], cookie), None, "{end} bytes");
        }
    }

    #[test]
    fn a_server_that_knows_no_time_is_not_believed() {
        let cookie = *b"question";
        // Leap indicator "not set"; stratum 0, which is a farewell, and 16; no server; a time before this program.
        for (at, value) in [(0, 0b11_100_100), (1, 0), (1, 16), (0, 0b00_100_011)] {
            let mut packet = answer(cookie, NOW);
            packet[at] = value;
            assert_eq!(times(&packet, cookie), None, "byte {at}");
        }
        let mut packet = answer(cookie, NOW);
        packet[35] += 1;
        assert_eq!(times(&packet, cookie), None, "it left before it arrived");
        // 2000: after the turn it would be 2136.
        assert_eq!(times(&answer(cookie, 3_155_673_600), cookie), None);
        // Two years after the turn of 2036.
        assert!(times(&answer(cookie, 63_072_000), cookie).is_some());
    }
}
