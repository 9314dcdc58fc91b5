//! RTDE server of the emulated controller: protocol versions 1 and 2, typed recipes, output streams, input ownership.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::variables::{Input, Reader, reader};
use super::{Shared, dashboard};
use crate::lab::journal::Connection;

/// Sends packages of one connection: set-up answers from the reading thread, data from the streaming one.
#[derive(Clone)]
struct Sender(Arc<Mutex<TcpStream>>);

impl Sender {
    fn send(&self, kind: u8, payload: &[u8]) -> bool {
        let mut package = Vec::with_capacity(payload.len() + 3);
        package.extend((payload.len() as u16 + 3).to_be_bytes());
        package.push(kind);
        package.extend(payload);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&package).is_ok()
    }
}

/// What the streaming thread sends.
struct Outputs {
    readers: Vec<Reader>,
    period: Duration,
    /// Absent in protocol version 1, where data packages carry none.
    recipe_id: Option<u8>,
    running: bool,
}

/// Answers one client until it leaves; its claims on inputs end with it.
pub(super) fn serve(mut connection: Connection, shared: &Arc<Shared>) {
    let Ok(stream) = connection.stream.try_clone() else { return };
    let sender = Sender(Arc::new(Mutex::new(stream)));
    let outputs = Arc::new(Mutex::new(Outputs {
        readers: Vec::new(),
        period: Duration::from_secs(1) / shared.options.rate_hz,
        recipe_id: None,
        running: false,
    }));
    let gone = Arc::new(AtomicBool::new(false));
    let stream_thread = {
        let (shared, sender, outputs, gone) =
            (Arc::clone(shared), sender.clone(), Arc::clone(&outputs), Arc::clone(&gone));
        thread::spawn(move || stream_outputs(&shared, &sender, &outputs, &gone))
    };
    let mut session = Session { version: 1, inputs: Vec::new(), outputs, sender, shared: Arc::clone(shared) };
    let mut header = [0; 3];
    while connection.read_exact(&mut header) {
        let size = usize::from(u16::from_be_bytes([header[0], header[1]]));
        if size < 3 {
            connection.did("malformed", json!({ "size": size }));
            break;
        }
        let mut payload = vec![0; size - 3];
        if !connection.read_exact(&mut payload) || !session.package(&connection, header[2], &payload) {
            break;
        }
    }
    gone.store(true, Ordering::Release);
    shared.input_owners().retain(|_, owner| *owner != connection.peer);
    let _streamer_panicked = stream_thread.join();
}

struct Session {
    version: u16,
    /// Input recipes in order; the id is the index plus one. An invalid one is empty.
    inputs: Vec<Vec<Input>>,
    outputs: Arc<Mutex<Outputs>>,
    sender: Sender,
    shared: Arc<Shared>,
}

