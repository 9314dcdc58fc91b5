#![allow(clippy::arithmetic_side_effects)]

use std::fmt::Write as _;
use std::net::IpAddr;

use super::*;
use crate::control::Status;
use crate::engine::Held;

/// Orders without a wire, over a folder that goes with them.
struct Setting {
    orders: Arc<Orders>,
    directory: std::path::PathBuf,
    /// Held, nothing gets to the disk.
    disk: Arc<Mutex<()>>,
}

impl Setting {
    fn new(name: &str, mode: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("vambrace-orders-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let text = format!(
            "mode = \"{mode}\"\n[ports]\nplant = \"a\"\nrobot = \"b\"\n[record]\ndirectory = \"{}\"\n\
             [bypass]\ndriver = \"command\"\ncommand = [\"/bin/true\"]\n\
             [[asset]]\nname = \"robot\"\nip = \"10.20.0.40\"\nside = \"robot\"\n\
             [[asset]]\nname = \"plc\"\nip = \"10.20.0.21\"\nside = \"plant\"\n",
            directory.display()
        );
        let config = Config::parse("test", &text).unwrap();
        let disk = Arc::new(Mutex::new(()));
        let (slow, folder) = (Arc::clone(&disk), directory.clone());
        let standing = Standing {
            mode: mode.to_owned(),
            mode_until: None,
            policy_name: "p".to_owned(),
            policy_text: POLICY.to_owned(),
            previous: None,
            generation: 1,
            bypass: None,
            restarts: 0,
        };
        let own = plan::compile(&config, "p", POLICY, 1).unwrap();
        let pack = Loaded::of_or_built_in(&config);
        let rules = Arc::new(plan::rules(&config, Mode::named(mode).unwrap(), Arc::clone(&own)));
        let names = Arc::new(Names::new("box".to_owned(), []));
        let orders = Orders::new(
            &config,
            Begun { standing, own, pack, version: None },
            (Arc::new(WorkerShared::new(rules)), Arc::new(Pulse::create().unwrap())),
            (Arc::new(Frames::new()), Captures::new(Arc::clone(&names))),
            (Arc::default(), move |standing: &Standing| {
                let _slow = slow.lock().unwrap();
                standing.store(&folder)
            }),
            ["a".to_owned(), "b".to_owned()],
            names,
        )
        .unwrap();
        Self { orders, directory, disk }
    }

    fn ask(&self, request: Request) -> Response {
        self.orders.handle(request, &Caller { uid: 0, person: None })
    }

    fn ask_from_afar(&self, request: Request) -> Response {
        let address = IpAddr::from([10, 0, 0, 1]);
        let person = Some(Person { user: "eva".into(), role: "operator".into(), address });
        self.orders.handle(request, &Caller { uid: 0, person })
    }

