//! Keeps the pack in force, what of it was chosen, and the outcome of the last self-test.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::trials::under_mode;
use super::{Limits, Loaded, try_all};
use crate::appliance::plan;
use crate::config::Config;
use crate::control::{PatchReport, PatchState};
use crate::engine::{Mode, WorkerShared};
use crate::event::Notice;
use crate::patches::Version;
use crate::policy::{Moment, Policy};

/// Longest self-test. It takes a tenth of a second where nothing else runs; a policy of a thousand groups of peers
/// and a busy core take longer.
const LONGEST: Duration = Duration::from_secs(20);

/// Longest wait of somebody who asks for the outcome of a self-test that runs.
const PATIENCE: Duration = Duration::from_secs(25);

/// How much the self-test gives way to everything else on the machine.
const NICE: i32 = 19;

/// What a self-test is made of.
pub(in crate::appliance) struct Job {
    pub(in crate::appliance) config: Config,
    pub(in crate::appliance) policy: Arc<Policy>,
    pub(in crate::appliance) version: Option<Version>,
}

/// Which entries of a pack, by its version, have rules in force, and whether they rest.
type Selection = (u32, Vec<(String, bool)>);

#[derive(Default)]
struct Found {
    report: Option<PatchReport>,
    waiting: Option<Job>,
    runs: bool,
}

/// What is in force of virtual patches.
pub(in crate::appliance) struct Keeper {
    loaded: Mutex<Arc<Loaded>>,
    selected: Mutex<(Option<Version>, Selection)>,
    found: Mutex<Found>,
    shared: Arc<WorkerShared>,
}

impl Keeper {
    pub(in crate::appliance) fn new(loaded: Loaded, shared: Arc<WorkerShared>) -> Arc<Self> {
        Arc::new(Self {
            loaded: Mutex::new(Arc::new(loaded)),
            selected: Mutex::default(),
            found: Mutex::default(),
            shared,
        })
    }

    pub(in crate::appliance) fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the pack of the configuration anew; one that can't be taken changes nothing.
    pub(in crate::appliance) fn reload(&self, config: &Config) {
        match Loaded::of(config) {
            Ok(loaded) => *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded),
            Err(failure) => tracing::error!(messages = ?failure.lines, "the pack of virtual patches stays"),
        }
    }

    /// The version of the controller, as it was seen last; where the worker has not said yet, as a predecessor saw it.
    pub(in crate::appliance) fn version(&self) -> Option<Version> {
        let seen = {
            let snapshot = self.shared.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
            Version::of(&snapshot.robot)
        };
        seen.or_else(|| self.selected.lock().unwrap_or_else(PoisonError::into_inner).0)
    }

    fn selection(&self, policy: &Policy, version: Option<Version>, wall_ns: u64) -> Selection {
        let loaded = self.loaded();
        let all = loaded.pack.tightenings(version, policy, wall_ns);
        (loaded.pack.version(), all.iter().map(|it| (it.id.to_owned(), it.rests_until.is_some())).collect())
    }

    /// Whether the rules in force beside `own` are no longer those that the controller's version and the date ask for.
    pub(in crate::appliance) fn is_stale(&self, own: &Policy) -> bool {
        let now = self.selection(own, self.version(), plan::now().wall_ns);
        self.selected.lock().unwrap_or_else(PoisonError::into_inner).1 != now
    }

    /// The policy with what is chosen of the pack beside it; remembers the choice.
    pub(in crate::appliance) fn tighten(
        &self,
        own: &Policy,
        version: Option<Version>,
        generation: u32,
        moment: Moment,
    ) -> Policy {
        let selection = self.selection(own, version, moment.wall_ns);
        *self.selected.lock().unwrap_or_else(PoisonError::into_inner) = (version, selection);
        self.loaded().tighten(own, version, generation, moment)
    }

    /// What records say of the choice.
    pub(in crate::appliance) fn notice(&self, generation: u32) -> Notice {
        let (version, (pack, selection)) = self.selected.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let in_force = selection.iter().filter(|(_, rests)| !rests).count();
        let parts = version.and_then(|version| {
            let small = |number: u32| u8::try_from(number).ok();
            Some((small(version.major)?, small(version.minor)?, i32::try_from(version.bugfix).ok()?))
        });
        Notice::Patches { pack, in_force: u16::try_from(in_force).unwrap_or(u16::MAX), generation, version: parts }
    }

    /// What the last self-test found, as this mode makes it.
    pub(in crate::appliance) fn report(&self, mode: Mode) -> Option<PatchReport> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.report.clone().map(|report| under_mode(report, mode))
    }

    /// The same of one of this generation, waited for where it runs.
    pub(in crate::appliance) fn report_of(&self, generation: u32, mode: Mode) -> Option<PatchReport> {
        let asked = Instant::now();
        loop {
            let report = self.report(mode).filter(|report| report.generation >= generation);
            if report.is_some() || asked.elapsed() > PATIENCE {
                return report;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Tries everything off the packet path; what was not begun of an earlier order is given up.
    pub(in crate::appliance) fn test(self: &Arc<Self>, job: Job) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.waiting = Some(job);
        if found.runs {
            return;
        }
        let own = Arc::clone(self);
        let started = std::thread::Builder::new().name("patches".into()).spawn(move || own.work());
        match started {
            Ok(_) => found.runs = true,
            Err(error) => tracing::error!(%error, "no thread for the self-test of virtual patches"),
        }
    }

    fn work(&self) {
        // Of this thread alone; where it is not granted, the test is merely less polite.
        let _ = rustix::process::setpriority_process(None, NICE);
        loop {
            let job = {
                let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(job) = found.waiting.take() else {
                    found.runs = false;
                    return;
                };
                job
            };
            let begun = Instant::now();
            let limits = Limits { deadline: begun.checked_add(LONGEST) };
            let report = try_all(&job.config, &self.loaded(), &job.policy, job.version, plan::now(), limits);
            tracing::info!(
                pack = report.pack,
                milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
                "known attacks tried against generation {}, as if enforced: {}",
                report.generation,
                report.summary()
            );
            let _ = self.shared.notices.push(Notice::PatchTest {
                protected: report.count(PatchState::Protected),
                not_protected: report.count(PatchState::NotProtected),
                not_applicable: report.count(PatchState::NotApplicable),
                not_containable: report.count(PatchState::NotContainable),
                untested: report.count(PatchState::Untested),
            });
            self.found.lock().unwrap_or_else(PoisonError::into_inner).report = Some(report);
        }
    }
}
