//! The updater: takes orders, writes the other slot, and watches over a version on trial.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::bundle::{Signed, checked};
use super::order::{self, Order, What};
use super::status::{self, Ended, State, Status};
use super::tell::{Step, Steps};
use super::trial::{self, Pending, Start};
use super::watch::{RESTART, SETTLED};
use super::{KEPT, RUN, epoch, health, slot};
use crate::disk::{loaded_from, partitions};
use crate::release::{self, Release};
use crate::slots::{self, VARIABLES};
use crate::{At, Failure};

/// Time between two looks for orders.
const LOOK: Duration = Duration::from_millis(500);

/// Time between two looks whether a version on trial is sound.
const HEALTH: Duration = Duration::from_secs(2);

/// Time between two tries to tell the guard of a step.
const TELL: Duration = Duration::from_secs(5);

/// How long the outcome of an order stands before the box starts again: who ordered it from afar looks twice a second, over
/// a connection that ends with the box.
const ANSWERED: Duration = Duration::from_secs(3);

/// How long the guard may take to record that the box is about to start again.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// The slots, by name, and the devices of both.
struct Slots {
    own: String,
    other: String,
    device: PathBuf,
}

struct Updater {
    release: Release,
    config: PathBuf,
    slots: Slots,
    steps: Steps,
    status: Status,
    trial: Option<Trial>,
    told_at: Duration,
    ending: bool,
}

/// A version on trial. Times are those since the kernel began, so that an updater that ended and began anew goes on.
struct Trial {
    pending: Pending,
    held_since: Option<Duration>,
    looked: Duration,
    /// Whether the dissectors have passed their test.
    tested: bool,
    /// What did not hold at the last look.
    unmet: Vec<String>,
}

/// Why an order is not carried out.
struct Refusal {
    why: String,
    /// Whether it could be at another time, or on an operator's word.
    unsafe_now: bool,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self { why: failure.0, unsafe_now: false }
    }
}

/// Nothing comes between a robot and its program unless somebody says so.
fn idle_or_now(order: &Order) -> Result<(), Refusal> {
    if order.now {
        return Ok(());
    }
    health::robot_is_idle().map_err(|failure| Refusal { why: failure.0, unsafe_now: true })
}

/// Runs until PID 1 ends. `config` is the file that the guard runs with.
#[must_use]
pub fn run(config: &Path) -> ExitCode {
    let failure = match Updater::begin(config) {
        Ok(updater) => return updater.work(),
        Err(failure) => failure,
    };
    say(&format!("no updates: {failure}"));
    let _ = status::show(&Status { other: failure.0, ..Status::default() }, Path::new(RUN));
    // PID 1 would start it again, with the same end.
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// A line for the log, which PID 1 reads.
fn say(line: &str) {
    println!("{line}");
}

/// Time since the kernel began.
fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}

impl Slots {
    fn find() -> Result<Self, Failure> {
        let from =
            loaded_from().ok_or_else(|| Failure("the firmware does not say which slot was started".to_owned()))?;
        let all = partitions();
        let own = all.iter().find(|it| it.uuid.as_ref() == Some(&from));
        let own = own.ok_or_else(|| Failure("the slot that was started is on no disk".to_owned()))?;
        let name = match own.name.as_str() {
            "esp-a" => "esp-b",
            "esp-b" => "esp-a",
            other => return Err(Failure(format!("what was started is no slot: {other:?}"))),
        };
        let other = crate::disk::on_own_disk(&all, &from, name);
        let device = other.ok_or_else(|| Failure(format!("the disk has no partition {name}")))?.device.clone();
        Ok(Self { own: own.name.clone(), other: name.to_owned(), device })
    }
}

