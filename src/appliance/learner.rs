use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use dissect::Toward;

use crate::command::{Command, Socket};
use crate::engine::{Actions, Arena, Observer, Pipeline, Rules, Tap, Who};
use crate::event::Verdict;
use crate::learn::{Observations, Seen};
use crate::nic::{Frame, FrameMeta};
use crate::policy::Policy;

/// Frames that wait for the learner: a second of a busy cell.
const WAITING: usize = 4096;

/// Longest frame that is learned from; jumbo frames of a robot's network are no commands.
const LONGEST: usize = 2048;

/// Pause of the learner when nothing waits.
const PAUSE: Duration = Duration::from_millis(5);

struct Copied {
    toward: Toward,
    meta: FrameMeta,
    len: usize,
    bytes: [u8; LONGEST],
}

/// Copies of frames on their way to the learner. Bounded; what finds no room is counted and told of in the proposal.
pub(super) struct Frames {
    full: ArrayQueue<Box<Copied>>,
    free: ArrayQueue<Box<Copied>>,
    lost: AtomicU64,
}

impl Frames {
    pub(super) fn new() -> Self {
        let frames = Self { full: ArrayQueue::new(WAITING), free: ArrayQueue::new(WAITING), lost: AtomicU64::new(0) };
        let meta = FrameMeta { received_ns: 0, wire_len: 0, checksum_partial: false };
        for _ in 0..WAITING {
            let _ = frames.free.push(Box::new(Copied { toward: Toward::Robot, meta, len: 0, bytes: [0; LONGEST] }));
        }
        frames
    }
}

/// The worker's end of the way to the learner.
pub(super) struct LearnerTap(pub(super) Arc<Frames>);

impl Tap for LearnerTap {
    fn frame(&self, toward: Toward, frame: &Frame<'_>) {
        let fits = frame.bytes.len() <= LONGEST;
        let Some(mut copied) = fits.then(|| self.0.free.pop()).flatten() else {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        copied.toward = toward;
        copied.meta = frame.meta;
        copied.len = frame.bytes.len();
        if let Some(to) = copied.bytes.get_mut(..frame.bytes.len()) {
            to.copy_from_slice(frame.bytes);
        }
        let _ = self.0.full.push(copied);
    }
}

/// What the learner has gathered so far; shared with whoever asks.
pub(super) struct Gathered {
    pub(super) observations: Observations,
    pub(super) started: Instant,
    pub(super) lost: u64,
}

struct Listener {
    gathered: Arc<Mutex<Gathered>>,
    /// The policy in force when learning began: what it denies is not learned.
    policy: Arc<Policy>,
}

impl Observer for Listener {
    fn command(&mut self, who: &Who, command: &Command<'_>, _: &Verdict) {
        if let Ok(mut gathered) = self.gathered.lock() {
            learn_command(&mut gathered.observations, &self.policy, who, command);
        }
    }

    fn connection(&mut self, who: &Who) {
        if let Ok(mut gathered) = self.gathered.lock() {
            gathered.observations.connection(&seen(who));
        }
    }

    fn part(&mut self, who: &Who, bytes: &[u8]) {
        if let Ok(mut gathered) = self.gathered.lock() {
            gathered.observations.part(who.key.plant.ip(), bytes);
        }
    }

    fn socket(&mut self, peer: IpAddr, port: u16) -> Option<Socket> {
        self.gathered.lock().ok()?.observations.socket(peer, port)
    }
}

/// Learns from a command, unless a deny rule of `policy` names it.
pub(crate) fn learn_command(observations: &mut Observations, policy: &Policy, who: &Who, command: &Command<'_>) {
    let client = policy.client(who.key.plant.ip());
    if policy.denies(client, who.opened, command) {
        observations.denied(&seen(who));
    } else {
        observations.command(&seen(who), command);
    }
}

/// What learning keeps of who sent a command.
pub(crate) fn seen(who: &Who) -> Seen {
    Seen { peer: who.key.plant.ip(), opened: who.opened, service: who.service, wall_ns: who.wall_ns }
}

/// The learner: reads copies of frames through an engine of its own, off the packet path.
pub(super) struct Learner {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    gathered: Arc<Mutex<Gathered>>,
}

impl Learner {
    /// Begins with nothing; judges nothing, so `rules` matter for addresses alone.
    pub(super) fn start(frames: Arc<Frames>, rules: Arc<Rules>) -> std::io::Result<Self> {
        while let Some(copied) = frames.full.pop() {
            let _ = frames.free.push(copied);
        }
        frames.lost.store(0, Ordering::Relaxed);
        let gathered =
            Arc::new(Mutex::new(Gathered { observations: Observations::default(), started: Instant::now(), lost: 0 }));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (gathered, stop) = (Arc::clone(&gathered), Arc::clone(&stop));
            std::thread::Builder::new().name("learner".into()).spawn(move || learn(&frames, rules, &gathered, &stop))?
        };
        Ok(Self { stop, thread: Some(thread), gathered })
    }

