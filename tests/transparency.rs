//! Every frame of the corpus through two ports and a plain forwarding loop: it must come out byte for byte.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use support::wire::{PLANT, ROBOT, Wire};
use support::{can_make_namespaces, corpus};
use vambrace::nic::prepare::prepare;
use vambrace::nic::{AfPacket, BATCH, Counters, FramePort, Geometry, wait};

/// A thread that forwards between the two ports of the box namespace until it is dropped.
struct Forwarder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<[Counters; 2]>>,
}

impl Forwarder {
    fn start(wire: &Wire, mtu: u32) -> Self {
        let open = |name| AfPacket::open(name, Geometry::for_mtu(mtu)).unwrap();
        let (mut plant, mut robot) = wire.inside.enter(|| (open(PLANT), open(ROBOT)));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                wait(&[&plant, &robot], Duration::from_millis(20)).unwrap();
                forward(&mut plant, &mut robot);
                forward(&mut robot, &mut plant);
            }
            [plant.counters(), robot.counters()]
        });
        Self { stop, thread: Some(thread) }
    }

    fn stop(mut self) -> [Counters; 2] {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

fn forward(from: &mut AfPacket, to: &mut AfPacket) {
    let count = from.receive().unwrap();
    let mut frames = [&[][..]; BATCH];
    for (index, place) in frames[..count].iter_mut().enumerate() {
        *place = from.frame(index).bytes;
    }
    to.transmit(&frames[..count]).unwrap();
    from.release();
}

fn assert_clean(counters: [Counters; 2], frames: usize) {
    for counted in counters {
        let clean = Counters { received: frames as u64, sent: frames as u64, ..Counters::default() };
        assert_eq!(counted, clean);
    }
}

#[test]
fn corpus_comes_out_byte_for_byte() {
    if !can_make_namespaces("corpus_comes_out_byte_for_byte") {
        return;
    }
    // 1508: what a port with an MTU of 1500 is set to, so that full frames with two tags go out again.
    let wire = Wire::new("corpus", 1508);
    let forwarder = Forwarder::start(&wire, 1508);
    let frames = corpus::frames();
    wire.assert_transparent(&frames);
    assert_clean(forwarder.stop(), frames.len());
}

#[test]
fn jumbo_frames_come_out_byte_for_byte() {
    if !can_make_namespaces("jumbo_frames_come_out_byte_for_byte") {
        return;
    }
    let wire = Wire::new("jumbo", 9008);
    let forwarder = Forwarder::start(&wire, 9008);
    let frames: Vec<_> = corpus::frames().into_iter().chain(corpus::jumbo()).collect();
    wire.assert_transparent(&frames);
    assert_clean(forwarder.stop(), frames.len());
}

#[test]
fn prepared_ports_let_the_corpus_through() {
    if !can_make_namespaces("prepared_ports_let_the_corpus_through") {
        return;
    }
    // Ports as they come: the usual MTU, offloads on.
    let wire = Wire::with_mtu("prepared", 1508, 1500);
    for port in [PLANT, ROBOT] {
        wire.inside.run(&["ethtool", "-K", port, "rx", "on", "gro", "on", "sg", "on", "tso", "on", "gso", "on"]);
    }
    let prepared = wire.inside.enter(|| prepare(PLANT, ROBOT)).unwrap();
    let forwarder = Forwarder::start(&wire, prepared.plant.mtu);
    let frames = corpus::frames();
    wire.assert_transparent(&frames);
    assert_clean(forwarder.stop(), frames.len());
}