impl Updater {
    fn begin(config: &Path) -> Result<Self, Failure> {
        let release = Release::read(Path::new(release::FILE))?;
        let slots = Slots::find()?;
        let steps = Steps::read(Path::new(KEPT));
        let status = Status {
            version: release.version.to_string(),
            slot: slots.own.clone(),
            hold_seconds: release.trial.hold_seconds,
            ..Status::default()
        };
        let config = config.to_owned();
        let mut updater =
            Self { release, config, slots, steps, status, trial: None, told_at: Duration::ZERO, ending: false };
        updater.after_start();
        Ok(updater)
    }

    /// Finds out what this start is.
    fn after_start(&mut self) {
        let variables = Path::new(VARIABLES);
        let floor = epoch::floor(variables, Path::new(KEPT));
        if self.release.epoch < floor {
            say(&format!(
                "ALARM: this system is of security epoch {}, {floor} ran here before: it has known flaws; bring an update",
                self.release.epoch
            ));
        }
        match Start::of(variables, &self.slots.own) {
            Start::Usual => {
                if slots::first(variables).is_some_and(|first| first != self.slots.own) {
                    say(&format!("{} did not start; bring an update, which writes it anew", self.slots.other));
                }
            }
            Start::OnTrial(pending) => {
                say(&format!("version {} is on trial; {} comes back unless it is sound", pending.to, pending.from));
                self.step("tried", &pending, "");
                let held_since = None;
                self.trial =
                    Some(Trial { pending, held_since, looked: Duration::ZERO, tested: false, unmet: Vec::new() });
            }
            Start::Kept(pending) => {
                if let Err(failure) = self.keep(&pending, "the power went before this was told") {
                    say(&failure.to_string());
                }
            }
            Start::CameBack(pending) => {
                // A firmware that honours it has removed it.
                let ignored = slots::try_no_more(variables).unwrap_or(false);
                let why = if ignored { "the firmware tried nothing once" } else { "it did not start, or ended" };
                say(&format!("version {} did not stay: {why}", pending.to));
                self.step("reverted", &pending, why);
                self.end_trial();
            }
        }
        self.look_at_slots();
    }

    fn work(mut self) -> ExitCode {
        let incoming = Path::new(KEPT).join(order::FOLDER);
        loop {
            self.show();
            std::thread::sleep(LOOK);
            // PID 1 sees to the rest.
            if self.ending {
                continue;
            }
            if let Some(taken) = order::take(&incoming) {
                match taken {
                    Ok(order) => self.obey(&order, &incoming),
                    Err(failure) => say(&format!("an order was not understood: {failure}")),
                }
            }
            self.watch_trial();
            if now().saturating_sub(self.told_at) > TELL {
                self.told_at = now();
                // The guard may be starting; it is told at the next try.
                let _ = self.steps.tell();
            }
        }
    }

    fn show(&mut self) {
        self.status.first = slots::first(Path::new(VARIABLES)).unwrap_or("unknown").to_owned();
        self.status.epoch = self.floor();
        self.status.steps = self.steps.all();
        if let Some(trial) = &self.trial {
            let now = now();
            self.status.held_seconds = trial.held_since.map_or(0, |since| now.saturating_sub(since).as_secs());
            self.status.left_seconds = self.release.trial.limit().saturating_sub(now).as_secs();
            self.status.unmet.clone_from(&trial.unmet);
        } else {
            (self.status.held_seconds, self.status.left_seconds) = (0, 0);
            self.status.unmet.clear();
        }
        self.status.state = match (self.ending, &self.trial) {
            (true, _) => State::Restarting,
            (false, Some(_)) => State::Trial,
            (false, None) => State::Idle,
        };
        self.put();
    }

    fn put(&self) {
        if let Err(failure) = status::show(&self.status, Path::new(RUN)) {
            say(&failure.to_string());
        }
    }

    fn look_at_slots(&mut self) {
        self.status.other = match slot::header(&self.slots.device, &self.release.update_key) {
            Ok(signed) => signed.header.version.to_string(),
            Err(failure) => format!("not known: {failure}"),
        };
    }

    /// The lowest epoch that may run: a version on trial does not count before it stays.
    fn floor(&self) -> u32 {
        let kept = epoch::floor(Path::new(VARIABLES), Path::new(KEPT));
        if self.trial.is_some() { kept } else { kept.max(self.release.epoch) }
    }

