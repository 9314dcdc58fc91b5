//! Requests and responses in any cut, odd heads, and the table.
#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

use dissect::Step;
use proptest::prelude::*;
use robot_api::{FORBIDDEN, MAX_LINE, PREFIX, Request, Response};

fn put(path: &str, body: &str) -> Vec<u8> {
    format!("PUT {PREFIX}{path} HTTP/1.1\r\nHost: robot\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {PREFIX}{path} HTTP/1.1\r\nHost: robot\r\n\r\n").into_bytes()
}

/// The Dashboard's words for a request that is whole.
fn words(bytes: &[u8]) -> String {
    match Request::step(bytes) {
        Ok(Step::Whole { unit, len }) if len == bytes.len() => {
            String::from_utf8_lossy(unit.line(&mut [0; MAX_LINE])).into_owned()
        }
        other => panic!("{other:?} of {}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn each_row_of_the_table() {
    for (request, expected) in [
        (get("/robotstate/v1/robotmode"), "robotmode"),
        (get("/robotstate/v1/safetymode"), "safetymode"),
        (put("/robotstate/v1/state", r#"{"action":"POWER_ON"}"#), "power on"),
        (put("/robotstate/v1/state", r#"{"action": "POWER_OFF"}"#), "power off"),
        (put("/robotstate/v1/state", r#"{"action":"BRAKE_RELEASE"}"#), "brake release"),
        (put("/robotstate/v1/state", r#"{"action":"RESTART_SAFETY"}"#), "restart safety"),
        (put("/robotstate/v1/state", r#"{"action":"UNLOCK_PROTECTIVE_STOP"}"#), "unlock protective stop"),
        (put("/program/v1/load", r#"{"programName":"pick v4"}"#), "load pick v4"),
        (get("/program/v1/loaded"), "get loaded program"),
        (get("/program/v1/state"), "programState"),
        (put("/program/v1/state", r#"{"action":"play"}"#), "play"),
        (put("/program/v1/state", r#"{"action":"pause"}"#), "pause"),
        (put("/program/v1/state", r#"{"action":"stop"}"#), "stop"),
        (get("/system/v1/controlmode"), "is in remote control"),
        (get("/system/v1/operationalmode"), "get operational mode"),
        (put("/system/v1/operationalmode", r#"{"mode":"MANUAL"}"#), "set operational mode manual"),
        (get("/openapi.json"), "PolyscopeVersion"),
    ] {
        assert_eq!(words(&request), expected);
    }
}

#[test]
fn what_is_written_in_another_way_is_no_known_command() {
    let head = |line: &str, field: &str| format!("{line}\r\nHost: robot\r\n{field}\r\n").into_bytes();
    let known = format!("GET {PREFIX}/robotstate/v1/robotmode HTTP/1.1");
    assert_eq!(words(&head(&known, "")), "robotmode");
    for request in [
        get("/robotstate/v1/state"),
        get("/robotstate/v1/robotmode?x=1"),
        get("/robotstate/v1//robotmode"),
        get("/robotstate/v1/../v1/robotmode"),
        get("/robotstate/v1/robotm%6fde"),
        get("/RobotState/v1/robotmode"),
        get("/programs/v1/"),
        put("/robotstate/v1/state", ""),
        put("/robotstate/v1/state", r#"{"action":"power_on"}"#),
        put("/robotstate/v1/state", r#"{"Action":"POWER_ON"}"#),
        put("/robotstate/v1/state", r#"{"action":"POWER_OFF","action":"BRAKE_RELEASE"}"#),
        put("/robotstate/v1/state", "{\"action\":\"POWER\\u005fON\"}"),
        put("/system/v1/controlmode", r#"{"mode":"LOCAL"}"#),
        // A rule's argument has no blanks around it, a program's name may.
        put("/program/v1/load", r#"{"programName":" pick"}"#),
        put("/program/v1/load", r#"{"programName":"pick "}"#),
        put("/program/v1/load", r#"{"programName":""}"#),
        head(&known, "X-HTTP-Method-Override: PUT\r\n"),
        head(&known, "Content-Encoding: gzip\r\n"),
        head(&known, "x-original-url: /robotstate/v1/state\r\n"),
        head("DELETE /universal-robots/robot-api/programs/v1/a HTTP/1.1", ""),
        head("GET / HTTP/1.1", ""),
    ] {
        let words = words(&request);
        let method = words.split(' ').next().unwrap();
        assert!(["GET", "PUT", "DELETE"].contains(&method), "{words}");
    }
}

#[test]
fn what_two_servers_frame_in_two_ways_is_an_error() {
    let with = |fields: &str| format!("PUT /a HTTP/1.1\r\n{fields}\r\n\r\n{{}}").into_bytes();
    assert!(Request::step(&with("Content-Length: 2")).is_ok());
    for odd in [
        with("Content-Length: 2\r\nContent-Length: 2"),
        with("Content-Length: 2\r\nTransfer-Encoding: chunked"),
        with("Transfer-Encoding: chunked"),
        with("Transfer-Encoding: identity"),
        with("Content-Length: +2"),
        with("Content-Length: 0x2"),
        with("Content-Length: 2, 2"),
        with("Content-Length: 2\r\n continued"),
        with("Content-Length: 2\n X: 1"),
        with("Content-Length : 2"),
        with("Content-Length: 99999999"),
        with("Content-Length: 2\r\n: nothing"),
        with("A: b\rC: d"),
        with("A: b\0"),
        with("Upgrade: websocket"),
        b"GET  /a HTTP/1.1\r\n\r\n".to_vec(),
        b"GET /a b HTTP/1.1\r\n\r\n".to_vec(),
        b"GET http://robot/a HTTP/1.1\r\n\r\n".to_vec(),
        b"CONNECT robot:80 HTTP/1.1\r\n\r\n".to_vec(),
        b"get /a HTTP/1.1\r\n\r\n".to_vec(),
        b"GET /a HTTP/2.0\r\n\r\n".to_vec(),
        b"\r\nGET /a HTTP/1.1\r\n\r\n".to_vec(),
        b"brake release\n".to_vec(),
        vec![b'A'; 9000],
    ] {
        assert!(Request::step(&odd).is_err(), "{}", String::from_utf8_lossy(&odd));
    }
}

#[test]
fn responses_end_where_their_fields_say() {
    let whole = |bytes: &[u8]| match Response::step(bytes) {
        Ok(Step::Whole { unit, len }) => (unit.status, len, unit.interim),
        other => panic!("{other:?}"),
    };
    assert_eq!(whole(FORBIDDEN), (403, FORBIDDEN.len(), false));
    assert_eq!(whole(b"HTTP/1.1 204 No Content\r\n\r\nHTTP"), (204, 27, false));
    assert_eq!(whole(b"HTTP/1.1 100 Continue\r\n\r\n"), (100, 25, true));
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n";
    assert_eq!(whole(&[&chunked[..], b"HTTP"].concat()), (200, chunked.len(), false));
    assert!(Response::step(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").is_err());
    assert!(Response::step(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").is_err());
    assert!(Response::step(b"Connected: Universal Robots Dashboard Server\r\n\r\n").is_err());
}

/// Reads whole units one after the other, offered in pieces.
fn units(bytes: &[u8], cuts: &[usize]) -> Result<Vec<(String, usize)>, usize> {
    let (mut units, mut held, mut given) = (Vec::new(), Vec::new(), 0);
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    for end in ends {
        held.extend_from_slice(&bytes[given..end.max(given)]);
        given = end.max(given);
        loop {
            match Request::step(&held) {
                Ok(Step::Whole { unit, len }) => {
                    assert!(len > 0 && len <= held.len());
                    units.push((String::from_utf8_lossy(unit.line(&mut [0; MAX_LINE])).into_owned(), len));
                    held.drain(..len);
                }
                Ok(Step::Partial { needed }) => {
                    assert!(needed > held.len());
                    break;
                }
                Err(_) => return Err(units.len()),
            }
        }
    }
    Ok(units)
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(get("/robotstate/v1/robotmode")),
        prop::sample::select(vec!["POWER_ON", "BRAKE_RELEASE", "NONSENSE"])
            .prop_map(|action| put("/robotstate/v1/state", &format!("{{\"action\":\"{action}\"}}"))),
        "[a-z ]{0,40}".prop_map(|name| put("/program/v1/load", &format!("{{\"programName\":\"{name}\"}}"))),
        "/[a-z/]{0,30}".prop_map(|path| get(&path)),
    ]
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_units(
        requests in prop::collection::vec(request(), 1..6),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let bytes = [requests.concat(), tail].concat();
        prop_assert_eq!(units(&bytes, &cuts), units(&bytes, &[]));
        let whole = units(&requests.concat(), &cuts).unwrap();
        prop_assert_eq!(whole.iter().map(|(_, len)| *len).collect::<Vec<_>>(),
            requests.iter().map(Vec::len).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), head in any::<bool>()) {
        let bytes = if head { [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(), bytes].concat() } else { bytes };
        for step in [Request::step(&bytes).map(|step| step.map(drop)), Response::step(&bytes).map(|step| step.map(drop))] {
            match step {
                Ok(Step::Whole { len, .. }) => prop_assert!(len > 0 && len <= bytes.len()),
                Ok(Step::Partial { needed }) => prop_assert!(needed > bytes.len()),
                Err(_) => {}
            }
        }
    }

    /// No text makes a command that it does not spell.
    #[test]
    fn only_exact_requests_are_commands(body in "[\\{\\}\":,A-Za-z_\\\\ 0-9]{0,40}") {
        let words = words(&put("/robotstate/v1/state", &body));
        let actions = ["POWER_ON", "POWER_OFF", "BRAKE_RELEASE", "RESTART_SAFETY", "UNLOCK_PROTECTIVE_STOP"];
        prop_assert!(words.starts_with("PUT ") || actions.iter().any(|action| body.contains(action)), "{}", words);
    }
}