impl Session {
    fn outputs(&self) -> std::sync::MutexGuard<'_, Outputs> {
        self.outputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Executes one package; false where the connection ends.
    fn package(&mut self, connection: &Connection, kind: u8, payload: &[u8]) -> bool {
        match kind {
            b'V' => {
                let asked = payload.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes));
                let accepted = asked == 1 || asked == 2;
                if accepted {
                    self.version = asked;
                }
                connection.did("protocol version", json!({ "version": asked, "accepted": accepted }));
                self.sender.send(kind, &[u8::from(accepted)])
            }
            b'v' => {
                let (major, minor, bugfix, build) = dashboard::VERSION;
                let words = [major, minor, bugfix, build].map(u32::to_be_bytes);
                self.sender.send(kind, words.as_flattened())
            }
            b'M' => {
                connection.did("message", json!({ "text": String::from_utf8_lossy(payload) }));
                true
            }
            b'O' => self.set_up_outputs(connection, payload),
            b'I' => self.set_up_inputs(connection, payload),
            b'S' => {
                let accepted = !self.outputs().readers.is_empty() || !self.inputs.is_empty();
                self.outputs().running = accepted;
                connection.did("start", json!({ "accepted": accepted }));
                self.sender.send(kind, &[u8::from(accepted)])
            }
            b'P' => {
                self.outputs().running = false;
                connection.did("pause", json!({}));
                self.sender.send(kind, &[1])
            }
            b'U' => {
                self.data(connection, payload);
                true
            }
            _ => {
                connection.did("unknown package", json!({ "type": kind }));
                true
            }
        }
    }

    fn set_up_outputs(&mut self, connection: &Connection, payload: &[u8]) -> bool {
        let fastest = f64::from(self.shared.options.rate_hz);
        let (frequency, names) = match payload.split_first_chunk::<8>() {
            Some((frequency, names)) if self.version == 2 => (f64::from_be_bytes(*frequency), names),
            _ => (fastest, payload),
        };
        let names = String::from_utf8_lossy(names).into_owned();
        let mut types = Vec::new();
        let mut readers = Vec::new();
        {
            let robot = self.shared.robot();
            for name in listed(&names) {
                match reader(name) {
                    Some(read) => {
                        types.push(read(&robot).type_name());
                        readers.push(read);
                    }
                    None => types.push("NOT_FOUND"),
                }
            }
        }
        let valid = !types.is_empty() && !types.contains(&"NOT_FOUND");
        if !valid {
            readers.clear();
        }
        let recipe_id = u8::from(valid);
        connection.did(
            "set up outputs",
            json!({ "frequency_hz": frequency, "names": listed(&names).collect::<Vec<_>>(), "recipe": recipe_id }),
        );
        let version = self.version;
        {
            let mut outputs = self.outputs();
            outputs.readers = readers;
            let rate = if frequency.is_finite() { frequency.clamp(1.0, fastest) } else { fastest };
            outputs.period = Duration::from_secs_f64(1.0 / rate);
            outputs.recipe_id = (version == 2).then_some(recipe_id);
            outputs.running = false;
        }
        let mut answer = if version == 2 { vec![recipe_id] } else { Vec::new() };
        answer.extend(types.join(",").into_bytes());
        self.sender.send(b'O', &answer)
    }

    fn set_up_inputs(&mut self, connection: &Connection, payload: &[u8]) -> bool {
        let names = String::from_utf8_lossy(payload).into_owned();
        let mut types = Vec::new();
        let mut recipe = Vec::new();
        {
            let mut owners = self.shared.input_owners();
            for name in listed(&names) {
                match Input::named(name) {
                    None => types.push("NOT_FOUND"),
                    Some(_) if owners.get(name).is_some_and(|owner| *owner != connection.peer) => types.push("IN_USE"),
                    Some(input) => {
                        types.push(input.type_name());
                        recipe.push(input);
                    }
                }
            }
            let valid = !types.is_empty() && recipe.len() == types.len() && self.inputs.len() < 255;
            if valid {
                owners.extend(recipe.iter().map(|input| (input.name.clone(), connection.peer)));
            } else {
                recipe.clear();
            }
        }
        let mut recipe_id = 0;
        if !recipe.is_empty() {
            self.inputs.push(recipe);
            recipe_id = self.inputs.len() as u8;
        }
        connection.did(
            "set up inputs",
            json!({ "names": listed(&names).collect::<Vec<_>>(), "types": types, "recipe": recipe_id }),
        );
        let mut answer = vec![recipe_id];
        answer.extend(types.join(",").into_bytes());
        self.sender.send(b'I', &answer)
    }

    /// Writes the values of one data package. Before `S` and after `P` too: what a real controller does then is unknown.
    fn data(&self, connection: &Connection, payload: &[u8]) {
        let Some((&id, mut values)) = payload.split_first() else { return };
        let Some(recipe) = usize::from(id).checked_sub(1).and_then(|index| self.inputs.get(index)) else {
            connection.did("data without recipe", json!({ "recipe": id }));
            return;
        };
        let mut robot = self.shared.robot();
        let mut written = serde_json::Map::new();
        for input in recipe {
            let Some(value) = input.decode(&mut values) else { break };
            input.store(value, &mut robot);
            written.insert(input.name.clone(), value.json());
        }
        robot.apply_rtde_inputs();
        robot.answer_register();
        connection.did("write", json!({ "recipe": id, "values": written }));
    }
}

/// The names of a comma-separated list; a trailing comma is no name.
fn listed(names: &str) -> impl Iterator<Item = &str> {
    names.split(',').map(str::trim).filter(|name| !name.is_empty())
}

fn stream_outputs(shared: &Shared, sender: &Sender, outputs: &Mutex<Outputs>, gone: &AtomicBool) {
    let mut next = Instant::now();
    let mut package = Vec::new();
    while !gone.load(Ordering::Acquire) {
        let period = {
            let outputs = outputs.lock().unwrap_or_else(PoisonError::into_inner);
            package.clear();
            if outputs.running {
                package.extend(outputs.recipe_id);
                let robot = shared.robot();
                for read in &outputs.readers {
                    read(&robot).encode(&mut package);
                }
            }
            outputs.period
        };
        if !package.is_empty() && !sender.send(b'U', &package) {
            return;
        }
        next += period;
        let now = Instant::now();
        // A stream that fell behind skips packages, as the real one does.
        if next < now {
            next = now;
        }
        // Slices, so that a stream of 1 Hz still ends soon after its client.
        while next > Instant::now() && !gone.load(Ordering::Acquire) {
            thread::sleep(next.saturating_duration_since(Instant::now()).min(Duration::from_millis(50)));
        }
    }
}
