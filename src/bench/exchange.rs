//! Modbus exchanges of which one spinning thread owns both ends.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::{BenchError, Lane, Stop, inside};

/// No answer for so long ends a measurement. What was lost is sent again several times within it, and counts.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many exchanges, and when each begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Exchanges that are measured.
    pub count: usize,
    /// Exchanges before them that are not.
    pub warm_up: usize,
    /// A new one each so many nanoseconds; 0: as soon as the last one is answered.
    ///
    /// The times are fixed beforehand and each exchange is measured from its own, also where the one before held it up:
    /// a stall counts for all that had to wait.
    pub every_ns: u64,
}

/// Both ends of one connection, without blocking.
#[derive(Debug)]
pub struct Ends {
    /// The plant's end.
    pub client: TcpStream,
    /// The robot's end.
    pub server: TcpStream,
}

/// Opens connections to `port` of the robot through a lane.
///
/// # Errors
/// One does not open within five seconds.
pub fn connect(lane: &Lane, port: u16, count: usize) -> Result<Vec<Ends>, BenchError> {
    let address = SocketAddr::from((lane.robot_address(), port));
    let listener = inside(&lane.robot(), || TcpListener::bind(address))?.map_err(BenchError::of("listener"))?;
    listener.set_nonblocking(true).map_err(BenchError::of("listener"))?;
    (0..count)
        .map(|_| {
            let client = inside(&lane.plant(), || TcpStream::connect_timeout(&address, Duration::from_secs(5)))?
                .map_err(BenchError::of(format!("no connection to {address} through the lane")))?;
            let server = accept(&listener)?;
            for stream in [&client, &server] {
                stream.set_nodelay(true).map_err(BenchError::of("TCP_NODELAY"))?;
                stream.set_nonblocking(true).map_err(BenchError::of("O_NONBLOCK"))?;
            }
            Ok(Ends { client, server })
        })
        .collect()
}

/// The robot's end of a connection that the client's has already: it comes a moment later.
fn accept(listener: &TcpListener) -> Result<TcpStream, BenchError> {
    let start = Instant::now();
    loop {
        match listener.accept() {
            Ok((server, _)) => return Ok(server),
            Err(error) if error.kind() == ErrorKind::WouldBlock && start.elapsed() < PATIENCE => std::hint::spin_loop(),
            Err(error) => return Err(BenchError::of("accept")(error)),
        }
    }
}

/// Request `n` and its answer: ten registers are read; every tenth request writes one.
#[must_use]
pub fn modbus_exchange(n: u16) -> ([u8; 12], Vec<u8>) {
    let [high, low] = n.to_be_bytes();
    // What the policy of the measurement allows: registers 0 to 199, values to 255.
    let register = low.checked_rem(100).unwrap_or(0);
    if n % 10 == 9 {
        let request = [high, low, 0, 0, 0, 6, 1, 6, 0, register, 0, low];
        return (request, request.to_vec());
    }
    let request = [high, low, 0, 0, 0, 6, 1, 3, 0, register, 0, 10];
    let mut answer = vec![high, low, 0, 0, 0, 23, 1, 3, 20];
    answer.resize(29, low);
    (request, answer)
}

impl Ends {
    /// One connection to the robot's Modbus server.
    ///
    /// # Errors
    /// As [`connect`].
    pub fn open(lane: &Lane) -> Result<Self, BenchError> {
        connect(lane, 502, 1)?.pop().ok_or_else(|| BenchError::Said("no connection".to_owned()))
    }

    /// Sends a request and answers it; absent where the connection ends or is silent for ten seconds.
    ///
    /// # Errors
    /// Another request or answer arrives than was sent.
    pub fn exchange(&mut self, request: &[u8], answer: &[u8]) -> Result<Option<()>, BenchError> {
        Ok(match pass(&mut self.client, &mut self.server, request)? {
            Some(()) => pass(&mut self.server, &mut self.client, answer)?,
            None => None,
        })
    }

    /// A whole round of exchanges; the time of each in nanoseconds.
    ///
    /// # Errors
    /// An exchange fails, or the end was asked for.
    pub fn round(&mut self, load: Load, stop: &Stop) -> Result<Vec<u64>, BenchError> {
        let mut times = Vec::with_capacity(load.count);
        let exchanges: Vec<_> = (0..1000).map(modbus_exchange).collect();
        let mut due = Instant::now();
        for (n, (request, answer)) in exchanges.iter().cycle().take(load.count.saturating_add(load.warm_up)).enumerate()
        {
            stop.check()?;
            if load.every_ns == 0 {
                due = Instant::now();
            } else {
                due = due.checked_add(Duration::from_nanos(load.every_ns)).unwrap_or(due);
                while Instant::now() < due {
                    std::hint::spin_loop();
                }
            }
            if self.exchange(request, answer)?.is_none() {
                return Err(BenchError::Said(format!(
                    "exchange {n} was not answered; does something else use the lane?"
                )));
            }
            let taken = due.elapsed();
            if n >= load.warm_up {
                times.push(u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX));
            }
        }
        Ok(times)
    }
}

/// Sends a unit of at most 64 bytes and takes it at the other end.
fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) -> Result<Option<()>, BenchError> {
    let mut buffer = [0; 64];
    let Some(buffer) = buffer.get_mut(..bytes.len()) else { return Ok(None) };
    if from.write_all(bytes).is_err() || receive(to, buffer).is_none() {
        return Ok(None);
    }
    if *buffer == *bytes { Ok(Some(())) } else { Err(BenchError::Said("what arrived is not what was sent".to_owned())) }
}

/// Spins until `buffer` is full.
fn receive(stream: &mut TcpStream, buffer: &mut [u8]) -> Option<()> {
    let start = Instant::now();
    let mut have = 0_usize;
    while let Some(room) = buffer.get_mut(have..).filter(|room| !room.is_empty()) {
        match stream.read(room) {
            Ok(0) => return None,
            Ok(more) => have = have.saturating_add(more),
            Err(error) if error.kind() == ErrorKind::WouldBlock && start.elapsed() < PATIENCE => std::hint::spin_loop(),
            Err(_) => return None,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_are_whole_units_that_the_policy_of_measurements_allows() {
        for n in 0..1000 {
            let (request, answer) = modbus_exchange(n);
            for unit in [&request[..], &answer] {
                assert_eq!(unit.len(), 6 + usize::from(unit[5]), "the length of the header");
            }
            assert!(request[9] < 100 && (request[7] == 3 || request[7] == 6));
        }
    }
}
