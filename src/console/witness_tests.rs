#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use std::net::{SocketAddr, TcpListener, TcpStream};

use super::*;
use crate::config::{Console, Role, User};
use crate::console::certificates::Certificates;
use crate::console::diagnostics::Diagnostics;
use crate::console::listen::{Bounds, listen};
use crate::console::remote::Remote;
use crate::control::{Caller, Handler, Server};

fn note(leaves: u64, root: char) -> String {
    let root = root.to_string().repeat(43) + "=";
    format!(
        "vambrace/cell4\n{leaves}\n{root}\ntime_ns 5\nrecords 7\ncounter 1\n\n\u{2014} vambrace/cell4 {}\n",
        "A".repeat(92)
    )
}

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("vambrace-witness-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// A block by the format's page: type, length, body padded, length.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let len = (padded as u32 + 12).to_le_bytes();
    let mut bytes = [&kind.to_le_bytes()[..], &len, body].concat();
    bytes.resize(8 + padded, 0);
    [bytes, len.to_vec()].concat()
}

fn ours(kind: u8, body: &[u8]) -> Vec<u8> {
    let head = [&32473_u32.to_le_bytes()[..], b"VBR1", &[kind, 0, 0, 0], &(body.len() as u32).to_le_bytes()];
    block(0xbad, &[head.concat(), body.to_vec()].concat())
}

#[test]
fn the_newest_checkpoint_is_found_as_segments_grow() {
    let records = folder("segments");
    let mut checkpoints = Checkpoints::new(&records);
    assert_eq!(checkpoints.newest().unwrap(), None);
    let first = records.join("evidence-00000001.pcapng");
    let whole = [
        block(0x0a0d_0d0a, &[0; 16]),
        block(6, &[7; 33]),
        ours(1, b"{}"),
        ours(3, note(1, 'a').as_bytes()),
        ours(2, &[0; 232]),
        ours(3, note(2, 'b').as_bytes()),
    ]
    .concat();
    fs::write(&first, &whole).unwrap();
    assert_eq!(checkpoints.newest().unwrap(), Some(note(2, 'b').as_str()));
    // Half of the next one, then all of it; zeros behind.
    let next = ours(3, note(3, 'c').as_bytes());
    fs::write(&first, [&whole[..], &next[..next.len() / 2]].concat()).unwrap();
    assert_eq!(checkpoints.newest().unwrap(), Some(note(2, 'b').as_str()));
    fs::write(&first, [&whole[..], &next, &[0; 64]].concat()).unwrap();
    assert_eq!(checkpoints.newest().unwrap(), Some(note(3, 'c').as_str()));
    let second = records.join("evidence-00000002.pcapng");
    fs::write(&second, block(0x0a0d_0d0a, &[0; 16])).unwrap();
    assert_eq!(checkpoints.newest().unwrap(), Some(note(3, 'c').as_str()), "until the next segment has one");
    fs::write(&second, [block(0x0a0d_0d0a, &[0; 16]), ours(3, note(4, 'd').as_bytes())].concat()).unwrap();
    assert_eq!(checkpoints.newest().unwrap(), Some(note(4, 'd').as_str()));
    fs::remove_dir_all(&records).unwrap();
}

#[test]
fn a_witness_sees_a_log_that_goes_back_also_after_a_restart() {
    let directory = folder("kept");
    let kept = Kept::new(&directory);
    // One that says nothing new is not kept again.
    for next in [note(1, 'a'), note(2, 'b'), note(2, 'b'), note(9, 'c')] {
        kept.keep("box 4", &next).unwrap();
    }
    for kept in [kept, Kept::new(&directory)] {
        let refused = |note: &str| kept.keep("box 4", note).unwrap_err().sentence().to_owned();
        assert!(refused(&note(8, 'c')).contains("the log went back: 8 leaves, it had 9"));
        assert!(refused(&note(9, 'd')).contains("another root at 9 leaves"));
        let other = note(10, 'd').replace("vambrace/cell4", "vambrace/cell5");
        assert!(refused(&other).contains("box 4 is known for vambrace/cell4"));
    }
    let kept = Kept::new(&directory);
    kept.keep("box 5", &note(1, 'x')).unwrap();
    for odd in ["", "a\n1\n", &note(1, 'a').replace("\u{2014} ", "- "), &(note(1, 'a') + "\u{1b}\n"), &"x".repeat(5000)]
    {
        assert_eq!(kept.keep("box 4", odd), Err(Unkept::Unfit("this is no checkpoint")), "{odd:?}");
    }
    let text = fs::read_to_string(directory.join("witness-box%20%4.checkpoints")).unwrap();
    let wanted = [note(1, 'a'), note(2, 'b'), note(9, 'c')].map(|note| note + "\n").concat();
    assert_eq!(text, wanted, "signed notes one after the other, each followed by an empty line");
    assert_ne!(kept.path("a/b"), kept.path("a%b"));
    fs::remove_dir_all(&directory).unwrap();
}

