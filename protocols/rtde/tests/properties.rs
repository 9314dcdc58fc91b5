//! Properties over arbitrary bytes, packages and histories.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;

use dissect::{DissectError, Step, Toward};
use proptest::collection::vec;
use proptest::prelude::*;
use rtde::{
    DataType, InputData, Message, Names, OutputData, Package, PackageType, Reply, Request, Session, Value, Variable,
    Version, emit,
};
use zerocopy::FromBytes;

fn toward() -> impl Strategy<Value = Toward> {
    prop_oneof![Just(Toward::Robot), Just(Toward::Plant)]
}

/// Bytes that are often nearly RTDE.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![9 => proptest::sample::select(b"VvMOISPU".to_vec()), 1 => any::<u8>()];
    let payload = prop_oneof![
        vec(any::<u8>(), 0..40),
        vec(proptest::sample::select(b"timestamp,actual_q,INT32,DOUBLE,BOOL,IN_USE \x00\x01\x02".to_vec()), 0..40),
        Just(b"\x01input_int_register_0,input_bit_register_64,".to_vec()),
        Just(b"\x01INT32,BOOL".to_vec()),
        Just(vec![0, 2]),
        Just(vec![1]),
        Just(vec![]),
    ];
    let wrong = prop_oneof![15 => Just(0_i32), 1 => -4..4_i32];
    vec((kind, payload, wrong), 0..12).prop_map(|packages| {
        let mut bytes = Vec::new();
        for (kind, payload, wrong) in packages {
            let size = (payload.len() as i32 + 3 + wrong).clamp(0, 65535) as u16;
            bytes.extend(size.to_be_bytes());
            bytes.push(kind);
            bytes.extend(payload);
        }
        bytes
    })
}

type Unit = (PackageType, Vec<u8>);

/// All units of `bytes` given in pieces that end at `cuts`, and the error that ended them.
fn units(bytes: &[u8], cuts: &[usize], toward: Toward) -> (Vec<Unit>, Option<DissectError>) {
    let mut found = Vec::new();
    let mut from = 0;
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    for end in ends {
        loop {
            let given = &bytes[from..end.max(from)];
            match Package::step(given, toward) {
                Ok(Step::Whole { unit, len }) => {
                    assert!(len >= 1 && len <= given.len());
                    found.push((unit.kind, unit.payload.to_vec()));
                    from += len;
                }
                Ok(Step::Partial { needed }) => {
                    assert!(needed > given.len());
                    break;
                }
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_units(bytes in stream(), cuts in vec(any::<usize>(), 0..8), toward in toward()) {
        prop_assert_eq!(units(&bytes, &cuts, toward), units(&bytes, &[], toward));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..600), toward in toward()) {
        let _ = units(&bytes, &[], toward);
        let _ = rtde::probe(&bytes, toward);
        let _ = Variable::named(&bytes);
    }

    /// Both directions of a connection in any order; the session starts zeroed or torn.
    #[test]
    fn no_history_panics(
        torn in prop_oneof![Just(None), vec(any::<u8>(), 64).prop_map(Some)],
        streams in vec((stream(), toward()), 0..8),
    ) {
        let mut session = Session::new();
        if let Some(pattern) = torn {
            let bytes: Vec<u8> = pattern.iter().copied().cycle().take(size_of::<Session>()).collect();
            session = Session::read_from_bytes(&bytes).unwrap();
        }
        for (bytes, toward) in streams {
            let mut rest = &bytes[..];
            while let Ok(Step::Whole { unit, len }) = Package::step(rest, toward) {
                rest = &rest[len..];
                match toward {
                    Toward::Robot => {
                        if let Ok(Request::Data(data)) = Request::read(&unit, &session) {
                            let _ = data.fields().count();
                        }
                        let _ = session.request(&unit);
                    }
                    Toward::Plant => {
                        if let Ok(reply) = Reply::read(&unit, &session) {
                            let _ = session.answered(&reply).count();
                            if let Reply::Data(data) = reply {
                                let _ = data.fields().count();
                            }
                        }
                        let _ = session.reply(&unit);
                    }
                }
                let _ = format!("{session:?}");
            }
        }
    }
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    vec("[a-zA-Z0-9_]{1,30}", 0..8).prop_map(|names| names.join(",").into_bytes())
}

/// A session of this version, made the way a connection makes it.
fn session_of(version: Version) -> Session {
    let mut session = Session::new();
    if version == Version::V2 {
        session.request(&Package { kind: PackageType::RequestProtocolVersion, payload: &[0, 2] }).unwrap();
        session.reply(&Package { kind: PackageType::RequestProtocolVersion, payload: &[1] }).unwrap();
    }
    session
}

fn whole(bytes: &[u8], toward: Toward) -> Package<'_> {
    match Package::step(bytes, toward) {
        Ok(Step::Whole { unit, len }) if len == bytes.len() => unit,
        other => panic!("{other:?}"),
    }
}

fn value() -> impl Strategy<Value = Value> {
    let double = -1e9..1e9_f64;
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<u8>().prop_map(Value::Uint8),
        any::<u32>().prop_map(Value::Uint32),
        any::<u64>().prop_map(Value::Uint64),
        any::<i32>().prop_map(Value::Int32),
        double.clone().prop_map(Value::Double),
        proptest::array::uniform3(double.clone()).prop_map(Value::Vector3d),
        proptest::array::uniform6(double).prop_map(Value::Vector6d),
        proptest::array::uniform6(any::<i32>()).prop_map(Value::Vector6Int32),
        proptest::array::uniform6(any::<u32>()).prop_map(Value::Vector6Uint32),
    ]
}