    fn status(&self) -> Status {
        let Response::Status(status) = self.ask(Request::Status) else { panic!("a status") };
        *status
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

const POLICY: &str = "version = 1\nrobot = \"robot\"\n[refusal]\n\
                      escalate = { refusals = 3, within = \"10s\", quarantine = \"1m\" }\n";

fn failure(response: Response) -> String {
    let Response::Failed { messages, .. } = response else { panic!("{response:?}") };
    messages.concat()
}

#[test]
fn orders_go_on_while_a_large_policy_compiles() {
    let setting = Setting::new("compiles", "enforce");
    let mut text = POLICY.to_owned();
    for rule in 0..1500 {
        let _ = write!(
            text,
            "[[allow]]\nid = \"r{rule}\"\nfrom = \"plc\"\nservice = \"modbus\"\nfunction = [\"write_single_register\"]\n\
             address = [\"{rule}..={}\"]\nvalue = \"0..=120\"\n[[test]]\nname = \"t{rule}\"\nfrom = \"plc\"\n\
             service = \"dashboard\"\ncommand = \"shutdown\"\nexpect = \"refused\"\n",
            rule + 3
        );
    }
    let orders = Arc::clone(&setting.orders);
    let (begun, name) = (Instant::now(), "large.toml".to_owned());
    let applying = std::thread::spawn(move || {
        let answer = orders.handle(Request::PolicyApply { text, name }, &Caller { uid: 0, person: None });
        (answer, begun.elapsed())
    });
    let mut longest = Duration::ZERO;
    while !applying.is_finished() {
        let asked = Instant::now();
        setting.status();
        longest = longest.max(asked.elapsed());
        std::thread::sleep(Duration::from_millis(1));
    }
    let (answer, took) = applying.join().unwrap();
    assert!(
        matches!(&answer, Response::Policy(policy) if policy.generation >= 2 && policy.rules == 1500),
        "{answer:?}"
    );
    assert!(longest * 3 < took, "a status took {longest:?} while a policy was applied in {took:?}");
}

#[test]
fn a_proposal_is_kept_until_the_next_learning() {
    let setting = Setting::new("proposal", "learn");
    let stop = || match setting.ask(Request::LearnStop) {
        Response::Learn(learning) => learning,
        other => panic!("{other:?}"),
    };
    let first = stop();
    assert!(first.proposal.contains("robot = \"robot\""), "{first:?}");
    assert_eq!((stop(), setting.status().mode.as_str()), (first, "observe"), "the answer may not have arrived");
    assert!(matches!(setting.ask(Request::LearnStart), Response::Learn(learning) if learning.running));
    setting.orders.state().learner = None;
    assert!(failure(setting.ask(Request::LearnStop)).contains("learning is not running"), "an old one is no answer");
}

#[test]
fn known_attacks_are_tried_one_at_a_time_and_not_often_from_afar() {
    let setting = Setting::new("tried", "enforce");
    let again = || Request::Patches { again: true };
    assert!(matches!(setting.ask_from_afar(again()), Response::Patches(_)));
    assert!(failure(setting.ask_from_afar(again())).contains("once in 10 s at most for those far away"));
    assert!(matches!(setting.ask(again()), Response::Patches(_)), "at the box as often as one likes");
    let trying = setting.orders.trying.lock().unwrap();
    for answer in [setting.ask(again()), setting.ask_from_afar(again())] {
        assert!(failure(answer).contains("being tried already"));
    }
    drop(trying);
    assert!(matches!(setting.ask(again()), Response::Patches(_)));
}

#[test]
fn what_the_management_process_can_not_do_stands_in_status_for_a_while() {
    let setting = Setting::new("troubles", "enforce");
    let sentences = (0..100).map(|n| format!("trouble {n} {}", "x".repeat(1000))).collect();
    assert_eq!(setting.ask(Request::Troubles { sentences }), Response::Done);
    let told: Vec<_> = setting.status().degraded.into_iter().filter(|it| it.starts_with("trouble ")).collect();
    assert_eq!((told.len(), told.iter().map(String::len).max()), (SENTENCES, Some(300)));
    let long_ago = Instant::now().checked_sub(SAID);
    let mut said = setting.orders.console_troubles.lock().unwrap();
    said.as_mut().unwrap().0 = long_ago.unwrap();
    drop(said);
    assert!(!setting.status().degraded.iter().any(|it| it.starts_with("trouble ")));
}

#[test]
fn who_is_kept_out_is_told_with_since_when_why_and_until_when() {
    let setting = Setting::new("quarantine", "enforce");
    {
        let mut snapshot = setting.orders.shared.snapshot.lock().unwrap();
        snapshot.now_ns = 1_000_000_000;
        snapshot.quarantine.push(Held {
            address: IpAddr::from([10, 20, 0, 21]),
            mac: link::Mac([2, 0, 10, 20, 0, 21]),
            refusals: 3,
            until_ns: 41_500_000_000,
        });
    }
    let status = setting.status();
    let [held] = &status.quarantine[..] else { panic!("{status:?}") };
    let time = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_second();
    assert_eq!((held.client.as_str(), held.address.as_str(), held.refusals), ("plc", "10.20.0.21", 3));
    assert_eq!((held.mac.as_str(), held.seconds_left), ("02:00:0a:14:00:15", 41));
    assert_eq!(time(&held.until) - time(&held.since), 60);
    let ahead = time(&held.until) - jiff::Timestamp::now().as_second();
    assert!((38..=41).contains(&ahead), "{ahead}");
    let wanted = format!("is kept out since {} after 3 refused commands, until {}.", held.since, held.until);
    assert!(
        held.sentence.ends_with(&wanted) && held.sentence.starts_with("plc (10.20.0.21, 02:00"),
        "{}",
        held.sentence
    );
}

#[test]
fn orders_that_wait_for_a_slow_disk_are_in_force_and_hold_up_no_other() {
    let setting = Setting::new("slow-disk", "enforce");
    let held = setting.disk.lock().unwrap();
    let ask = |request: Request| {
        let orders = Arc::clone(&setting.orders);
        std::thread::spawn(move || orders.handle(request, &Caller { uid: 0, person: None }))
    };
    let text = format!("{POLICY}# another\n");
    let applying = ask(Request::PolicyApply { text: text.clone(), name: "other.toml".to_owned() });
    let begun = Instant::now();
    while setting.orders.rules().policy.generation() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is in force before the disk has it");
        std::thread::sleep(Duration::from_millis(1));
    }
    // The next one, and what only asks, is answered or in force meanwhile.
    let shadowing = ask(Request::Mode { mode: "shadow".to_owned(), for_seconds: None });
    let mut longest = Duration::ZERO;
    while setting.orders.rules().mode != Mode::Shadow {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(1));
    }
    for request in [Request::Status, Request::PolicyShow, Request::LearnStatus, Request::KeepFrames] {
        let asked = Instant::now();
        let _ = setting.ask(request);
        longest = longest.max(asked.elapsed());
    }
    setting.orders.end_timed_mode();
    setting.orders.look_after_patches();
    assert!(longest < Duration::from_secs(1) && !applying.is_finished() && !shadowing.is_finished(), "{longest:?}");
    assert_eq!(Standing::load(&setting.directory), None, "nothing is on the disk");

    // Whoever waits too long is told, and status tells everybody.
    let Response::Mode(outcome) = shadowing.join().unwrap() else { panic!() };
    assert!(outcome.warnings.concat().contains("not on the disk"), "{outcome:?}");
    assert!(setting.status().degraded.iter().any(|it| it.contains("wait for the disk")));
    // A bypass that the disk has not is none, and does not become one later.
    let refused = failure(setting.ask(Request::Bypass { for_seconds: Some(600) }));
    assert!(refused.contains("could not be written"), "{refused}");
    drop(held);
    let Response::Policy(policy) = applying.join().unwrap() else { panic!() };
    assert!(policy.warnings.concat().contains("not on the disk"), "{policy:?}");
    setting.orders.finish();
    let known = Standing::load(&setting.directory).unwrap();
    assert_eq!((known.mode.as_str(), known.policy_text, known.bypass), ("shadow", text, None));
    assert!(!setting.status().degraded.iter().any(|it| it.contains("disk")));
}