    fn step(&mut self, step: &str, pending: &Pending, why: &str) {
        let step = Step {
            step: step.to_owned(),
            from: pending.from.clone(),
            to: pending.to.clone(),
            who: pending.who.clone(),
            why: why.to_owned(),
            ..Step::default()
        };
        let why = if why.is_empty() { String::new() } else { format!(", {why}") };
        say(&format!("update from {} to {}, {}: {}{why}", step.from, step.to, step.who, step.step));
        if let Err(failure) = self.steps.add(step) {
            say(&format!("a step of an update is not kept: {failure}"));
        }
        self.told_at = Duration::ZERO;
    }

    fn obey(&mut self, order: &Order, incoming: &Path) {
        self.status.order.clone_from(&order.id);
        (self.status.result, self.status.outcome) = (Ended::Pending, String::new());
        self.status.state = State::Busy;
        self.put();
        let mut pending =
            Pending { from: self.release.version.to_string(), who: order.who.clone(), ..Pending::default() };
        let done = match order.what {
            What::Apply => self.apply(order, incoming, &mut pending),
            What::Confirm => self.confirm(&mut pending),
            What::Rollback => self.roll_back(order, &mut pending),
        };
        if order.what == What::Apply {
            order::remove_bundle(incoming);
        }
        (self.status.result, self.status.outcome) = match done {
            Ok(outcome) => (Ended::Done, outcome),
            Err(Refusal { why, unsafe_now }) => {
                self.step("refused", &pending, &why);
                (if unsafe_now { Ended::Unsafe } else { Ended::Refused }, why)
            }
        };
        self.look_at_slots();
    }

    fn apply(&mut self, order: &Order, incoming: &Path, pending: &mut Pending) -> Result<String, Refusal> {
        if let Some(trial) = &self.trial {
            let what = "is on trial: wait until it stays, confirm it, or roll back";
            return Err(Failure(format!("version {} {what}", trial.pending.to)).into());
        }
        let mut file = order::bundle(incoming)?;
        let signed = Signed::read(&mut file, &self.release.update_key)?;
        let header = &signed.header;
        pending.to = header.version.to_string();
        header.suits(&self.release, self.floor())?;
        if header.version == self.release.version {
            return Err(Failure(format!("version {} runs already", header.version)).into());
        }
        // The whole of it before a byte is written. Who left it may change it meanwhile, so it is hashed again as it is
        // written, and once more as the disk gives it back.
        checked(&mut file, header, |_| Ok(()))?;
        idle_or_now(order)?;
        self.step("begun", pending, "");
        slots::put_first(Path::new(VARIABLES), &self.slots.own)?;
        let mut file = order::bundle(incoming)?;
        if Signed::read(&mut file, &self.release.update_key)? != signed {
            return Err(Failure("the bundle was changed while it was read".to_owned()).into());
        }
        slot::write(&self.slots.device, &signed, &mut file)?;
        slot::verify(&self.slots.device, header)?;
        self.step("written", pending, "");
        Ok(self.try_other(pending)?)
    }

    fn confirm(&mut self, pending: &mut Pending) -> Result<String, Refusal> {
        let Some(trial) = &self.trial else { return Err(Failure("no version is on trial".to_owned()).into()) };
        *pending = Pending { who: pending.who.clone(), ..trial.pending.clone() };
        self.keep(pending, "an operator's word")?;
        Ok(format!("version {} stays", self.release.version))
    }

    fn roll_back(&mut self, order: &Order, pending: &mut Pending) -> Result<String, Refusal> {
        if let Some(trial) = self.trial.take() {
            *pending = Pending { who: pending.who.clone(), ..trial.pending };
            return Ok(self.go_back(pending, "an operator's word"));
        }
        let signed = slot::header(&self.slots.device, &self.release.update_key)?;
        pending.to = signed.header.version.to_string();
        signed.header.suits(&self.release, self.floor())?;
        slot::verify(&self.slots.device, &signed.header)?;
        idle_or_now(order)?;
        self.step("begun", pending, "back to the version before");
        Ok(self.try_other(pending)?)
    }

