mod records;
mod units;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::identity::Identities;
use super::{Context, Exit, fail, mistakes};
use crate::appliance::patches::Loaded;
use crate::config::Config;
use crate::document::Problems;
use crate::engine::offline::{self, Sink, Survey};
use crate::engine::{Checksums, Device, Fate, Mode, Rules};
use crate::event::{Event, Reason, Record, Render, Settled};
use crate::export::eve::EveRender;
use crate::export::{KnownAttack, Names, Summary};
use crate::policy::{Asset, Moment, Policy};
use crate::record::{Settler, Settling};

/// Arguments of `replay`.
#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    /// Captures, pcap or pcapng, in the order of time; or records: a record folder, segments of evidence, or event files
    /// (`.json`).
    #[arg(required = true, value_name = "CAPTURE|RECORDS")]
    captures: Vec<PathBuf>,
    /// Policy to judge by; without one every command is refused.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    identities: Identities,
    /// Configuration that gives names their addresses.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The robot, by asset name or address; told from the captures where absent.
    #[arg(long, value_name = "NAME-OR-ADDRESS")]
    robot: Option<String>,
    /// Transport checksums: auto ignores them where most are unfinished, as on loopback.
    #[arg(long, value_enum, default_value = "auto")]
    checksums: ChecksumChoice,
    /// How events are printed; `--json` is eve. Zeek has connections and Modbus transactions, and no verdicts.
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Sentences on what would be refused, and counts.
    Text,
    /// EVE JSON, one line an event, a summary last.
    Eve,
    /// Zeek's JSON: conn and modbus_detailed.
    Zeek,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ChecksumChoice {
    /// As the captures ask for.
    Auto,
    /// Bad ones are dropped.
    Verify,
    /// Not looked at.
    Ignore,
}

/// What captures are read with: devices, robot, checksums, the time of the first frame.
pub(super) struct Scene {
    pub(super) assets: Vec<Asset>,
    pub(super) robot: IpAddr,
    pub(super) robot_name: String,
    pub(super) checksums: Checksums,
    /// Whether the configuration says that the robot has the Robot API.
    robot_api: bool,
    /// Virtual patches of the configuration's box; without a configuration there is no box.
    pack: Option<Loaded>,
}

impl Scene {
    /// Looks at the captures and puts together what is known.
    pub(super) fn of(
        captures: &[PathBuf],
        config: Option<&Path>,
        robot: Option<&str>,
        checksums: ChecksumChoice,
    ) -> Result<Self, Exit> {
        let (mut assets, mut robot_api, mut pack) = (Vec::new(), false, None);
        if let Some(path) = config {
            let config = Config::load(path).map_err(|problems| mistakes(&problems))?;
            assets = crate::appliance::assets(&config);
            robot_api = crate::appliance::has_robot_api(&config);
            pack = Some(Loaded::of(&config).map_err(|failure| super::run::report(&failure))?);
        }
        let mut survey = Survey::default();
        for capture in captures {
            let one =
                Survey::of(capture).map_err(|error| fail(Exit::Failed, &format!("{}: {error}", capture.display())))?;
            survey.segments = survey.segments.saturating_add(one.segments);
            survey.bad_checksums = survey.bad_checksums.saturating_add(one.bad_checksums);
            survey.robots.extend(one.robots);
        }
        let told = |text: &str| {
            let named = assets.iter().find(|asset| asset.name == text).map(|asset| asset.address);
            named.or_else(|| text.parse().ok())
        };
        let guessed = || {
            let configured = assets.iter().find(|asset| asset.is_robot).map(|asset| asset.address);
            configured.or_else(|| survey.robots.iter().max_by_key(|(_, count)| *count).map(|(address, _)| *address))
        };
        let address = match robot {
            Some(text) => told(text).or_else(guessed),
            None => guessed(),
        };
        let Some(address) = address else {
            let what = "no robot in the captures: nobody speaks to a robot's port; name it with --robot ADDRESS";
            return Err(fail(Exit::Failed, &what));
        };
        let name = robot.map_or_else(|| address.to_string(), str::to_owned);
        if !assets.iter().any(|asset| asset.name == name) {
            assets.push(Asset { name: name.clone(), address, is_robot: true });
        }
        let checksums = match checksums {
            ChecksumChoice::Auto => survey.checksums(),
            ChecksumChoice::Verify => Checksums::Verify,
            ChecksumChoice::Ignore => Checksums::Ignore,
        };
        Ok(Self { assets, robot: address, robot_name: name, checksums, robot_api, pack })
    }

