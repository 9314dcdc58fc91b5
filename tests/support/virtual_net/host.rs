//! A TCP stack with its network card and its connections.

use std::cell::Cell as Shared;
use std::collections::VecDeque;
use std::net::Ipv4Addr;

use link::Mac;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};

thread_local! {
    /// Where the stacks' timestamps option gets its value from: their generator takes no argument.
    pub(super) static NOW_MS: Shared<u32> = const { Shared::new(0) };
}

/// The network card of a stack: frames in, frames out.
#[derive(Default)]
pub(super) struct Card {
    pub(super) inbox: VecDeque<Vec<u8>>,
    pub(super) outbox: Vec<Vec<u8>>,
    /// Frames that were read; their memory goes back to the cable.
    pub(super) done: Vec<Vec<u8>>,
    pub(super) spare: Vec<Vec<u8>>,
}

pub(super) struct Incoming<'c>(Vec<u8>, &'c mut Vec<Vec<u8>>);

pub(super) struct Outgoing<'c>(&'c mut Vec<Vec<u8>>, &'c mut Vec<Vec<u8>>);

impl phy::RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        let result = read(&self.0);
        self.1.push(self.0);
        result
    }
}

impl phy::TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut bytes = self.1.pop().unwrap_or_default();
        bytes.clear();
        bytes.resize(len, 0);
        let result = write(&mut bytes);
        self.0.push(bytes);
        result
    }
}

impl phy::Device for Card {
    type RxToken<'c> = Incoming<'c>;
    type TxToken<'c> = Outgoing<'c>;