proptest! {
    #[test]
    fn requests_read_back(
        version in prop_oneof![Just(Version::V1), Just(Version::V2)],
        names in names(),
        text in vec(any::<u8>(), 0..255),
        source in vec(any::<u8>(), 0..255),
        number in any::<u16>(),
        frequency in 0.01..1000.0_f64,
    ) {
        let session = session_of(version);
        let (is_2, level_byte) = (version == Version::V2, number.to_be_bytes()[0]);
        for request in [
            Request::ProtocolVersion(number),
            Request::ControllerVersion,
            Request::Message(Message { text: &text, source: if is_2 { &source } else { &[] }, level_byte }),
            Request::SetupOutputs { frequency_hz: is_2.then_some(frequency), names: Names(&names) },
            Request::SetupInputs { names: Names(&names) },
            Request::Start,
            Request::Pause,
            Request::Data(InputData { recipe_id: level_byte, recipe: None, values: &text }),
        ] {
            let mut buffer = [0; 1024];
            let len = request.emit(version, &mut buffer).unwrap();
            prop_assert_eq!(Request::read(&whole(&buffer[..len], Toward::Robot), &session), Ok(request));
            prop_assert_eq!(request.emit(version, &mut buffer[..len - 1]), None);
        }
    }

    #[test]
    fn replies_read_back(
        version in prop_oneof![Just(Version::V1), Just(Version::V2)],
        types in names(),
        text in vec(any::<u8>(), 0..255),
        numbers in any::<[u32; 4]>(),
        accepted in any::<bool>(),
    ) {
        let session = session_of(version);
        let [major, minor, bugfix, build] = numbers;
        let (is_2, id) = (version == Version::V2, build as u8);
        for reply in [
            Reply::ProtocolVersion { accepted },
            Reply::ControllerVersion { major, minor, bugfix, build },
            Reply::Message(Message { text: &text, source: if is_2 { &text } else { &[] }, level_byte: id }),
            Reply::SetupOutputs { recipe_id: is_2.then_some(id), types: Names(&types) },
            Reply::SetupInputs { recipe_id: id, types: Names(&types) },
            Reply::Start { accepted },
            Reply::Pause { accepted },
            Reply::Data(OutputData { recipe_id: is_2.then_some(id), recipe: None, values: &text }),
        ] {
            let mut buffer = [0; 1024];
            let len = reply.emit(version, &mut buffer).unwrap();
            prop_assert_eq!(Reply::read(&whole(&buffer[..len], Toward::Plant), &session), Ok(reply));
            prop_assert_eq!(reply.emit(version, &mut buffer[..len - 1]), None);
        }
    }

    /// Values of every type come back typed, named and in order, inputs and outputs alike; one byte more or less is an
    /// error.
    #[test]
    fn values_read_back(values in vec(value(), 0..20), toward in toward()) {
        let mut session = session_of(Version::V2);
        let names: Vec<&[u8]> = Variable::all().step_by(7).map(|v| v.name().as_bytes()).take(values.len()).collect();
        let types = values.iter().map(|value| rtde::ReplyType::Data(value.data_type()));
        let mut buffer = [0; 2048];
        let len = match toward {
            Toward::Robot => emit::setup_inputs(names.iter().copied(), &mut buffer),
            Toward::Plant => emit::setup_outputs(Some(500.0), names.iter().copied(), &mut buffer),
        };
        session.request(&whole(&buffer[..len.unwrap()], Toward::Robot)).unwrap();
        let len = match toward {
            Toward::Robot => emit::inputs_reply(8, types, &mut buffer),
            Toward::Plant => emit::outputs_reply(Some(8), types, &mut buffer),
        };
        session.reply(&whole(&buffer[..len.unwrap()], Toward::Plant)).unwrap();

        let len = emit::data(Some(8), values.iter().copied(), &mut buffer).unwrap();
        let package = whole(&buffer[..len], toward);
        let fields: Vec<_> = match toward {
            Toward::Robot => match Request::read(&package, &session) {
                Ok(Request::Data(data)) => data.fields().collect(),
                other => panic!("{other:?}"),
            },
            Toward::Plant => match Reply::read(&package, &session) {
                Ok(Reply::Data(data)) => data.fields().collect(),
                other => panic!("{other:?}"),
            },
        };
        prop_assert_eq!(fields.len(), values.len());
        for ((field, value), name) in fields.iter().zip(&values).zip(names) {
            prop_assert_eq!(field.value, *value);
            prop_assert_eq!(field.data_type, value.data_type());
            prop_assert_eq!(field.variable.name().as_bytes(), name);
        }
        for payload in [&buffer[3..len + 1], &buffer[3..len - usize::from(len > 4)]] {
            let other = Package { kind: PackageType::Data, payload };
            let strict = match toward {
                Toward::Robot => Request::read(&other, &session).is_err(),
                Toward::Plant => Reply::read(&other, &session).is_err(),
            };
            prop_assert_eq!(strict, payload.len() != len - 3);
        }
    }
}