    /// Has the other slot started once.
    fn try_other(&mut self, pending: &mut Pending) -> Result<String, Failure> {
        let variables = Path::new(VARIABLES);
        pending.slot.clone_from(&self.slots.other);
        trial::begin(variables, pending)?;
        if let Err(failure) = slots::try_once(variables, &self.slots.other) {
            let _ = trial::end(variables);
            return Err(failure);
        }
        let outcome = format!("version {} is in {}; the box starts again to try it", pending.to, pending.slot);
        self.restart(&outcome);
        Ok(outcome)
    }

    fn watch_trial(&mut self) {
        let Some(trial) = &mut self.trial else { return };
        let limit = self.release.trial.limit();
        if now().saturating_sub(trial.looked) < HEALTH {
            return;
        }
        let unmet = health::unmet(Path::new(RUN), &self.config, self.release.trial.latency_us, !trial.tested);
        trial.tested |= unmet.is_empty();
        let now = now();
        trial.looked = now;
        if unmet != trial.unmet {
            let what = if unmet.is_empty() { "everything holds".to_owned() } else { unmet.join("; ") };
            say(&format!("trial of version {}: {what}", trial.pending.to));
        }
        trial.unmet = unmet;
        trial.held_since = if trial.unmet.is_empty() { trial.held_since.or(Some(now)) } else { None };
        if trial.held_since.is_some_and(|since| now.saturating_sub(since) >= self.release.trial.hold()) {
            let pending = trial.pending.clone();
            let why = format!("everything held for {} s", self.release.trial.hold_seconds);
            if let Err(failure) = self.keep(&pending, &why) {
                // On trial still: the limit brings the version before back.
                say(&failure.to_string());
            }
        } else if now >= limit {
            let (pending, why) = (trial.pending.clone(), trial.unmet.join("; "));
            let why = if why.is_empty() { "it was not sound for long enough".to_owned() } else { why };
            self.go_back(&pending, &why);
        }
    }

    /// The version that runs stays.
    fn keep(&mut self, pending: &Pending, why: &str) -> Result<(), Failure> {
        let variables = Path::new(VARIABLES);
        slots::put_first(variables, &self.slots.own)?;
        if let Err(failure) = epoch::raise(self.release.epoch, variables, Path::new(KEPT)) {
            say(&failure.to_string());
        }
        self.step("committed", pending, why);
        self.end_trial();
        self.trial = None;
        if let Err(error) = File::create(Path::new(RUN).join(SETTLED)) {
            say(&format!("{SETTLED}: {error}"));
        }
        Ok(())
    }

    /// The version before comes back.
    fn go_back(&mut self, pending: &Pending, why: &str) -> String {
        self.step("reverted", pending, why);
        self.end_trial();
        self.trial = None;
        let outcome = format!("version {} comes back: {why}", pending.from);
        self.restart(&outcome);
        outcome
    }

    fn end_trial(&self) {
        if let Err(failure) = trial::end(Path::new(VARIABLES)) {
            say(&failure.to_string());
        }
    }

    /// Has PID 1 start the box again, once the guard has recorded why, if it can.
    fn restart(&mut self, why: &str) {
        let asked = now();
        while !matches!(self.steps.tell(), Ok(true)) && now().saturating_sub(asked) < LAST_WORDS {
            std::thread::sleep(LOOK);
        }
        self.ending = true;
        self.status.state = State::Restarting;
        (self.status.result, self.status.outcome) = (Ended::Done, why.to_owned());
        self.put();
        std::thread::sleep(ANSWERED);
        if let Err(failure) = fs::write(Path::new(RUN).join(RESTART), why).at(RESTART) {
            say(&failure.to_string());
        }
    }
}
