//! Hardware that leads frames past the box, and when it does.

mod gpio;
mod watchdog;

use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::pulse::{Bypass, Pulse};
use super::standing::{Bypassed, Standing};
use crate::config;

/// How long an external command may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time between two looks at the clock while a bypass lasts, and between two tries of a driver that failed.
const LOOK: Duration = Duration::from_secs(1);

/// Hardware that joins the two cables behind the box's back.
///
/// Whatever it is, `set` is called again with the same value where the call before failed, and at every start.
pub(super) trait Relay {
    /// Leads frames past the box, or to it.
    ///
    /// # Errors
    /// The hardware did not obey; what frames do is not known.
    fn set(&mut self, past: bool) -> io::Result<()>;

    /// Does what the hardware needs to stay as it was set; called some fifty times a second.
    ///
    /// # Errors
    /// As of `set`.
    fn keep(&mut self, now: Instant) -> io::Result<()> {
        let _ = now;
        Ok(())
    }
}

/// No hardware: frames always come to the box.
#[derive(Debug)]
struct Null;

impl Relay for Null {
    fn set(&mut self, past: bool) -> io::Result<()> {
        if past { Err(io::Error::new(io::ErrorKind::Unsupported, "there is no bypass hardware")) } else { Ok(()) }
    }
}

/// A program that switches the hardware; it gets `on` or `off` as its last argument and says by its exit code whether
/// it did.
#[derive(Debug)]
struct External {
    command: Vec<String>,
}

impl Relay for External {
    fn set(&mut self, past: bool) -> io::Result<()> {
        let Some((program, arguments)) = self.command.split_first() else { return Null.set(past) };
        let mut command = Command::new(program);
        command.args(arguments).arg(if past { "on" } else { "off" });
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let begun = Instant::now();
        loop {
            match child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(io::Error::other(format!("{program}: {status}"))),
                None if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(2)),
                None => {
                    child.kill()?;
                    child.wait()?;
                    return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{program}: no end within 2 s")));
                }
            }
        }
    }
}

/// The driver of a configuration.
fn relay(config: &config::Bypass) -> Box<dyn Relay> {
    match config.driver {
        config::BypassDriver::None => Box::new(Null),
        config::BypassDriver::Command => Box::new(External { command: config.command.clone() }),
        config::BypassDriver::Gpio => Box::new(gpio::Gpio::new(config.device.clone(), config.line, config.active_low)),
        config::BypassDriver::Watchdog => Box::new(watchdog::Watchdog::new(config.device.clone())),
    }
}

/// Keeps the hardware as the standing orders want it.
pub(super) struct Keeper {
    relay: Box<dyn Relay>,
    state: Option<bool>,
    until: Option<Bypassed>,
    /// When it ends whatever the wall clock says.
    deadline: Option<Instant>,
    orders: u64,
    looked: Option<Instant>,
}

impl Keeper {
    /// A keeper that knows nothing of the hardware's state yet.
    pub(super) fn new(config: &config::Bypass) -> Self {
        Self { relay: relay(config), state: None, until: None, deadline: None, orders: u64::MAX, looked: None }
    }

    /// Keeps the hardware as it is.
    pub(super) fn keep(&mut self, pulse: &Pulse, now: Instant) {
        if let Err(error) = self.relay.keep(now)
            && self.state.take().is_some()
        {
            tracing::error!(%error, "the bypass did not obey; it is tried again each second");
            pulse.set_bypass(Bypass::Failed);
        }
    }