/// One step of a connection's set-ups.
#[derive(Clone, Debug)]
enum SetUp {
    Input { first: usize, fields: usize },
    Output { first: usize, fields: usize },
    AnswerInput { id: u8, refuse: bool },
    AnswerOutput { id: u8, refuse: bool },
}

fn set_ups() -> impl Strategy<Value = Vec<SetUp>> {
    let set_up = prop_oneof![
        (0..400_usize, 0..12_usize).prop_map(|(first, fields)| SetUp::Input { first, fields }),
        (0..400_usize, 0..12_usize).prop_map(|(first, fields)| SetUp::Output { first, fields }),
        (0..6_u8, proptest::bool::weighted(0.2)).prop_map(|(id, refuse)| SetUp::AnswerInput { id, refuse }),
        (0..6_u8, proptest::bool::weighted(0.2)).prop_map(|(id, refuse)| SetUp::AnswerOutput { id, refuse }),
    ];
    vec(set_up, 0..60)
}

proptest! {
    /// The pool against plain collections: recipes replaced, refused and answered late never mix.
    #[test]
    fn the_pool_holds_what_was_agreed(steps in set_ups()) {
        let mut session = session_of(Version::V2);
        let variables: Vec<Variable> = Variable::all().collect();
        let mut waiting: [std::collections::VecDeque<Vec<Variable>>; 2] = Default::default();
        let mut inputs: BTreeMap<u8, Vec<(Variable, DataType)>> = BTreeMap::new();
        let mut output: Option<Vec<(Variable, DataType)>> = None;
        let mut buffer = [0; 2048];
        for step in steps {
            match step {
                SetUp::Input { first, fields } | SetUp::Output { first, fields } => {
                    let chosen = variables[first..first + fields].to_vec();
                    let names = chosen.iter().map(|variable| variable.name().as_bytes());
                    let (kind, len) = match step {
                        SetUp::Input { .. } => (0, emit::setup_inputs(names, &mut buffer)),
                        _ => (1, emit::setup_outputs(Some(1.0), names, &mut buffer)),
                    };
                    session.request(&whole(&buffer[..len.unwrap()], Toward::Robot)).unwrap();
                    waiting[kind].push_back(chosen);
                }
                SetUp::AnswerInput { id, refuse } | SetUp::AnswerOutput { id, refuse } => {
                    let kind = usize::from(matches!(step, SetUp::AnswerOutput { .. }));
                    let asked = waiting[kind].pop_front();
                    let typed: Vec<_> = asked.iter().flatten().map(|v| (*v, v.data_type().unwrap())).collect();
                    let types = typed.iter().enumerate().map(|(at, (_, data_type))| match (refuse, at) {
                        (true, 0) => rtde::ReplyType::InUse,
                        _ => rtde::ReplyType::Data(*data_type),
                    });
                    let len = match kind {
                        0 => emit::inputs_reply(id, types, &mut buffer),
                        _ => emit::outputs_reply(Some(id), types, &mut buffer),
                    };
                    let outcome = session.reply(&whole(&buffer[..len.unwrap()], Toward::Plant));
                    prop_assert_eq!(outcome.is_ok(), asked.is_some());
                    if asked.is_some() {
                        let made = id != 0 && (!refuse || typed.is_empty());
                        match (kind, made) {
                            (0, true) => drop(inputs.insert(id, typed)),
                            (0, false) => {}
                            (_, true) => output = Some(typed),
                            (_, false) => output = None,
                        }
                    }
                }
            }
            let held: BTreeMap<u8, Vec<_>> = session.recipes().map(|(id, recipe)| (id, recipe.iter().collect())).collect();
            prop_assert_eq!(&held, &inputs);
            for (_, recipe) in session.recipes() {
                let size: usize = recipe.iter().map(|(_, data_type)| usize::from(data_type.size())).sum();
                prop_assert_eq!(recipe.size(), size);
            }
            let held: Option<Vec<_>> = session.output_recipe().map(|recipe| recipe.iter().collect());
            prop_assert_eq!(&held, &output);
            prop_assert_eq!(session.unanswered(), waiting[0].len() + waiting[1].len());
        }
    }
}