    /// The policy to judge captures by; without a file an empty one. Where a configuration names the box, the virtual
    /// patches stand beside it that are in force on its wire until the controller's version is seen.
    pub(super) fn policy(&self, path: Option<&Path>, captures: &[PathBuf]) -> Result<Policy, Exit> {
        let Some(path) = path else { return Ok(Policy::empty(1)) };
        let name = path.display().to_string();
        let text = Problems::text(path, std::fs::read(path)).map_err(|problems| mistakes(&problems))?;
        let mut assets = self.assets.clone();
        // A capture needs no configuration: the robot's name in the policy means the robot of the capture.
        let robot = policy_robot(&text).filter(|name| !assets.iter().any(|asset| asset.name == *name));
        assets.extend(robot.map(|name| Asset { name, address: self.robot, is_robot: true }));
        let moment = Moment { wall_ns: first_time(captures), monotonic_ns: 1_000_000_000 };
        let policy = Policy::compile(&name, &text, &assets, 1, moment).map_err(|problems| mistakes(&problems))?;
        Ok(match &self.pack {
            Some(pack) => pack.tighten(&policy, None, 1, moment),
            None => policy,
        })
    }

    /// What the virtual patches beside the policy call known attacks.
    pub(super) fn known_attacks(&self) -> Vec<KnownAttack> {
        self.pack.as_ref().map(|pack| pack.known_attacks(None)).unwrap_or_default()
    }

    /// The rules of an offline run.
    pub(super) fn rules(&self, mode: Mode, policy: Policy) -> Arc<Rules> {
        let device = |asset: &Asset| Device {
            name: asset.name.clone(),
            address: asset.address,
            mac: None,
            is_robot: asset.address == self.robot,
        };
        Arc::new(Rules {
            mode,
            policy: Arc::new(policy),
            devices: self.assets.iter().map(device).collect(),
            pass: crate::appliance::default_pass(),
            pass_stp: true,
            dcp_set: false,
            checksums: self.checksums,
            adopt_modbus: false,
            new_connections: 0,
            ipv6: false,
            robot_api: self.robot_api,
            bind: false,
        })
    }
}

/// Judges captures and says what would have been refused.
pub(super) fn run(context: &Context, args: &ReplayArgs) -> Exit {
    match args.captures.iter().filter(|path| records::is_records(path)).count() {
        0 => {}
        all if all == args.captures.len() => return records::run(context, args),
        _ => return fail(Exit::Usage, &"captures and records can't be replayed together; name one kind at a time"),
    }
    let scene = match Scene::of(&args.captures, args.config.as_deref(), args.robot.as_deref(), args.checksums) {
        Ok(scene) => scene,
        Err(exit) => return exit,
    };
    let policy = match scene.policy(args.policy.as_deref(), &args.captures) {
        Ok(policy) => policy,
        Err(exit) => return exit,
    };
    let rules = scene.rules(Mode::Shadow, policy);
    let captures: Vec<&Path> = args.captures.iter().map(PathBuf::as_path).collect();
    let bytes = args
        .captures
        .iter()
        .filter_map(|path| path.metadata().ok())
        .fold(0_u64, |sum, meta| sum.saturating_add(meta.len()));
    let by_default = if context.json { Format::Eve } else { Format::Text };
    let mut printer = Printer::new(args.format.unwrap_or(by_default), bytes, &rules, scene.known_attacks());
    let outcome = offline::run(&captures, &rules, (), &mut printer);
    printer.finish();
    match outcome {
        Ok(()) if refuses(&printer.summary) => Exit::Findings,
        Ok(()) => Exit::Fine,
        Err((name, error)) => fail(Exit::Failed, &format!("{name}: {error}; what came before was judged")),
    }
}

/// Whether anything was, or would be, refused.
fn refuses(summary: &Summary) -> bool {
    let [_, to_devices] = summary.to_devices;
    summary.refused > 0 || summary.dropped > 0 || to_devices > 0
}

/// The name of the robot in a policy's text, if it is no address.
pub(super) fn policy_robot(text: &str) -> Option<String> {
    let table: toml::Table = text.parse().ok()?;
    let name = table.get("robot")?.as_str()?;
    name.parse::<IpAddr>().is_err().then(|| name.to_owned())
}

