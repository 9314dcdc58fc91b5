//! The management process as people meet it: certificates made, a box asked from afar, events at a receiver, counters.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use support::console::{Ending, Folder, free, keygen, start, vambrace, wait_for};
use support::wire::{PLANT, ROBOT, Wire};
use support::{can_make_namespaces, has_tool};

/// Takes whatever arrives by TCP.
fn receiver() -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, received) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let into = Arc::clone(&received);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, into) = (stream.unwrap(), Arc::clone(&into));
            std::thread::spawn(move || {
                let mut piece = [0; 4096];
                while let Ok(len) = stream.read(&mut piece)
                    && len > 0
                {
                    into.lock().unwrap().extend_from_slice(&piece[..len]);
                }
            });
        }
    });
    (address, received)
}

/// A box in a wire with its management process.
struct Cell {
    folder: Folder,
    console: Option<Ending>,
    run: Option<Ending>,
    remote: SocketAddr,
    metrics: SocketAddr,
    received: Arc<Mutex<Vec<u8>>>,
    _wire: Wire,
}

impl Cell {
    fn start() -> Self {
        let folder = Folder::new("cell");
        keygen(&folder, &["ca"]);
        keygen(&folder, &["box", "127.0.0.1"]);
        let users = [
            keygen(&folder, &["user", "eva"]),
            keygen(&folder, &["user", "otto", "--role", "operator"]),
            keygen(&folder, &["user", "ada", "--role", "auditor"]),
        ];
        let (remote, metrics, (syslog, received)) = (free(), free(), receiver());
        let own = folder.0.display();
        let text = format!(
            "mode = \"enforce\"\n[ports]\nplant = \"{PLANT}\"\nrobot = \"{ROBOT}\"\n[fast_path]\npolling = \"blocking\"\n\
             [[asset]]\nname = \"robot\"\nip = \"10.20.0.40\"\nside = \"robot\"\n\
             [control]\nsocket = \"{own}/run/control.sock\"\n[record]\ndirectory = \"{own}/records\"\n\
             [policy]\nfile = \"{own}/policy.toml\"\n\
             [console]\ndirectory = \"{own}/console\"\naccount = \"nobody\"\nlisten = \"{remote}\"\n\
             certificate = \"{own}/keys/box.pem\"\nkey = \"{own}/keys/box.key\"\nclient_ca = \"{own}/keys/ca.pem\"\n\
             {}[[console.syslog]]\nname = \"soc\"\naddress = \"{syslog}\"\ntransport = \"tcp\"\n\
             [[console.syslog]]\nname = \"broken\"\naddress = \"{syslog}\"\nca = \"{own}/none.pem\"\n\
             [console.metrics]\nlisten = \"{metrics}\"\n",
            users.concat()
        );
        let config = folder.file("vambrace.toml");
        std::fs::write(&config, text).unwrap();
        std::fs::write(folder.file("policy.toml"), "version = 1\nrobot = \"robot\"\n").unwrap();
        let wire = Wire::new("vbcon", 1508);
        let mut command = wire.inside.command(support::vambrace());
        command.args(["run", "--config"]).arg(&config).stdout(Stdio::null());
        let run = Ending(command.stderr(std::fs::File::create(folder.file("run.log")).unwrap()).spawn().unwrap());
        wait_for("the control socket", || folder.file("run/control.sock").exists());
        let console = start(&folder, &["console"], &config, "console.log");
        wait_for("it to serve", || folder.log("console.log").contains("metrics are served"));
        Self { folder, console: Some(console), run: Some(run), remote, metrics, received, _wire: wire }
    }

    fn as_user(&self, user: &str, args: &[&str]) -> Command {
        support::console::as_user(&self.folder, self.remote, user, args)
    }

    fn ask(&self, user: &str, args: &[&str]) -> Output {
        self.as_user(user, args).output().unwrap()
    }

    fn scrape(&self) -> String {
        let mut stream = TcpStream::connect(self.metrics).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: box\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }
}