    /// Does what is due: new orders, the end of a bypass, another try of a driver that failed.
    pub(super) fn look(
        &mut self,
        pulse: &Pulse,
        now: Instant,
        wall_seconds: u64,
        load: impl FnOnce() -> Option<Standing>,
    ) {
        self.keep(pulse, now);
        let orders = pulse.bypass_orders();
        let is_new = orders != self.orders;
        if !is_new && self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < LOOK) {
            return;
        }
        self.looked = Some(now);
        if is_new {
            self.orders = orders;
            self.until = load().and_then(|standing| standing.bypass);
            let left = self.until.as_ref().and_then(|it| it.left(wall_seconds));
            self.deadline = left.and_then(|left| now.checked_add(Duration::from_secs(left)));
        }
        let lasts =
            |it: &Bypassed| it.left(wall_seconds).is_some() && self.deadline.is_none_or(|deadline| now < deadline);
        let past = self.until.as_ref().is_some_and(lasts);
        if self.state == Some(past) {
            return;
        }
        match self.relay.set(past) {
            Ok(()) => {
                self.state = Some(past);
                pulse.set_bypass(if past { Bypass::On } else { Bypass::Off });
                if past {
                    tracing::error!("bypass is on: frames go past the policy");
                } else {
                    tracing::info!("bypass is off");
                }
            }
            Err(error) => {
                if self.state.is_some() || pulse.bypass() != Bypass::Failed {
                    tracing::error!(%error, past, "the bypass did not obey; it is tried again each second");
                }
                self.state = None;
                pulse.set_bypass(Bypass::Failed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// A relay that fails a few times first.
    struct Fake {
        said: Rc<RefCell<Vec<bool>>>,
        failures: u32,
    }

    impl Relay for Fake {
        fn set(&mut self, past: bool) -> io::Result<()> {
            self.said.borrow_mut().push(past);
            self.failures = match self.failures.checked_sub(1) {
                Some(left) => left,
                None => return Ok(()),
            };
            Err(io::Error::other("stuck"))
        }
    }

    fn keeper(failures: u32) -> (Keeper, Rc<RefCell<Vec<bool>>>) {
        let said = Rc::new(RefCell::new(Vec::new()));
        let mut keeper = Keeper::new(&config::Bypass::default());
        keeper.relay = Box::new(Fake { said: Rc::clone(&said), failures });
        (keeper, said)
    }

    fn standing(bypass: Option<Bypassed>) -> Option<Standing> {
        Some(Standing { bypass, ..Standing::empty() })
    }

    #[test]
    fn a_bypass_ends_by_itself_by_either_clock() {
        let (pulse, begun) = (Pulse::create().unwrap(), Instant::now());
        let (mut keeper, said) = keeper(0);
        keeper.look(&pulse, begun, 1000, || standing(None));
        assert_eq!(*said.borrow(), [false], "the hardware is told at every start");
        pulse.order_bypass();
        let ordered = Bypassed { since: 1001, until: 1011, uid: 0 };
        keeper.look(&pulse, begun, 1001, || standing(Some(ordered.clone())));
        assert_eq!((said.borrow().len(), pulse.bypass()), (2, Bypass::On));
        // The wall clock stands still; the other one goes on.
        keeper.look(&pulse, begun + Duration::from_secs(9), 1001, || unreachable!());
        assert_eq!(pulse.bypass(), Bypass::On);
        keeper.look(&pulse, begun + Duration::from_secs(11), 1001, || unreachable!());
        assert_eq!((pulse.bypass(), said.borrow().last().copied()), (Bypass::Off, Some(false)));
    }

    #[test]
    fn it_is_latched_over_a_restart_but_not_over_a_clock_that_lies() {
        for (wall, on) in [(1005, true), (1011, false), (1000, false), (3, false), (u64::MAX, false)] {
            let (pulse, begun) = (Pulse::create().unwrap(), Instant::now());
            let (mut keeper, _) = keeper(0);
            let ordered = Bypassed { since: 1001, until: 1011, uid: 0 };
            keeper.look(&pulse, begun, wall, || standing(Some(ordered.clone())));
            assert_eq!(pulse.bypass() == Bypass::On, on, "at {wall}");
        }
    }

    #[test]
    fn a_driver_that_fails_is_tried_again_and_told_of() {
        let (pulse, begun) = (Pulse::create().unwrap(), Instant::now());
        let (mut keeper, said) = keeper(2);
        keeper.look(&pulse, begun, 1, || standing(None));
        assert_eq!(pulse.bypass(), Bypass::Failed);
        keeper.look(&pulse, begun + LOOK / 2, 1, || standing(None));
        assert_eq!(said.borrow().len(), 1, "not at once");
        keeper.look(&pulse, begun + LOOK, 1, || standing(None));
        keeper.look(&pulse, begun + LOOK * 2, 1, || standing(None));
        assert_eq!((said.borrow().len(), pulse.bypass()), (3, Bypass::Off));
    }

    #[test]
    fn hardware_that_fails_while_it_is_kept_is_told_of_and_set_anew() {
        let device = std::env::temp_dir().join(format!("vambrace-kept-{}", std::process::id()));
        std::fs::write(&device, "").unwrap();
        let (pulse, begun) = (Pulse::create().unwrap(), Instant::now());
        let driver = config::BypassDriver::Watchdog;
        let mut keeper = Keeper::new(&config::Bypass { driver, device: device.clone(), ..config::Bypass::default() });
        keeper.look(&pulse, begun, 1, || standing(None));
        assert_eq!((pulse.bypass(), std::fs::metadata(&device).unwrap().len()), (Bypass::Off, 1));
        // Every write to it fails from here on: no space is left there, ever.
        std::fs::remove_file(&device).unwrap();
        std::os::unix::fs::symlink("/dev/full", &device).unwrap();
        keeper.relay = relay(&config::Bypass { driver, device: device.clone(), ..config::Bypass::default() });
        assert!(keeper.relay.set(false).is_err());
        keeper.keep(&pulse, Instant::now() + LOOK);
        assert_eq!(pulse.bypass(), Bypass::Failed);
        std::fs::remove_file(&device).unwrap();
        std::fs::write(&device, "").unwrap();
        keeper.look(&pulse, Instant::now() + LOOK * 3, 1, || unreachable!());
        assert_eq!(pulse.bypass(), Bypass::Off);
        assert!(std::fs::metadata(&device).unwrap().len() > 0);
        std::fs::remove_file(&device).unwrap();
    }

    #[test]
    fn an_external_command_is_believed_by_its_exit_code() {
        let external =
            |script: &str| External { command: vec!["sh".into(), "-c".into(), script.into(), "relay".into()] };
        assert!(external("test $1 = on").set(true).is_ok());
        assert!(external("test $1 = on").set(false).is_err());
        assert!(External { command: vec!["/no/such/relay".into()] }.set(false).is_err());
        let begun = Instant::now();
        let late = external("sleep 60").set(true).unwrap_err();
        assert!(late.kind() == io::ErrorKind::TimedOut && begun.elapsed() < Duration::from_secs(10));
    }
}
