//! `top`: the running box on a whole terminal, as it changes.
//!
//! Two threads ask (the state once a second, events as they come), this one draws and listens to keys. What is drawn
//! depends on the [`Model`] alone.

mod model;
mod source;
mod view;

#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use rustix::event::{PollFd, PollFlags, Timespec};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{Context, Exit, ask, fail};
use crate::control::{Request, Response};
use model::{Model, Order};
use source::News;

/// How long a key may wait: what a person takes for at once.
const KEYS: Duration = Duration::from_millis(50);

/// Time between two drawings where nothing happens: ages go on.
const DRAW: Duration = Duration::from_millis(500);

/// Shows the box until `q`.
pub(super) fn run(context: &Context) -> Exit {
    if context.json || !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        let what = "top draws on a terminal; `vambrace status` prints the state once, with --json for programs";
        return fail(Exit::Usage, &what);
    }
    // Asked before the screen is taken: what goes wrong is one line on the terminal as it was.
    let status = match ask(context, &Request::Status) {
        Ok(Response::Status(status)) => *status,
        Ok(_) => return fail(Exit::Failed, &"the appliance answered something else"),
        Err(exit) => return exit,
    };
    let mut model = Model::new(status);
    let news = source::start(context);
    let ended = match Ended::register() {
        Ok(ended) => ended,
        Err(error) => return fail(Exit::Failed, &format!("signal handlers: {error}")),
    };
    // Restores the terminal in a panic as well, in whatever thread.
    let done = ratatui::try_init().and_then(|mut terminal| show(&mut terminal, &mut model, &news, &ended));
    let restored = ratatui::try_restore();
    if is_gone() {
        // Nothing to restore, and nobody to tell.
        return Exit::Fine;
    }
    match done.and(restored) {
        Ok(()) => Exit::Fine,
        Err(error) => fail(Exit::Failed, &format!("terminal: {error}")),
    }
}

/// Signals that end the program: the terminal is restored first.
struct Ended(Arc<AtomicBool>);

/// How long the view may take to end after a signal.
const GRACE: Duration = Duration::from_secs(1);

impl Ended {
    fn register() -> std::io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGQUIT])?;
        let own = Arc::clone(&flag);
        std::thread::spawn(move || {
            if signals.forever().next().is_some() {
                own.store(true, Ordering::Relaxed);
                std::thread::sleep(GRACE);
                // A terminal that went away while keys were read from it keeps their reader for ever.
                let _ = ratatui::try_restore();
                std::process::exit(Exit::Fine as i32);
            }
        });
        Ok(Self(flag))
    }
}

/// Whether nobody is at the other end of the terminal any more.
fn is_gone() -> bool {
    let stdin = std::io::stdin();
    let mut terminal = [PollFd::new(&stdin, PollFlags::empty())];
    let asked = rustix::event::poll(&mut terminal, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok();
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    asked && terminal.iter().any(|it| it.revents().intersects(gone))
}

fn show(
    terminal: &mut DefaultTerminal,
    model: &mut Model,
    news: &Receiver<News>,
    ended: &Ended,
) -> std::io::Result<()> {
    let begun = Instant::now();
    let mut drawn = None::<Instant>;
    let mut changed = true;
    while !ended.0.load(Ordering::Relaxed) {
        if changed || drawn.is_none_or(|at| at.elapsed() >= DRAW) {
            terminal.draw(|frame| view::draw(frame, model, begun.elapsed().as_secs_f64()))?;
            drawn = Some(Instant::now());
            changed = false;
        }
        match news.recv_timeout(KEYS) {
            Ok(news) => {
                model.take(news, begun.elapsed().as_secs_f64());
                changed = true;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(std::io::Error::other("whoever asks the appliance has ended"));
            }
        }
        // Asked before keys are: a terminal without another end always has something to read, which is nothing.
        if is_gone() {
            return Ok(());
        }
        while event::poll(Duration::ZERO)? {
            changed = true;
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => match order(key) {
                    Some(Order::Quit) => return Ok(()),
                    Some(order) => model.obey(order),
                    None => {}
                },
                _ => {}
            }
        }
    }
    Ok(())
}

/// What a key means.
fn order(key: KeyEvent) -> Option<Order> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, KeyCode::Char('c')).then_some(Order::Quit);
    }
    Some(match key.code {
        KeyCode::Char('q') | KeyCode::Esc => Order::Quit,
        KeyCode::Char(digit @ '1'..='4') => Order::Tab(usize::try_from(digit.to_digit(10)?).ok()?.saturating_sub(1)),
        KeyCode::Tab | KeyCode::Right => Order::NextTab,
        KeyCode::BackTab | KeyCode::Left => Order::LastTab,
        KeyCode::Down | KeyCode::Char('j') => Order::Down(1),
        KeyCode::Up | KeyCode::Char('k') => Order::Up(1),
        KeyCode::PageDown => Order::Down(10),
        KeyCode::PageUp => Order::Up(10),
        KeyCode::Home => Order::Up(usize::MAX),
        KeyCode::End => Order::Down(usize::MAX),
        KeyCode::Char('s') => Order::Sort,
        KeyCode::Char('r') => Order::Reverse,
        KeyCode::Char('p') | KeyCode::Char(' ') => Order::Freeze,
        _ => return None,
    })
}