#[test]
fn a_box_is_asked_from_afar() {
    if !can_make_namespaces("a_box_is_asked_from_afar") {
        return;
    }
    let mut cell = Cell::start();
    let said = support::console::said;

    // Without rights: no uid, group or capability of root's.
    let pid = cell.console.as_ref().unwrap().0.id();
    let process = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let fields = |key: &str| {
        let line = process.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(fields("Uid:").iter().chain(&fields("Gid:")).all(|id| id != "0"), "{process}");
    assert_eq!(fields("Groups:"), Vec::<String>::new());
    assert_eq!(fields("NoNewPrivs:"), ["1"]);
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(fields(set), ["0000000000000000"], "{set}");
    }

    // One receiver's authority can't be read: that one stands still, the rest runs, and it is told of at the box and afar.
    let mut degraded = String::new();
    wait_for("word of the broken receiver", || {
        degraded = said(&cell.ask("eva", &["status"])).1;
        degraded.contains("DEGRADED")
    });
    assert!(degraded.contains("runs without its receiver broken") && degraded.contains("none.pem"), "{degraded}");
    assert!(cell.scrape().contains("\nvambrace_console_part_up{part=\"receiver broken\"} 0\n"));
    assert!(cell.scrape().contains("\nvambrace_console_part_up{part=\"receiver soc\"} 1\n"));

    // A viewer looks, and may not more.
    let status = cell.ask("eva", &["--json", "status"]);
    let log = || cell.folder.log("console.log") + &cell.folder.log("run.log");
    assert!(said(&status).1.contains("\"mode\":\"enforce\""), "{status:?} {}", log());
    let (code, text) = said(&cell.ask("eva", &["mode", "lockdown"]));
    assert_eq!((code, text.contains("takes the role operator")), (Some(1), true), "{text}");
    let (code, text) = said(&cell.ask("eva", &["policy", "show"]));
    assert_eq!((code, text.contains("robot = \"robot\"")), (Some(0), true), "{text}");

    // Somebody follows the events from afar while an operator changes the mode.
    let mut follow = cell.as_user("eva", &["--json", "events", "--follow", "--where", "notice.kind = mode"]);
    let mut follow = Ending(follow.stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(follow.0.stdout.take().unwrap()).lines();
    let (code, text) = said(&cell.ask("otto", &["mode", "lockdown"]));
    assert_eq!(code, Some(0), "{text}");
    let line = lines.map_while(Result::ok).next().unwrap();
    assert!(line.contains("\"to\":\"lockdown\""), "{line}");
    drop(follow);
    let (code, _) = said(&cell.ask("otto", &["mode", "observe"]));
    assert_eq!(code, Some(1), "what weakens is the engineer's");

    // An auditor takes evidence with them, as the account that may not open its secret key hands it out. In a later run
    // of the box as well: its segments are made after the account was let in.
    let key = cell.folder.file("box.pub");
    std::fs::copy(cell.folder.file("records/evidence.pub"), &key).unwrap();
    let bundle = cell.folder.file("bundle.tar");
    let (code, text) = said(&cell.ask("ada", &["evidence", "export", "-o", bundle.to_str().unwrap()]));
    assert_eq!(code, Some(0), "{text} {}", log());
    let verify = ["evidence", "verify", bundle.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let (code, text) = said(&vambrace().args(verify).output().unwrap());
    assert_eq!((code, text.contains("sound")), (Some(0), true), "{text}");

    // All of it is in the records, with who asked.
    let mut events = String::new();
    wait_for("the records", || {
        events = said(&cell.ask("eva", &["--json", "events"])).1;
        events.matches("\"kind\":\"denied\"").count() >= 2
    });
    for wanted in [
        "\"kind\":\"asked\",\"user\":\"otto\",\"role\":\"operator\",\"address\":\"127.0.0.1\",\"request\":\"mode lockdown\",\"answer\":\"done\"",
        "\"kind\":\"denied\",\"user\":\"eva\",\"role\":\"viewer\",\"address\":\"127.0.0.1\",\"request\":\"mode lockdown\",\"answer\":\"denied\",\"why\":\"your role is viewer; this takes the role operator\"",
        "\"user\":\"eva\",\"role\":\"viewer\",\"address\":\"127.0.0.1\",\"request\":\"events\"",
    ] {
        assert!(events.contains(wanted), "{wanted} in {events}");
    }

    // The receiver has them, as the account that may not open the evidence key sends them.
    wait_for("the receiver", || {
        let received = cell.received.lock().unwrap();
        let text = String::from_utf8_lossy(&received);
        text.contains("|notice.mode|") && text.contains("suser=otto")
    });

    // Counters add up.
    let page = cell.scrape();
    let value = |name: &str| -> f64 {
        let lines = page.lines().filter(|line| line.starts_with(name));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    assert!(page.contains("\nvambrace_mode{mode=\"lockdown\"} 1\n"), "{page}");
    let (received, forwarded) = (value("vambrace_frames_received_total "), value("vambrace_frames_forwarded_total "));
    assert!((received - forwarded - value("vambrace_frames_dropped_total{")).abs() < 0.5, "{page}");

    // A box without its guard, and no box.
    cell.run = None;
    let (code, text) = said(&cell.ask("eva", &["status"]));
    assert_eq!((code, text.contains("its packet process does not")), (Some(5), true), "{text}");
    assert!(cell.scrape().contains("\nvambrace_up 0\n"));
    cell.console = None;
    let (code, text) = said(&cell.ask("eva", &["status"]));
    assert_eq!((code, text.contains("is `vambrace console` running there")), (Some(5), true), "{text}");
}

/// A management process that only sends: no root, no box.
#[test]
fn wireshark_reads_what_is_sent() {
    if !has_tool("wireshark_reads_what_is_sent", "tshark") || !has_tool("wireshark_reads_what_is_sent", "text2pcap") {
        return;
    }
    let folder = Folder::new("wireshark");
    let (address, received) = receiver();
    let own = folder.0.display();
    let config = folder.file("vambrace.toml");
    let text = format!(
        "mode = \"enforce\"\n[ports]\nplant = \"a\"\nrobot = \"b\"\n\
         [[asset]]\nname = \"robot\"\nip = \"10.20.0.40\"\nside = \"robot\"\n[record]\ndirectory = \"{own}/records\"\n\
         [console]\ndirectory = \"{own}/console\"\n[[console.syslog]]\nname = \"soc\"\naddress = \"{address}\"\n\
         transport = \"tcp\"\nevents = \"all\"\n"
    );
    std::fs::write(&config, text).unwrap();
    std::fs::create_dir_all(folder.file("records")).unwrap();
    let line = |id: u32| {
        format!(
            "{{\"timestamp\":\"2026-11-23T13:58:02.114209+0000\",\"event_type\":\"notice\",\"host\":\"box-4\",\
             \"notice\":{{\"event_id\":{id},\"kind\":\"mode\",\"uid\":0,\"sentence\":\"Mode a = b | c.\"}}}}\n"
        )
    };
    std::fs::write(folder.file("records/eve.json"), (1..=3).map(line).collect::<String>()).unwrap();
    let console = start(&folder, &["console"], &config, "console.log");
    wait_for("three messages", || String::from_utf8_lossy(&received.lock().unwrap()).matches("CEF:0").count() == 3);
    drop(console);
    let test = vambrace().args(["console", "test", "--config"]).arg(&config).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&test.stdout), "soc: taken, as far as the connection can tell\n", "{test:?}");
    wait_for("the test event", || String::from_utf8_lossy(&received.lock().unwrap()).contains("|notice.test|"));
    let bytes = received.lock().unwrap().clone();
    // Wireshark before 4.2 reads syslog of UDP alone, so each message becomes a datagram once its frame is read.
    let (mut rest, mut dump, mut messages) = (&bytes[..], String::new(), 0);
    while let Some(blank) = rest.iter().position(|byte| *byte == b' ') {
        let len: usize = std::str::from_utf8(&rest[..blank]).unwrap().parse().unwrap();
        let (message, after) = rest[blank + 1..].split_at(len);
        for (row, piece) in message.chunks(16).enumerate() {
            let hex: Vec<_> = piece.iter().map(|byte| format!("{byte:02x}")).collect();
            dump += &format!("{:06x} {}\n", row * 16, hex.join(" "));
        }
        (rest, messages) = (after, messages + 1);
    }
    assert_eq!((rest.len(), messages), (0, 4), "octet counting leaves nothing over");
    std::fs::write(folder.file("dump.txt"), dump).unwrap();
    let capture = folder.file("sent.pcap");
    let made = Command::new("text2pcap").args(["-u", "40000,514"]).arg(folder.file("dump.txt")).arg(&capture).output();
    assert!(made.unwrap().status.success());
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(&capture).args(["-T", "fields"]);
    let names = ["level", "facility", "version", "timestamp", "hostname", "appname", "msgid", "msg"];
    for name in names {
        tshark.args(["-e", &format!("syslog.{name}")]);
    }
    let output = tshark.args(["-e", "_ws.expert.message"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.lines().count(), 4, "{text}");
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        assert_eq!(fields[..3], ["5", "16", "1"], "{line}");
        assert!(fields[3].contains("2026") && fields[7].contains("CEF:0|Vambrace|"), "{line}");
        assert!(!fields[4].is_empty() && fields[5] == "vambrace", "{line}");
        // Wireshark takes all that follows for part of the message's id where no byte order mark begins the text.
        assert!(fields[6].starts_with("notice"), "{line}");
        assert_eq!(fields.get(8).copied().unwrap_or_default(), "", "nothing to complain of: {line}");
    }
}

#[test]
fn what_is_missing_is_told() {
    let folder = Folder::new("missing");
    let said = |command: &mut Command| {
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = said(vambrace().args(["--box", "127.0.0.1:1", "status"]));
    assert_eq!(
        (code, text.as_str()),
        (Some(2), "vambrace: --box needs --cert FILE, VAMBRACE_CERT or `cert` in /nonexistent/vambrace/client.toml\n")
    );
    let (code, text) = said(vambrace().args(["--box", "a b", "status"]));
    assert_eq!((code, text.contains("write a host name or address")), (Some(2), true), "{text}");
    let config = folder.file("vambrace.toml");
    let least = "mode = \"shadow\"\n[ports]\nplant = \"a\"\nrobot = \"b\"\n[[asset]]\nname = \"arm\"\nip = \"10.0.0.1\"\nside = \"robot\"\n";
    std::fs::write(&config, least).unwrap();
    let (code, text) = said(vambrace().args(["console", "--config"]).arg(&config));
    assert_eq!((code, text.contains("there is nothing to do")), (Some(2), true), "{text}");
    let (code, text) = said(vambrace().args(["console", "keygen", "user", "eva", "-d"]).arg(&folder.0));
    assert_eq!((code, text.contains("make the authority first")), (Some(1), true), "{text}");
    keygen(&folder, &["ca"]);
    let again = vambrace().args(["console", "keygen", "ca", "-d"]).arg(folder.file("keys")).output().unwrap();
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("--force writes over it"));
    let (code, text) = said(vambrace().args(["console", "keygen", "user", "../x", "-d"]).arg(folder.file("keys")));
    assert_eq!((code, text.contains("names no file")), (Some(2), true), "{text}");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(folder.file("keys/ca.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Certificates that can't be read: it does not listen, says so, and what else it does goes on.
    let (remote, metrics, own) = (free(), free(), folder.0.display());
    let text = format!(
        "{least}[console]\ndirectory = \"{own}/console\"\nlisten = \"{remote}\"\ncertificate = \"{own}/none.pem\"\n\
         key = \"{own}/none.key\"\nclient_ca = \"{own}/none.pem\"\n[console.metrics]\nlisten = \"{metrics}\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let console = start(&folder, &["console"], &config, "console.log");
    wait_for("metrics", || TcpStream::connect(metrics).is_ok());
    assert!(TcpStream::connect(remote).is_err());
    let log = folder.log("console.log");
    assert!(log.contains("the remote API does not run") && log.contains("none.pem"), "{log}");
    drop(console);
}