/// Notes that contradict what is kept are evidence of it: each is kept in a numbered file, and none of them is written
/// over. Whoever pushed one with a number beyond all others does not keep the true ones from being kept either.
#[test]
fn what_contradicts_is_put_aside_and_nothing_is_written_over() {
    let directory = folder("aside");
    let (begun, mut pushes) = (Instant::now(), 0);
    let mut keep = |kept: &Kept, note: &str| {
        pushes += 1;
        kept.keep_at("cell4", note, begun + EVERY * pushes)
    };
    let text = |name: &str| fs::read_to_string(directory.join(format!("witness-cell4{name}.checkpoints")));
    let kept = Kept::new(&directory);
    keep(&kept, &note(5, 'a')).unwrap();
    keep(&kept, &note(u64::MAX, 'z')).unwrap();
    // The box goes on: all of it contradicts the number that somebody made up.
    for (leaves, root) in [(6, 'b'), (7, 'c'), (7, 'c')] {
        assert!(matches!(keep(&kept, &note(leaves, root)), Err(Unkept::Grave(why)) if why.contains("went back")));
    }
    // After a restart, and from another past: a file of its own.
    let kept = Kept::new(&directory);
    keep(&kept, &note(8, 'd')).unwrap_err();
    keep(&kept, &note(7, 'x')).unwrap_err();
    assert_eq!(text("").unwrap(), note(5, 'a') + "\n" + &note(u64::MAX, 'z') + "\n");
    assert_eq!(text(".aside-1").unwrap(), [note(6, 'b'), note(7, 'c'), note(8, 'd')].map(|note| note + "\n").concat());
    assert_eq!(text(".aside-2").unwrap(), note(7, 'x') + "\n");
    // However many pasts: so many files and no more.
    for (leaves, root) in (1..7).rev().map(|leaves| (leaves, 'y')).chain([(1, 'v'), (1, 'w')]) {
        keep(&kept, &note(leaves, root)).unwrap_err();
    }
    assert!(text(&format!(".aside-{ASIDE}")).is_ok() && text(&format!(".aside-{}", ASIDE + 1)).is_err());
    assert_eq!(text(".aside-2").unwrap(), note(7, 'x') + "\n");
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_box_can_not_fill_its_witness() {
    let directory = folder("filled");
    let (kept, begun) = (Kept::new(&directory), Instant::now());
    let taken = (1..=1000).filter(|leaves| kept.keep_at("cell4", &note(*leaves, 'a'), begun).is_ok()).count();
    assert_eq!(taken, usize::try_from(BURST).unwrap());
    assert!(
        matches!(kept.keep_at("cell4", &note(1001, 'a'), begun), Err(Unkept::Unfit(why)) if why.contains("too many"))
    );
    kept.keep_at("cell4", &note(1001, 'a'), begun + EVERY).unwrap();
    kept.keep_at("cell5", &note(1, 'a'), begun).unwrap();
    // The file is thinned out: the first and the newest stay, and it is never above its bound by more than a note.
    let path = directory.join("thin");
    for leaves in 1..=5000 {
        append(&path, &note(leaves, 'a'), 20_000).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 20_000 + 4096);
    }
    let text = fs::read_to_string(&path).unwrap();
    let leaves: Vec<u64> = notes(&text).filter_map(Head::of).map(|head| head.leaves).collect();
    assert_eq!((leaves[0], leaves[leaves.len() - 1]), (1, 5000));
    assert!(leaves.len() > 30 && leaves.is_sorted(), "{leaves:?}");
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn what_is_no_note_is_passed_over() {
    let directory = folder("torn");
    let kept = Kept::new(&directory);
    let path = kept.path("cell4");
    fs::write(&path, "something else").unwrap();
    kept.keep("cell4", &note(4, 'a')).unwrap();
    // A crash in the middle of a note, with and without its empty line.
    for (next, cut) in [(5, 30), (7, 90)] {
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(&note(100, 'b').as_bytes()[..cut]).unwrap();
        let kept = Kept::new(&directory);
        kept.keep("cell4", &note(next, 'a')).unwrap();
        assert!(kept.keep("cell4", &note(next - 1, 'a')).is_err());
    }
    let text = fs::read_to_string(&path).unwrap();
    let leaves: Vec<u64> = notes(&text).filter_map(Head::of).map(|head| head.leaves).collect();
    assert_eq!(leaves, [4, 5, 7], "{text}");
    fs::remove_dir_all(&directory).unwrap();
}

struct Nothing;

impl Handler for Nothing {
    fn handle(&self, _: Request, _: &Caller) -> Response {
        Response::Done
    }
}

#[test]
fn a_box_pushes_and_another_keeps() {
    let directory = folder("pushes");
    let ours_ = Certificates::make(&directory.join("keys"));
    let (socket, records) = (directory.join("control.sock"), directory.join("records"));
    fs::create_dir_all(&records).unwrap();
    let _server = Server::start(&socket, Arc::new(Nothing)).unwrap();
    let console = Console {
        certificate: Some(ours_.path("box.pem")),
        key: Some(ours_.path("box.key")),
        client_ca: Some(ours_.path("ca.pem")),
        users: vec![User { name: "cell4".into(), role: Role::Witness, certificate: ours_.user_print.clone() }],
        directory: directory.clone(),
        ..Console::default()
    };
    let stop = Arc::new(AtomicBool::new(false));
    let remote = Arc::new(
        Remote::new(&console, &socket, &records, Diagnostics::new(Path::new("/nonexistent")), Arc::clone(&stop))
            .unwrap()
            .unwrap(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve: Arc<dyn Fn(TcpStream, SocketAddr) + Send + Sync> =
        Arc::new(move |stream, peer| remote.serve(stream, peer));
    let listening = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || listen(&listener, "remote", Bounds { all: 4, each: 4 }, &stop, &serve))
    };
    let to = WitnessBox {
        name: "station".into(),
        address,
        ca: ours_.path("ca.pem"),
        certificate: ours_.path("user.pem"),
        key: ours_.path("user.key"),
    };
    let mut pusher = Pusher::new(&to, &records, Arc::clone(&stop));
    pusher.every = Duration::from_millis(20);
    let pushed = pusher.pushed();
    let pushing = std::thread::spawn(move || pusher.run());
    let wait = |what: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !what() {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let segment = records.join("evidence-00000001.pcapng");
    let begin = block(0x0a0d_0d0a, &[0; 16]);
    fs::write(&segment, [&begin[..], &ours(3, note(5, 'a').as_bytes())].concat()).unwrap();
    wait(&|| pushed.taken.load(Ordering::Relaxed) == 1);
    // The box's disk was put back: the witness says so.
    fs::write(records.join("evidence-00000002.pcapng"), [&begin[..], &ours(3, note(4, 'b').as_bytes())].concat())
        .unwrap();
    wait(&|| pushed.failures.load(Ordering::Relaxed) > 0);
    assert!(pushed.age().is_some() && pushed.taken.load(Ordering::Relaxed) == 1);
    let kept = fs::read_to_string(directory.join("witness-cell4.checkpoints")).unwrap();
    assert_eq!(kept, note(5, 'a') + "\n");
    stop.store(true, Ordering::Relaxed);
    pushing.join().unwrap();
    listening.join().unwrap();
    fs::remove_dir_all(&directory).unwrap();
}
