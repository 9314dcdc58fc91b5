use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::Duration;

use crate::cli::Context;
use crate::control::{Client, ControlError, RemoteBox, Request, Response, Status};
use crate::record::{Cursor, read_after};

/// Time between two looks at the state.
const STATE: Duration = Duration::from_secs(1);
/// Time between two looks at event files, and before who could not be reached is tried again.
const EVENTS: Duration = Duration::from_millis(300);
/// Bytes of event files that are read at once.
const PAGE: usize = 1 << 20;
/// News that wait to be drawn; who asks waits then.
const WAITING: usize = 64;

/// What came from the box.
#[derive(Debug)]
pub(super) enum News {
    /// Its state.
    State(Box<Status>),
    /// Event lines.
    Lines(Vec<String>),
    /// It could not be asked for its state.
    Unreachable(String),
    /// Its events could not be read.
    NoEvents(String),
}

/// How to reach it, for a thread.
#[derive(Clone)]
struct Way {
    socket: std::path::PathBuf,
    remote: Option<RemoteBox>,
}

impl Way {
    fn connect(&self) -> Result<Client, ControlError> {
        match &self.remote {
            Some(remote) => Client::connect_remote(remote),
            None => Client::connect(&self.socket),
        }
    }
}

/// Starts to ask; the threads end when nobody takes what they bring.
pub(super) fn start(context: &Context) -> Receiver<News> {
    let (sender, receiver) = mpsc::sync_channel(WAITING);
    let way = Way { socket: context.socket.clone(), remote: context.remote.clone() };
    let (own, other) = (sender.clone(), way.clone());
    std::thread::spawn(move || follow_state(&other, &own));
    std::thread::spawn(move || follow_events(&way, &sender));
    receiver
}

fn follow_state(way: &Way, news: &SyncSender<News>) {
    let mut client = None::<Client>;
    loop {
        let asked = match client.take() {
            Some(client) => Ok(client),
            None => way.connect(),
        };
        let answer = asked.and_then(|mut client| client.ask(&Request::Status).map(|answer| (client, answer)));
        let news_of_it = match answer {
            Ok((kept, Response::Status(status))) => {
                client = Some(kept);
                News::State(status)
            }
            Ok((_, Response::Failed { messages, .. })) => News::Unreachable(messages.join("; ")),
            Ok(_) => News::Unreachable("the appliance answered something else".to_owned()),
            Err(error) => News::Unreachable(error.to_string()),
        };
        if news.send(news_of_it).is_err() {
            return;
        }
        std::thread::sleep(STATE);
    }
}

/// Follows events from now on; after a failure from where it was.
fn follow_events(way: &Way, news: &SyncSender<News>) {
    let mut place = None::<String>;
    loop {
        let done = if way.remote.is_some() { far(way, &mut place, news) } else { near(way, &mut place, news) };
        match done {
            Ok(()) => return,
            Err(line) => {
                if news.send(News::NoEvents(line)).is_err() {
                    return;
                }
            }
        }
        std::thread::sleep(STATE);
    }
}

/// The events of a box over its remote API; `Ok` where nobody listens any more.
fn far(way: &Way, place: &mut Option<String>, news: &SyncSender<News>) -> Result<(), String> {
    let mut client = way.connect().map_err(|error| error.to_string())?;
    loop {
        let after = place.clone().unwrap_or_else(|| "end".to_owned());
        match client.ask(&Request::EventLines { after, wait: true }).map_err(|error| error.to_string())? {
            Response::EventLines { lines, after, .. } => {
                *place = Some(after);
                if news.send(News::Lines(lines)).is_err() {
                    return Ok(());
                }
            }
            Response::Failed { messages, .. } => return Err(messages.join("; ")),
            _ => return Err("the box answered something else".to_owned()),
        }
    }
}

/// The events of the box at hand, from its folder.
fn near(way: &Way, place: &mut Option<String>, news: &SyncSender<News>) -> Result<(), String> {
    let answer =
        way.connect().and_then(|mut client| client.ask(&Request::Events)).map_err(|error| error.to_string())?;
    let directory = match answer {
        Response::Events { directory } => directory,
        Response::Failed { messages, .. } => return Err(messages.join("; ")),
        _ => return Err("the appliance answered something else".to_owned()),
    };
    let failed = |error: std::io::Error| format!("{directory}: {error}");
    let folder = Path::new(&directory);
    let mut cursor = match place.as_deref().map(str::parse::<Cursor>) {
        Some(Ok(cursor)) => cursor,
        _ => Cursor::end_of(folder).map_err(failed)?.0,
    };
    loop {
        let batch = read_after(folder, &cursor, PAGE).map_err(failed)?;
        cursor = batch.after;
        *place = Some(cursor.to_string());
        let empty = batch.lines.is_empty();
        // Sent also where there are none: then events can be read again.
        if news.send(News::Lines(batch.lines)).is_err() {
            return Ok(());
        }
        if empty {
            std::thread::sleep(EVENTS);
        }
    }
}
