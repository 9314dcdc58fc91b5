//! Ways by XDP: frames that the kernel passes on at the driver's door, and a forwarder over AF_XDP sockets.
//!
//! The programs are `passes.c`, compiled when one is needed and loaded by aya. Both crates, aya and xdp, are for
//! measurements alone.

use std::ffi::CString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use aya::maps::XskMap;
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use vambrace::bench::{BenchError, Lane, inside};
use xdp::nic::NicIndex;
use xdp::slab::{HeapSlab, Slab};
use xdp::socket::{PollTimeout, XdpSocket, XdpSocketBuilder};
use xdp::umem::{FrameSize, Umem, UmemCfgBuilder};
use xdp::{RingConfigBuilder, WakableRings};

/// Why none of this can be measured here.
pub fn absent() -> Option<String> {
    let found = Command::new("clang").arg("--version").output().is_ok();
    (!found).then(|| "the command clang is missing (package clang)".to_owned())
}

/// The programs as an object file.
pub fn compile(directory: &Path) -> Result<Vec<u8>, BenchError> {
    let [source, object] = ["passes.c", "passes.o"].map(|name| directory.join(name));
    fs::write(&source, include_str!("../passes.c")).map_err(BenchError::of("passes.c"))?;
    // Where Debian has the headers of the machine's own kind of processor.
    let headers = format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    let output = Command::new("clang")
        .args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-idirafter", &headers, "-c"])
        .arg(&source)
        .arg("-o")
        .arg(&object)
        .output()
        .map_err(BenchError::of("clang"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(BenchError::Said(format!("clang: {}", said.lines().next().unwrap_or("failed"))));
    }
    fs::read(&object).map_err(BenchError::of("passes.o"))
}

/// Programs on the ports of a lane; taken off when dropped.
pub struct Passes {
    _loaded: Vec<Ebpf>,
}

impl Passes {
    /// Lets `program` decide on what comes in at either port between the ends.
    pub fn attach(lane: &Lane, directory: &Path, program: &str) -> Result<Self, BenchError> {
        let object = compile(directory)?;
        let between = lane.between().unwrap_or_default();
        let mut loaded = Vec::new();
        for (space, port, program, other) in [
            (lane.plant(), "p0", "take", None),
            (lane.robot(), "r0", "take", None),
            (between.clone(), "plant0", program, Some("robot0")),
            (between, "robot0", program, Some("plant0")),
        ] {
            loaded.push(inside(&space, || attach(&object, program, port, other))??);
        }
        Ok(Self { _loaded: loaded })
    }
}

/// Loads a program and puts it on a port of the calling thread's namespace.
fn attach(object: &[u8], program: &str, port: &str, other: Option<&str>) -> Result<Ebpf, BenchError> {
    let other = other.map(index).transpose()?.map_or(0, |index| index.0);
    let mut loaded = EbpfLoader::new()
        .override_global("other", &other, true)
        .load(object)
        .map_err(BenchError::of("programs of passes.c"))?;
    let absent = || BenchError::Said(format!("passes.c has no program {program}"));
    let xdp: &mut Xdp = loaded.program_mut(program).ok_or_else(absent)?.try_into().map_err(BenchError::of(program))?;
    xdp.load().map_err(BenchError::of(program))?;
    xdp.attach(port, XdpMode::Driver).map_err(BenchError::of(port))?;
    Ok(loaded)
}

fn index(port: &str) -> Result<NicIndex, BenchError> {
    let absent = || BenchError::Said(format!("there is no port {port}"));
    let name = CString::new(port).map_err(BenchError::of(port))?;
    NicIndex::lookup_by_name(&name).map_err(BenchError::of(port))?.ok_or_else(absent)
}

/// Frames that one call to send may take in copy mode. Source: Linux, net/xdp/xsk.c, TX_BATCH_SIZE.
const BATCH: usize = 32;
/// Places of each ring: as many as the box's own ring has.
const PLACES: u32 = 4096;

/// A port's socket; what stands in its rings lies in the memory that both ports share.
struct Port {
    rings: WakableRings,
    socket: XdpSocket,
    _program: Ebpf,
}

impl Port {
    fn open(umem: &mut Umem, object: &[u8], port: &str) -> Result<Self, BenchError> {
        let mut socket = XdpSocketBuilder::new().map_err(BenchError::of("AF_XDP"))?;
        let config =
            RingConfigBuilder { rx_count: PLACES, tx_count: PLACES, fill_count: PLACES, completion_count: PLACES };
        let config = config.build().map_err(BenchError::of("rings"))?;
        let (rings, mut flags) = socket.build_wakable_rings(umem, config).map_err(BenchError::of("rings"))?;
        flags.force_copy();
        let socket = socket.bind(index(port)?, 0, flags).map_err(BenchError::of(port))?;
        let mut program = attach(object, "to_socket", port, None)?;
        let sockets = program.map_mut("sockets").ok_or_else(|| BenchError::Said("no map of sockets".to_owned()))?;
        let mut sockets = XskMap::try_from(sockets).map_err(BenchError::of("map of sockets"))?;
        sockets.set(0, socket.raw_fd(), 0).map_err(BenchError::of("map of sockets"))?;
        let mut port = Self { rings, socket, _program: program };
        port.refill(umem, PLACES as usize)?;
        Ok(port)
    }

    /// Gives the kernel room for so many frames.
    fn refill(&mut self, umem: &mut Umem, frames: usize) -> Result<(), BenchError> {
        // SAFETY: the memory outlives both ports: `forward` owns it and opens them after it.
        unsafe { self.rings.fill_ring.enqueue(umem, frames, false) }.map_err(BenchError::of("fill ring"))?;
        Ok(())
    }
}

/// As the forwarder over AF_PACKET: both directions in one thread that never sleeps. No byte of a frame is copied between
/// the two ports but by the kernel, which here does it on the way in and on the way out.
pub fn forward(object: &[u8], core: usize, stop: &AtomicBool, ready: &AtomicBool) -> Result<(), BenchError> {
    vambrace::sys::pin_to(core).map_err(BenchError::of("core"))?;
    // Room for both rings of each port.
    let memory = UmemCfgBuilder { frame_size: FrameSize::TwoK, frame_count: 4 * PLACES, ..UmemCfgBuilder::default() };
    let mut umem = Umem::map(memory.build().map_err(BenchError::of("memory"))?).map_err(BenchError::of("memory"))?;
    let mut ports = [Port::open(&mut umem, object, "plant0")?, Port::open(&mut umem, object, "robot0")?];
    let mut batch = HeapSlab::with_capacity(BATCH);
    ready.store(true, Ordering::Release);
    while !stop.load(Ordering::Relaxed) {
        for at in 0..2 {
            let [first, second] = &mut ports;
            let (from, to) = if at == 0 { (first, second) } else { (second, first) };
            let Some(receive) = &mut from.rings.rx_ring else { continue };
            // SAFETY: packets leave the batch before the memory goes.
            let count = unsafe { receive.recv(&umem, &mut batch) };
            if count == 0 {
                continue;
            }
            if let Some(send) = &mut to.rings.tx_ring {
                // SAFETY: they are of this memory, and are not looked at again before the kernel has given them back.
                let sent = unsafe { send.send(&mut batch, true) };
                // Something is left: asking whether there is room sends as well.
                if sent.is_err() {
                    to.socket
                        .poll_write(PollTimeout::new(Some(std::time::Duration::ZERO)))
                        .map_err(BenchError::of("poll"))?;
                }
            }
            // What the ring had no room for is lost, as on the other ways.
            while let Some(packet) = batch.pop_back() {
                umem.free_packet(packet);
            }
            to.rings.completion_ring.dequeue(&mut umem, 2 * BATCH);
            from.refill(&mut umem, count)?;
        }
    }
    Ok(())
}
