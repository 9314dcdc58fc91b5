use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;

struct Echo;

impl Handler for Echo {
    fn handle(&self, request: Request, caller: &Caller) -> Response {
        match request {
            Request::Status => Response::Status(Box::new(Status { restarts: caller.uid, ..Status::default() })),
            Request::Mode { mode, for_seconds } => {
                Response::Mode(Outcome { from: "learn".into(), to: mode, for_seconds, warnings: Vec::new() })
            }
            Request::PolicyApply { text, name } => Response::Policy(PolicyText {
                generation: 2,
                name,
                rules: 0,
                digest: String::new(),
                text,
                warnings: Vec::new(),
            }),
            Request::PolicyShow => Response::Policy(PolicyText {
                generation: 2,
                name: String::new(),
                rules: 0,
                digest: String::new(),
                text: "x".repeat(MAX_LINE),
                warnings: Vec::new(),
            }),
            _ => Response::failed(FailureKind::Unsafe, "not now"),
        }
    }
}

fn socket(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("vambrace-control-{}-{name}", std::process::id())).join("control.sock")
}

fn served(name: &str) -> (Server, PathBuf) {
    let path = socket(name);
    (Server::start(&path, Arc::new(Echo)).unwrap(), path)
}

fn raw(path: &Path, line: &[u8]) -> serde_json::Value {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(line).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

#[test]
fn several_requests_on_one_connection() {
    let (_server, path) = served("several");
    let mut client = Client::connect(&path).unwrap();
    let Response::Status(status) = client.ask(&Request::Status).unwrap() else { panic!("a status") };
    assert_eq!(status.restarts, rustix::process::getuid().as_raw());
    let answer = client.ask(&Request::Mode { mode: "enforce".into(), for_seconds: Some(60) }).unwrap();
    let warnings = Vec::new();
    let outcome = Outcome { from: "learn".into(), to: "enforce".into(), for_seconds: Some(60), warnings };
    assert_eq!(answer, Response::Mode(outcome));
    let text = "# \"\n\u{1f916}".to_owned();
    let Response::Policy(policy) =
        client.ask(&Request::PolicyApply { text: text.clone(), name: "p.toml".into() }).unwrap()
    else {
        panic!("a policy")
    };
    assert_eq!(policy.text, text);
    assert_eq!(client.ask(&Request::LearnStop).unwrap(), Response::failed(FailureKind::Unsafe, "not now"));
}

#[test]
fn the_socket_is_for_owner_and_group_and_goes_with_the_server() {
    let (server, path) = served("mode");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    drop(server);
    assert!(!path.exists());
    let error = Client::connect(&path).unwrap_err().to_string();
    assert!(error.contains("control.sock") && error.contains("is `vambrace run` running?"), "{error}");
}

#[test]
fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
    let path = socket("dead");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let _server = Server::start(&path, Arc::new(Echo)).unwrap();
    assert_eq!(Server::start(&path, Arc::new(Echo)).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    Client::connect(&path).unwrap().ask(&Request::Status).unwrap();
}

#[test]
fn what_is_no_request_gets_a_sentence() {
    let (_server, path) = served("wrong");
    for line in [
        &b"\n"[..],
        b"{}\n",
        b"{\"protocol\":2,\"request\":\"status\"}\n",
        b"{\"protocol\":1,\"request\":\"reboot\"}\n",
        b"{\"protocol\":1,\"request\":\"mode\"}\n",
        b"\xff\xfe\n",
    ] {
        let answer = raw(&path, line);
        assert_eq!(answer["response"], "failed", "{answer}");
        assert_eq!(answer["kind"], "usage", "{answer}");
    }
}

#[test]
fn lines_beyond_the_limit_are_refused_both_ways() {
    let (_server, path) = served("long");
    let mut client = Client::connect(&path).unwrap();
    let long = Request::PolicyApply { text: "x".repeat(MAX_LINE), name: String::new() };
    assert!(client.ask(&long).unwrap_err().to_string().contains("at most 1048576"));
    let answer = client.ask(&Request::PolicyShow).unwrap();
    assert!(matches!(answer, Response::Failed { kind: FailureKind::Failed, .. }), "{answer:?}");
    let answer = raw(&path, &vec![b'x'; MAX_LINE]);
    assert!(answer["messages"][0].as_str().unwrap().contains("more than 1048576"), "{answer}");
}

#[test]
fn seventeenth_client_is_told_to_wait() {
    let (_server, path) = served("many");
    let mut held: Vec<_> = (0..16).map(|_| Client::connect(&path).unwrap()).collect();
    for client in &mut held {
        client.ask(&Request::Status).unwrap();
    }
    let mut late = Client::connect(&path).unwrap();
    // The answer comes without a question, and the server closes; a question asked after that must still find it.
    std::thread::sleep(std::time::Duration::from_millis(100));
    let answer = late.ask(&Request::Status).unwrap();
    let Response::Failed { messages, .. } = &answer else { panic!("{answer:?}") };
    assert!(messages.iter().any(|message| message.contains("too many clients")), "{answer:?}");
}

struct Wary;

impl Handler for Wary {
    fn handle(&self, _: Request, caller: &Caller) -> Response {
        assert_eq!(caller.person, None);
        Response::Done
    }

    fn trusts(&self, _: u32) -> bool {
        false
    }
}

#[test]
fn not_everybody_says_for_whom_they_ask() {
    let path = socket("wary");
    let _server = Server::start(&path, Arc::new(Wary)).unwrap();
    let mut client = Client::connect(&path).unwrap();
    assert_eq!(client.ask(&Request::Status).unwrap(), Response::Done);
    let boss = Person { user: "boss".into(), role: "engineer".into(), address: [10, 0, 0, 1].into() };
    let denied = Request::Denied { what: "a".into(), why: "b".into() };
    for answer in [client.ask_for(&Request::Status, Some(&boss)), client.ask(&denied)] {
        let Response::Failed { kind: FailureKind::Usage, messages } = answer.unwrap() else { panic!("believed") };
        assert!(messages.concat().contains("only root and the management process"));
    }
}