    fn receive(&mut self, _: Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        let bytes = self.inbox.pop_front()?;
        Some((Incoming(bytes, &mut self.done), Outgoing(&mut self.outbox, &mut self.spare)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing(&mut self.outbox, &mut self.spare))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// What answers on a line: gets the bytes that it has not taken yet, appends what it answers, says how many it took.
pub type Service = Box<dyn FnMut(&[u8], &mut Vec<u8>) -> usize>;

/// One end of a TCP connection.
pub struct Line {
    handle: SocketHandle,
    state: tcp::State,
    received: Vec<u8>,
    /// Up to where the service has taken what was received.
    taken: usize,
    unsent: Vec<u8>,
    sent: usize,
    /// Lengths of the pieces in `unsent` that go in segments of their own.
    pieces: VecDeque<usize>,
    closing: bool,
    service: Option<Service>,
}

impl Line {
    fn new(handle: SocketHandle, service: Option<Service>) -> Self {
        Self {
            handle,
            state: tcp::State::Closed,
            received: Vec::new(),
            taken: 0,
            unsent: Vec::new(),
            sent: 0,
            pieces: VecDeque::new(),
            closing: false,
            service,
        }
    }

    /// Sends bytes; what one call sends begins a segment of its own.
    pub fn send(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
        self.pieces.push_back(bytes.len());
    }

    /// Ends this direction after everything before it.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Everything received since the start.
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// State of the connection after the last step.
    pub fn state(&self) -> tcp::State {
        self.state
    }

    /// Whether it stands and nothing ended it.
    pub fn is_established(&self) -> bool {
        self.state == tcp::State::Established
    }

    /// Reads and writes; says whether the stack has something to do because of it.
    fn pump(&mut self, socket: &mut tcp::Socket<'_>) -> bool {
        self.state = socket.state();
        let mut busy = false;
        while socket.can_recv() {
            let _ = socket.recv(|bytes| {
                self.received.extend_from_slice(bytes);
                (bytes.len(), ())
            });
            busy = true;
        }
        if let Some(service) = &mut self.service {
            while self.taken < self.received.len() {
                let before = self.unsent.len();
                let taken = service(&self.received[self.taken..], &mut self.unsent);
                self.taken += taken;
                if self.unsent.len() > before {
                    self.pieces.push_back(self.unsent.len() - before);
                }
                if taken == 0 {
                    break;
                }
            }
        }
        if let Some(piece) = self.pieces.front_mut()
            && socket.can_send()
        {
            let sent = socket.send_slice(&self.unsent[self.sent..self.sent + *piece]).unwrap_or(0);
            self.sent += sent;
            *piece -= sent;
            if *piece == 0 {
                self.pieces.pop_front();
            }
            if self.pieces.is_empty() {
                self.unsent.clear();
                self.sent = 0;
            }
            busy |= sent > 0;
        }
        if self.closing && self.pieces.is_empty() && socket.may_send() {
            socket.close();
            busy = true;
        }
        busy
    }
}

/// A stack with its card and its lines.
pub struct Host {
    interface: Interface,
    sockets: SocketSet<'static>,
    pub(super) card: Card,
    pub(super) lines: Vec<Line>,
    /// When it wants to be looked at; `None` = only when a frame comes.
    pub(super) due_ns: Option<u64>,
    next_port: u16,
    in_flight: usize,
}

impl Host {
    pub(super) fn new(address: Ipv4Addr, mac: Mac, seed: u64) -> Self {
        let mut card = Card::default();
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac.0)));
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut card, Instant::ZERO);
        interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(address.into(), 24)).unwrap());
        let sockets = SocketSet::new(Vec::new());
        Self { interface, sockets, card, lines: Vec::new(), due_ns: Some(0), next_port: 40_000, in_flight: 65_535 }
    }

    /// How many bytes lines opened from now on have unacknowledged at most; 65,535 unless told.
    pub fn set_in_flight(&mut self, bytes: usize) {
        self.in_flight = bytes;
    }

    fn socket(&self) -> tcp::Socket<'static> {
        // As a kernel's: the largest windows without scaling, timestamps on, every write its own segment.
        let buffer = |len| tcp::SocketBuffer::new(vec![0; len]);
        let mut socket = tcp::Socket::new(buffer(65_535), buffer(self.in_flight));
        socket.set_nagle_enabled(false);
        socket.set_tsval_generator(Some(|| NOW_MS.get()));
        socket
    }

    /// Waits for one connection to `port`; the service answers on it. Says which line it is.
    pub fn listen(&mut self, port: u16, service: Option<Service>) -> usize {
        let mut socket = self.socket();
        socket.listen(port).unwrap();
        self.add(socket, service)
    }

    /// Opens a connection. Says which line it is.
    pub fn connect(&mut self, address: Ipv4Addr, port: u16) -> usize {
        let mut socket = self.socket();
        self.next_port += 1;
        socket.connect(self.interface.context(), (address, port), self.next_port).unwrap();
        self.add(socket, None)
    }

    fn add(&mut self, socket: tcp::Socket<'static>, service: Option<Service>) -> usize {
        let handle = self.sockets.add(socket);
        self.lines.push(Line::new(handle, service));
        self.due_ns = Some(0);
        self.lines.len() - 1
    }

    /// A line.
    pub fn line(&self, at: usize) -> &Line {
        &self.lines[at]
    }

    /// A line to send on.
    pub fn line_mut(&mut self, at: usize) -> &mut Line {
        self.due_ns = Some(0);
        &mut self.lines[at]
    }

    /// Lets the stack work until it has nothing more to do now.
    pub(super) fn poll(&mut self, now_ns: u64) {
        let now = Instant::from_micros(i64::try_from(now_ns / 1000).unwrap());
        loop {
            self.interface.poll(now, &mut self.card, &mut self.sockets);
            let mut busy = false;
            for line in &mut self.lines {
                busy |= line.pump(self.sockets.get_mut(line.handle));
            }
            if !busy {
                break;
            }
        }
        let at = self.interface.poll_at(now, &self.sockets);
        // A stack that asks for "now" after it was looked at gets its turn a microsecond later.
        self.due_ns = at.map(|at| (u64::try_from(at.total_micros()).unwrap_or(0) * 1000).max(now_ns + 1000));
    }
}
