//! Numbered frames of a type that passes unread, from one end of the line to the other: which of them came, how often,
//! and when.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::netns::Netns;
use super::raw::RawSocket;

/// Time between two probes: how finely it is seen when frames pass again.
const BEAT: Duration = Duration::from_millis(1);

/// What became of all that were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// How many were sent.
    pub sent: u64,
    /// Numbers of those that never came.
    pub lost: Vec<u64>,
    /// Numbers of those that came more than once.
    pub doubled: Vec<u64>,
    /// Longest time between two arrivals.
    pub longest_gap: Duration,
}

/// The stream; ends with the value.
#[derive(Debug)]
pub struct Probes {
    sent: Arc<AtomicU64>,
    /// Number and time of each arrival.
    came: Arc<Mutex<Vec<(u64, Instant)>>>,
    /// The highest number so far.
    highest: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    stop_sending: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Probes {
    /// From a port in one namespace to a port in another, one each millisecond.
    pub fn start((from, out): (&Netns, &str), (to, into): (&Netns, &str)) -> Self {
        let sender = from.enter(|| RawSocket::open(out).unwrap());
        let receiver = to.enter(|| RawSocket::open(into).unwrap());
        let (sent, highest): (Arc<AtomicU64>, Arc<AtomicU64>) = (Arc::default(), Arc::default());
        let came = Arc::<Mutex<Vec<(u64, Instant)>>>::default();
        let (stop, stop_sending): (Arc<AtomicBool>, Arc<AtomicBool>) = (Arc::default(), Arc::default());
        // LLDP's type, between addresses of nobody; other ones in either direction, as on a real line.
        let nobody = u8::try_from(out.len()).unwrap_or(0);
        let head = [2, 0, 0, 0, nobody, 2, 2, 0, 0, 0, nobody, 1, 0x88, 0xcc];
        let (counter, ended) = (Arc::clone(&sent), Arc::clone(&stop_sending));
        let send = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let number = counter.load(Ordering::SeqCst) + 1;
                let frame = [&head[..], &number.to_be_bytes(), &[0; 40]].concat();
                // What the kernel did not take was never on the cable.
                if sender.send(&frame).is_ok() {
                    counter.store(number, Ordering::SeqCst);
                }
                std::thread::sleep(BEAT);
            }
        });
        let (arrivals, top, ended) = (Arc::clone(&came), Arc::clone(&highest), Arc::clone(&stop));
        let receive = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let Some(frame) = receiver.receive(Duration::from_millis(50)).unwrap() else { continue };
                if frame.get(..14) == Some(&head[..]) {
                    let number = u64::from_be_bytes(frame[14..22].try_into().unwrap());
                    arrivals.lock().unwrap().push((number, Instant::now()));
                    top.fetch_max(number, Ordering::SeqCst);
                }
            }
        });
        Self { sent, came, highest, stop, stop_sending, threads: vec![send, receive] }
    }

    /// How long after `since` the first frame arrived that is sent from now on; none within ten seconds where absent.
    pub fn back_after(&self, since: Instant) -> Option<Duration> {
        // One that is being sent may have been on its way before.
        let first = self.sent.load(Ordering::SeqCst) + 2;
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if self.highest.load(Ordering::SeqCst) >= first {
                let came = self.came.lock().unwrap();
                let at = came.iter().rev().take_while(|(number, _)| *number >= first).last()?.1;
                return Some(at.saturating_duration_since(since));
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        None
    }

    /// How many arrived so far.
    pub fn came(&self) -> usize {
        self.came.lock().unwrap().len()
    }

    /// Stops sending, waits for what is under way, and counts.
    pub fn tally(&self) -> Tally {
        self.stop_sending.store(true, Ordering::Relaxed);
        let started = Instant::now();
        let sent = || self.sent.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        while self.highest.load(Ordering::SeqCst) < sent() && started.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(100));
        let came = self.came.lock().unwrap();
        let mut times = vec![0_u32; usize::try_from(sent()).unwrap() + 1];
        came.iter().for_each(|(number, _)| times[usize::try_from(*number).unwrap()] += 1);
        let which = |fits: fn(u32) -> bool| -> Vec<u64> {
            (1_u64..).zip(&times[1..]).filter(|(_, times)| fits(**times)).map(|(number, _)| number).collect()
        };
        let gaps = came.windows(2).map(|pair| pair[1].1.saturating_duration_since(pair[0].1));
        let longest_gap = gaps.max().unwrap_or_default();
        Tally { sent: sent(), lost: which(|times| times == 0), doubled: which(|times| times > 1), longest_gap }
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.stop_sending.store(true, Ordering::Relaxed);
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