/// When the first frame was captured, nanoseconds since 1970.
pub(super) fn first_time(captures: &[PathBuf]) -> u64 {
    let first = captures.first().and_then(|path| crate::nic::replay::CaptureReader::open(path).ok());
    first.and_then(|mut reader| reader.next_packet().ok().flatten().map(|captured| captured.time_ns)).unwrap_or(0)
}

/// Prints events and counts.
struct Printer {
    format: Format,
    render: EveRender,
    settler: Settler,
    bar: indicatif::ProgressBar,
    line: String,
    summary: Summary,
}

impl Printer {
    fn new(format: Format, bytes: u64, rules: &Rules, attacks: Vec<KnownAttack>) -> Self {
        let bar = super::progress(bytes);
        // A name that only repeats the address says nothing.
        let devices = rules.devices.iter().filter(|device| device.name.parse::<IpAddr>().is_err());
        let names = Names::new("replay", devices.map(|device| (device.address, device.name.clone())));
        names.set_rules(rules.policy.generation(), rules.policy.rule_ids().map(str::to_owned).collect());
        names.set_attacks(rules.policy.generation(), attacks);
        let render = EveRender { names: Arc::new(names), capture: true };
        let settler = Settler::new(Settling::one_by_one());
        Self { format, render, settler, bar, line: String::new(), summary: Summary::default() }
    }

    fn finish(&mut self) {
        let Self { format, render, settler, bar, line, summary } = self;
        if *format != Format::Text {
            settler.finish(&mut |settled| print_line(*format, render, bar, line, &settled));
        }
        bar.finish_and_clear();
        if *format == Format::Zeek {
            return;
        }
        if *format == Format::Eve {
            line.clear();
            summary.render(line);
            super::print(line);
            return;
        }
        let (forwarded, dropped) = (summary.forwarded, summary.dropped);
        println!("{} frames: {forwarded} forwarded, {dropped} dropped", forwarded.saturating_add(dropped));
        let (allowed, refused) = (summary.allowed, summary.refused);
        println!("{} commands: {allowed} allowed, {refused} refused", allowed.saturating_add(refused));
        let [allowed, refused] = summary.to_devices;
        if allowed.saturating_add(refused) > 0 {
            println!("of the robot's own to devices: {allowed} allowed, {refused} refused");
        }
        for (reason, count) in &summary.by_reason {
            let sentence =
                Reason::ALL.iter().find(|known| known.name() == *reason).map_or("", |known| known.sentence());
            println!("  {count:>8} {reason}: {sentence}");
        }
        for (service, count) in &summary.by_service {
            println!("  {count:>8} {service} commands");
        }
    }
}

fn print_line(
    format: Format,
    render: &mut EveRender,
    bar: &indicatif::ProgressBar,
    line: &mut String,
    settled: &Settled,
) {
    line.clear();
    match format {
        Format::Zeek if !crate::export::zeek::render(settled, line) => return,
        Format::Zeek => {}
        Format::Eve | Format::Text => render.line(settled, line),
    }
    bar.suspend(|| super::print(line));
}

impl Sink for Printer {
    fn frame(&mut self, _: u64, fate: Fate) {
        let count = match fate {
            Fate::Drop(_) => &mut self.summary.dropped,
            Fate::Forward | Fate::Absorb => &mut self.summary.forwarded,
        };
        *count = count.saturating_add(1);
    }

    fn event(&mut self, event: &Event) {
        match &event.record {
            Record::Command(command) => self.summary.command(command),
            Record::Frame(frame) => self.summary.frame(frame),
            _ => {}
        }
        let Self { format, render, settler, bar, line, .. } = self;
        if *format != Format::Text {
            let mut print = |settled: Settled| print_line(*format, render, bar, line, &settled);
            settler.take(event, &mut print);
            settler.expire(event.monotonic_ns, &mut print);
        } else if let Record::Command(command) = &event.record
            && !command.verdict.is_allowed()
        {
            let sentence = render.sentence(event);
            bar.suspend(|| super::print(&format!("#{} {sentence}", event.frame)));
        }
    }

    fn progress(&mut self, bytes: u64) {
        self.bar.set_position(bytes);
    }
}