    /// What was gathered so far.
    pub(super) fn gathered(&self) -> &Mutex<Gathered> {
        &self.gathered
    }

    /// Reads what waits, ends, and leaves what was gathered.
    pub(super) fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Learner {
    fn drop(&mut self) {
        self.end();
    }
}

/// The end of reading: once it was asked for, those frames are still read that waited then, however many come behind them.
#[derive(Debug, Default)]
struct Ending {
    left: Option<usize>,
}

impl Ending {
    /// Whether one more frame is read, or waited for.
    fn reads_on(&mut self, asked: bool, waiting: usize) -> bool {
        if self.left.is_none() && asked {
            self.left = Some(waiting);
        }
        let goes_on = self.left != Some(0);
        self.left = self.left.map(|left| left.saturating_sub(1));
        goes_on
    }
}

fn learn(frames: &Frames, rules: Arc<Rules>, gathered: &Arc<Mutex<Gathered>>, stop: &AtomicBool) {
    let mut arena = Arena::boxed(1);
    let listener = Listener { gathered: Arc::clone(gathered), policy: Arc::clone(&rules.policy) };
    let mut pipeline = Pipeline::new(&mut arena, rules, listener);
    let mut actions = Actions::new();
    let begun = Instant::now();
    let mut ending = Ending::default();
    while ending.reads_on(stop.load(Ordering::Relaxed), frames.full.len()) {
        let Some(copied) = frames.full.pop() else {
            if let Ok(mut gathered) = gathered.lock() {
                gathered.lost = frames.lost.load(Ordering::Relaxed);
            }
            std::thread::sleep(PAUSE);
            continue;
        };
        let now_ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
        let frame = Frame { bytes: copied.bytes.get(..copied.len).unwrap_or_default(), meta: copied.meta };
        pipeline.poll(now_ns, &mut actions);
        actions.begin(0, copied.toward);
        pipeline.handle(copied.toward, &frame, now_ns, &mut actions);
        actions.clear();
        let _ = frames.free.push(copied);
    }
    // Under a flood there was no pause in which to say so.
    if let Ok(mut gathered) = gathered.lock() {
        gathered.lost = frames.lost.load(Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::engine::Mode;

    #[test]
    fn what_waited_at_the_end_is_read_and_nothing_behind_it() {
        let mut ending = Ending::default();
        assert!((0..10_000).all(|_| ending.reads_on(false, 7)));
        // As many come as are read.
        assert_eq!((0..10_000).take_while(|_| ending.reads_on(true, 7)).count(), 7);
        assert!(!Ending::default().reads_on(true, 0));
    }

    /// Frames come as long as the mode is `learn`, and the mode changes after the learner has ended.
    #[test]
    fn ends_though_frames_keep_coming() {
        let text = "mode = \"learn\"\n[ports]\nplant = \"a\"\nrobot = \"b\"\n\
                    [[asset]]\nname = \"robot\"\nip = \"10.20.0.40\"\nside = \"robot\"\n";
        let config = Config::parse("test", text).unwrap();
        let rules = Arc::new(crate::appliance::plan::rules(&config, Mode::Learn, Arc::new(Policy::empty(1))));
        let frames = Arc::new(Frames::new());
        let tap = LearnerTap(Arc::clone(&frames));
        let mut learner = Learner::start(Arc::clone(&frames), rules).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let floods: Vec<_> = (0..2)
            .map(|_| {
                let (tap, over) = (LearnerTap(Arc::clone(&tap.0)), Arc::clone(&over));
                std::thread::spawn(move || {
                    let meta = FrameMeta { received_ns: 0, wire_len: 1514, checksum_partial: false };
                    let bytes = [0x5a; 1514];
                    while !over.load(Ordering::Relaxed) {
                        tap.frame(Toward::Robot, &Frame { bytes: &bytes, meta });
                    }
                })
            })
            .collect();
        while frames.lost.load(Ordering::Relaxed) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let (begun, (done, ended)) = (Instant::now(), std::sync::mpsc::channel());
        let ending = std::thread::spawn(move || {
            learner.end();
            let lost = learner.gathered().lock().unwrap().lost;
            done.send((begun.elapsed(), lost)).unwrap();
        });
        let took = ended.recv_timeout(Duration::from_secs(20));
        over.store(true, Ordering::Relaxed);
        floods.into_iter().for_each(|flood| flood.join().unwrap());
        ending.join().unwrap();
        let (_, lost) = took.expect("it read on as long as frames came");
        assert!(lost > 0, "the proposal says how many it did not see");
    }
}
