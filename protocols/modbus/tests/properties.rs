//! Properties: never panics, consumed <= length, any cut gives the same units, parse(emit(x)) = x.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail loudly"
)]

mod common;

use dissect::{DissectError, Step};
use modbus::{Adu, MAX_ADU, Request, Response, Session, Values};
use proptest::prelude::*;

/// Everything that can be asked of any bytes.
fn exercise(bytes: &[u8], session: &mut Session) -> Result<(), TestCaseError> {
    let _ = modbus::probe(bytes);
    let _ = Adu::datagram(bytes);
    match Adu::step(bytes) {
        Err(error) => prop_assert!((error.offset as usize) < bytes.len(), "{error:?}"),
        Ok(Step::Partial { needed }) => prop_assert!(needed > bytes.len() && (8..=MAX_ADU).contains(&needed)),
        Ok(Step::Whole { unit, len }) => {
            prop_assert!(len <= bytes.len() && (8..=MAX_ADU).contains(&len));
            prop_assert_eq!(unit.pdu, &bytes[7..len]);
            request(&unit, len, session)?;
            response(&unit, len, session)?;
        }
    }
    Ok(())
}

fn in_unit(error: DissectError, len: usize) -> Result<(), TestCaseError> {
    prop_assert!(error.offset as usize <= len, "{:?} in {} bytes", error, len);
    let _ = Request::exception_for(&error);
    Ok(())
}

fn request(adu: &Adu<'_>, len: usize, session: &mut Session) -> Result<(), TestCaseError> {
    let request = match Request::read(adu) {
        Ok(request) => request,
        Err(error) => return in_unit(error, len),
    };
    for span in request.read.into_iter().chain(request.write.map(|write| write.span)) {
        prop_assert!(span.quantity >= 1);
        prop_assert!(u32::from(span.address) + u32::from(span.quantity) <= 65536);
        prop_assert!(span.contains(span.address) && span.contains(span.last()));
    }
    if let Some(write) = request.write {
        let values = match write.values {
            Values::Mask { .. } => 1,
            Values::Bits(_) => write.bits().count(),
            Values::Registers(_) => write.registers().count(),
        };
        prop_assert_eq!(values, usize::from(write.span.quantity));
        let (low, high) = write.value_bounds();
        prop_assert!(low <= high);
        prop_assert!(write.registers().all(|value| low <= value && value <= high));
        prop_assert!(request.changes_state());
    }
    // A record of a read takes 7 bytes, one of a write its registers too: nothing of the data is left over.
    let in_records: usize = request.file_records().map(|record| 7 + record.data.len()).sum();
    prop_assert_eq!(in_records, if matches!(adu.pdu[0], 0x14 | 0x15) { request.data.len() - 1 } else { 0 });
    prop_assert!(request.known() || request.changes_state());
    let _ = (request.name(), request.sub_function_name());
    let mut buffer = [0; MAX_ADU];
    let emitted = request.emit(&mut buffer);
    prop_assert_eq!(Adu::datagram(emitted.unwrap()), Ok(*adu));
    if session.request(&request, 1).is_err() {
        prop_assert!(session.forget_oldest().is_some());
    }
    Ok(())
}

fn response(adu: &Adu<'_>, len: usize, session: &mut Session) -> Result<(), TestCaseError> {
    let response = match Response::read(adu) {
        Ok(response) => response,
        Err(error) => return in_unit(error, len),
    };
    prop_assert_eq!(response.exception.is_some(), adu.pdu[0] >= 0x80);
    let _ = (response.written(), response.file_data().count(), response.file_records().count());
    let _ = response.device_objects().count();
    if let Some(values) = response.values {
        let _ = (values.registers().count(), values.bits(u16::MAX).count());
    }
    let mut buffer = [0; MAX_ADU];
    let emitted = response.emit(&mut buffer);
    prop_assert_eq!(Adu::datagram(emitted.unwrap()), Ok(*adu));
    let before = session.len();
    let matched = session.answer(&response).is_some();
    prop_assert_eq!(session.len(), before - usize::from(matched));
    Ok(())
}

/// Units of a stream, given to the dissector in pieces that end at `cuts`.
fn units(stream: &[u8], cuts: &[usize]) -> (Vec<Vec<u8>>, Option<DissectError>) {
    let mut found = Vec::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&stream.len()]) {
        loop {
            match Adu::step(&stream[start..end]) {
                Ok(Step::Whole { len, .. }) => {
                    found.push(stream[start..start + len].to_vec());
                    start += len;
                }
                Ok(Step::Partial { .. }) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        exercise(&bytes, &mut Session::new())?;
    }

    #[test]
    fn any_pdu_in_a_good_header(
        units in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..=252)), 1..20),
    ) {
        let mut session = Session::new();
        for (function, data) in units {
            let mut bytes = vec![0, 1, 0, 0, 0, data.len() as u8 + 2, 1, function];
            bytes.extend_from_slice(&data);
            exercise(&bytes, &mut session)?;
        }
    }

    #[test]
    fn damaged_units(
        requests in prop::collection::vec(common::damaged(common::request()), 1..4),
        responses in prop::collection::vec(common::damaged(common::response()), 1..4),
    ) {
        let mut session = Session::new();
        for unit in requests.iter().chain(&responses) {
            exercise(unit, &mut session)?;
        }
    }

    #[test]
    fn what_is_emitted_is_read_back(request in common::request(), response in common::response()) {
        let adu = Adu::datagram(&request).unwrap();
        let parsed = Request::read(&adu).unwrap();
        prop_assert!(parsed.known(), "{parsed:?}");
        let mut buffer = [0; MAX_ADU];
        prop_assert_eq!(parsed.emit(&mut buffer).unwrap(), &request[..]);

        let adu = Adu::datagram(&response).unwrap();
        let parsed = Response::read(&adu).unwrap();
        let mut buffer = [0; MAX_ADU];
        prop_assert_eq!(parsed.emit(&mut buffer).unwrap(), &response[..]);
    }

    #[test]
    fn any_cut_gives_the_same_units(
        sent in prop::collection::vec(common::request(), 1..6),
        rubbish in prop::collection::vec(any::<u8>(), 0..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let stream = [sent.concat(), rubbish].concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = units(&stream, &[]);
        prop_assert!(whole.0.starts_with(&sent));
        let (found, error) = units(&stream, &cuts);
        prop_assert_eq!(&found, &whole.0);
        // The place and field of a header error do not depend on the cuts either.
        prop_assert_eq!(error, whole.1);
        let every: Vec<usize> = (0..stream.len()).collect();
        prop_assert_eq!(units(&stream, &every), whole);
    }

    #[test]
    fn needed_is_exact(request in common::request(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(request.len());
        let expected = if cut < 6 { 8 } else { request.len() };
        prop_assert_eq!(Adu::step(&request[..cut]), Ok(Step::Partial { needed: expected }));
    }
}
