//! Whole connections as real clients hold them, written out package by package.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs
)]

use dissect::{DissectError, ErrorKind, Step, Toward};
use rtde::{
    DataType, Field, Message, MessageLevel, Names, Outcome, Package, Reply, ReplyType, Request, Session, SetUp, Value,
    Variable, Version, emit,
};

/// One connection with the box in the middle that lets everything through.
struct Connection {
    session: Session,
}

fn package(bytes: &[u8], toward: Toward) -> Package<'_> {
    match Package::step(bytes, toward) {
        Ok(Step::Whole { unit, len }) => {
            assert_eq!(len, bytes.len());
            unit
        }
        other => panic!("{other:?}"),
    }
}

/// A package with the right size.
fn framed(kind: u8, payload: &[u8]) -> Vec<u8> {
    let size = u16::try_from(payload.len() + 3).unwrap();
    [&size.to_be_bytes()[..], &[kind], payload].concat()
}

impl Connection {
    fn new() -> Self {
        Self { session: Session::new() }
    }

    fn version_2() -> Self {
        let mut connection = Self::new();
        connection.robot(&[0, 5, b'V', 0, 2]).unwrap();
        connection.plant(&[0, 4, b'V', 1]).unwrap();
        connection
    }

    /// Bytes toward the robot.
    fn robot(&mut self, bytes: &[u8]) -> Result<(), DissectError> {
        let package = package(bytes, Toward::Robot);
        Request::read(&package, &self.session)?;
        self.session.request(&package)
    }

    /// Bytes toward the plant.
    fn plant(&mut self, bytes: &[u8]) -> Result<Outcome, DissectError> {
        let package = package(bytes, Toward::Plant);
        Reply::read(&package, &self.session)?;
        self.session.reply(&package)
    }

    fn request(&mut self, request: Request<'_>) -> Result<(), DissectError> {
        let mut buffer = [0; 4096];
        let len = request.emit(self.session.version(), &mut buffer).unwrap();
        self.robot(&buffer[..len])
    }

    fn reply(&mut self, reply: Reply<'_>) -> Result<Outcome, DissectError> {
        let mut buffer = [0; 8192];
        let len = reply.emit(self.session.version(), &mut buffer).unwrap();
        self.plant(&buffer[..len])
    }

    fn start(&mut self) {
        self.request(Request::Start).unwrap();
        assert_eq!(self.reply(Reply::Start { accepted: true }), Ok(Outcome::Start(true)));
    }

    fn inputs(&mut self, names: &str, id: u8, types: &str) -> Result<Outcome, DissectError> {
        self.request(Request::SetupInputs { names: Names(names.as_bytes()) })?;
        self.reply(Reply::SetupInputs { recipe_id: id, types: Names(types.as_bytes()) })
    }

    fn outputs(&mut self, names: &str, id: Option<u8>, types: &str) -> Result<Outcome, DissectError> {
        let frequency_hz = (self.session.version() == Version::V2).then_some(125.0);
        self.request(Request::SetupOutputs { frequency_hz, names: Names(names.as_bytes()) })?;
        self.reply(Reply::SetupOutputs { recipe_id: id, types: Names(types.as_bytes()) })
    }

    /// The fields of a data package toward the robot; `None` where its recipe is unknown.
    fn written(&mut self, id: u8, values: &[Value]) -> Result<Option<Vec<Field>>, DissectError> {
        let mut buffer = [0; 4096];
        let len = emit::data(Some(id), values.iter().copied(), &mut buffer).unwrap();
        let package = package(&buffer[..len], Toward::Robot);
        let Request::Data(data) = Request::read(&package, &self.session)? else { panic!("not data") };
        let fields = data.recipe.map(|_| data.fields().collect());
        self.session.request(&package)?;
        Ok(fields)
    }

    /// The fields of a data package toward the plant; `None` where its recipe is unknown.
    fn measured(&mut self, id: Option<u8>, values: &[Value]) -> Result<Option<Vec<Field>>, DissectError> {
        let mut buffer = [0; 4096];
        let len = emit::data(id, values.iter().copied(), &mut buffer).unwrap();
        let package = package(&buffer[..len], Toward::Plant);
        let Reply::Data(data) = Reply::read(&package, &self.session)? else { panic!("not data") };
        let fields = data.recipe.map(|_| data.fields().collect());
        self.session.reply(&package)?;
        Ok(fields)
    }
}

fn field(name: &str, value: Value) -> Field {
    let variable = Variable::named(name.as_bytes());
    assert!(variable.is_known(), "{name}");
    Field { variable, data_type: value.data_type(), value }
}

/// The order of a control client: version, controller version, 500 Hz outputs with a trailing comma, 23 input recipes
/// that all begin with the command register, start, commands.
#[test]
fn control_client_with_23_input_recipes() {
    let mut client = Connection::version_2();
    client.request(Request::ControllerVersion).unwrap();
    let version = Reply::ControllerVersion { major: 5, minor: 12, bugfix: 3, build: 1 };
    assert_eq!(client.reply(version), Ok(Outcome::Nothing));
    let set_up = SetUp { recipe_id: Some(1), fields: 3, not_found: 0, in_use: 0 };
    assert_eq!(
        client.outputs("timestamp,actual_q,runtime_state,", Some(1), "DOUBLE,VECTOR6D,UINT32"),
        Ok(Outcome::Outputs(set_up))
    );
    for id in 1..=23_u8 {
        let mut names = String::from("input_int_register_0,");
        let mut types = String::from("INT32");
        for register in 0..id {
            names.push_str(&format!("input_double_register_{register},"));
            types.push_str(",DOUBLE");
        }
        let outcome = client.inputs(&names, id, &types).unwrap();
        assert!(matches!(outcome, Outcome::Inputs(set_up) if set_up.is_accepted()));
    }
    assert_eq!(client.session.recipes().count(), 23);
    assert!(!client.session.is_running());
    client.start();
    assert!(client.session.is_running());

    for id in 1..=23_u8 {
        let mut values = vec![Value::Int32(i32::from(id))];
        values.extend((0..id).map(|register| Value::Double(f64::from(register) + 0.5)));
        let fields = client.written(id, &values).unwrap().unwrap();
        assert_eq!(fields.len(), usize::from(id) + 1);
        assert_eq!(fields[0], field("input_int_register_0", Value::Int32(i32::from(id))));
        assert_eq!(fields[1], field("input_double_register_0", Value::Double(0.5)));
    }
    let q = Value::Vector6d([0.0, -1.5, 1.5, 0.0, 0.25, -0.0]);
    let fields = client.measured(Some(1), &[Value::Double(40.25), q, Value::Uint32(2)]).unwrap().unwrap();
    assert_eq!(fields[0], field("timestamp", Value::Double(40.25)));
    assert_eq!(fields[1], field("actual_q", q));
    assert_eq!(fields[2], field("runtime_state", Value::Uint32(2)));

    client.request(Request::Pause).unwrap();
    assert_eq!(client.reply(Reply::Pause { accepted: true }), Ok(Outcome::Pause(true)));
    assert!(!client.session.is_running());
}

/// Set-ups sent without waiting are answered in their order, between other answers.
#[test]
fn pipelined_set_ups_are_answered_in_order() {
    let mut client = Connection::version_2();
    client.request(Request::SetupInputs { names: Names(b"speed_slider_mask,speed_slider_fraction") }).unwrap();
    client.request(Request::SetupOutputs { frequency_hz: Some(10.0), names: Names(b"robot_mode") }).unwrap();
    client.request(Request::SetupInputs { names: Names(b"external_force_torque") }).unwrap();
    client.request(Request::Start).unwrap();
    assert_eq!(client.session.unanswered(), 3);
    // Not answered yet: the robot may know the recipe already, the session does not.
    assert_eq!(client.written(1, &[Value::Uint32(1), Value::Double(0.1)]), Ok(None));
    client.reply(Reply::SetupOutputs { recipe_id: Some(9), types: Names(b"INT32") }).unwrap();
    client.reply(Reply::SetupInputs { recipe_id: 1, types: Names(b"UINT32,DOUBLE") }).unwrap();
    client.reply(Reply::SetupInputs { recipe_id: 2, types: Names(b"VECTOR6D") }).unwrap();
    client.reply(Reply::Start { accepted: true }).unwrap();
    assert_eq!(client.session.unanswered(), 0);
    let fields = client.written(1, &[Value::Uint32(1), Value::Double(0.1)]).unwrap().unwrap();
    assert_eq!(fields[1], field("speed_slider_fraction", Value::Double(0.1)));
    let force = Value::Vector6d([1.0; 6]);
    assert_eq!(client.written(2, &[force]).unwrap().unwrap(), [field("external_force_torque", force)]);
    assert_eq!(client.measured(Some(9), &[Value::Int32(7)]).unwrap().unwrap(), [field("robot_mode", Value::Int32(7))]);
}

/// Version 1: no frequency, no id of outputs; inputs as in version 2.
#[test]
fn version_1_has_no_output_id() {
    let mut client = Connection::new();
    client.request(Request::ProtocolVersion(2)).unwrap();
    let outcome = client.reply(Reply::ProtocolVersion { accepted: false });
    assert_eq!(outcome, Ok(Outcome::Version { asked: 2, accepted: false }));
    client.request(Request::ProtocolVersion(1)).unwrap();
    client.reply(Reply::ProtocolVersion { accepted: true }).unwrap();
    assert_eq!(client.session.version(), Version::V1);

    client.robot(&framed(b'O', b"timestamp,payload")).unwrap();
    client.plant(&framed(b'O', b"DOUBLE,DOUBLE")).unwrap();
    client.inputs("standard_digital_output_mask,standard_digital_output", 1, "UINT8,UINT8").unwrap();
    client.start();
    let fields = client.measured(None, &[Value::Double(1.0), Value::Double(2.5)]).unwrap().unwrap();
    assert_eq!(fields, [field("timestamp", Value::Double(1.0)), field("payload", Value::Double(2.5))]);
    let fields = client.written(1, &[Value::Uint8(2), Value::Uint8(255)]).unwrap().unwrap();
    assert_eq!(fields[1], field("standard_digital_output", Value::Uint8(255)));

    let message = Message { text: b"hello", source: b"", level_byte: 3 };
    assert_eq!(message.level(), Some(MessageLevel::Info));
    client.plant(&framed(b'M', b"\x03hello")).unwrap();
    assert_eq!(
        Reply::read(&package(&framed(b'M', b"\x03hello"), Toward::Plant), &client.session),
        Ok(Reply::Message(message))
    );
    // A package of version 2 has one byte more.
    let error = client.measured(Some(1), &[Value::Double(1.0), Value::Double(2.5)]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Malformed);
}

/// A version 2 set-up on a version 1 connection is no list of names. The other way round, the first eight letters are a
/// frequency for the robot too, and no policy's range holds it.
#[test]
fn output_set_ups_of_the_other_version_are_errors() {
    let mut buffer = [0; 64];
    let with_frequency = emit::setup_outputs(Some(125.0), [&b"timestamp"[..]], &mut buffer).unwrap();
    let mut client = Connection::new();
    assert_eq!(client.robot(&buffer[..with_frequency]).unwrap_err().field, "output names");
    let mut client = Connection::version_2();
    assert_eq!(client.robot(&framed(b'O', b"payload")).unwrap_err().kind, ErrorKind::Truncated);
    let bytes = framed(b'O', b"timestamp,actual_q");
    let package = package(&bytes, Toward::Robot);
    let Ok(Request::SetupOutputs { frequency_hz: Some(frequency), names }) = Request::read(&package, &client.session)
    else {
        panic!("not read as version 2")
    };
    assert!(frequency > 1e200, "{frequency}");
    assert_eq!(names, Names(b"p,actual_q"));
}

#[test]
fn nothing_that_depends_on_the_version_passes_before_its_answer() {
    let mut client = Connection::new();
    client.request(Request::ProtocolVersion(2)).unwrap();
    assert_eq!(client.session.request_version(), None);
    let error = client.robot(&framed(b'O', b"timestamp")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    client.robot(&framed(b'M', b"\x03hello")).unwrap_err();
    client.robot(&framed(b'v', b"")).unwrap();
    client.reply(Reply::ProtocolVersion { accepted: true }).unwrap();
    assert_eq!(client.session.request_version(), Some(Version::V2));
}

#[test]
fn accepting_a_version_that_nobody_knows_is_an_error() {
    let mut client = Connection::new();
    client.request(Request::ProtocolVersion(3)).unwrap();
    assert_eq!(client.reply(Reply::ProtocolVersion { accepted: true }).unwrap_err().kind, ErrorKind::Unsupported);
    client.request(Request::ProtocolVersion(3)).unwrap();
    client.reply(Reply::ProtocolVersion { accepted: false }).unwrap();
    assert_eq!(client.session.version(), Version::V1);
}

/// Start, pause, set up inputs, start: how the controller maker's C++ library begins.
#[test]
fn start_pause_start_is_normal() {
    let mut client = Connection::version_2();
    client.outputs("timestamp", Some(1), "DOUBLE").unwrap();
    client.start();
    client.measured(Some(1), &[Value::Double(1.0)]).unwrap().unwrap();
    client.request(Request::Pause).unwrap();
    client.measured(Some(1), &[Value::Double(1.1)]).unwrap().unwrap();
    client.reply(Reply::Pause { accepted: true }).unwrap();
    // A package that was under way when the pause was answered.
    client.measured(Some(1), &[Value::Double(1.2)]).unwrap().unwrap();
    client.inputs("input_bit_register_64", 4, "BOOL").unwrap();
    assert!(!client.session.is_running());
    client.start();
    assert!(client.session.is_running());
    let fields = client.written(4, &[Value::Bool(true)]).unwrap().unwrap();
    assert_eq!(fields, [field("input_bit_register_64", Value::Bool(true))]);
}

/// The order of an I/O client: input recipes, values and a pause, never a start. A first reading of the guide had these
/// values refused.
#[test]
fn inputs_are_written_without_start() {
    let mut client = Connection::version_2();
    client
        .inputs("input_int_register_23,tool_digital_output_mask,tool_digital_output", 4, "INT32,UINT8,UINT8")
        .unwrap();
    let fields = client.written(4, &[Value::Int32(1), Value::Uint8(1), Value::Uint8(0)]).unwrap().unwrap();
    assert_eq!(fields[1], field("tool_digital_output_mask", Value::Uint8(1)));
    client.request(Request::Pause).unwrap();
    client.reply(Reply::Pause { accepted: true }).unwrap();
    client.written(4, &[Value::Int32(1), Value::Uint8(1), Value::Uint8(1)]).unwrap().unwrap();
}

#[test]
fn outputs_without_start_are_forbidden() {
    let mut client = Connection::version_2();
    client.outputs("timestamp", Some(1), "DOUBLE").unwrap();
    let error = client.measured(Some(1), &[Value::Double(0.0)]).unwrap_err();
    assert_eq!((error.kind, error.field), (ErrorKind::Forbidden, "data package without start"));
    client.request(Request::Start).unwrap();
    client.reply(Reply::Start { accepted: false }).unwrap();
    assert_eq!(client.measured(Some(1), &[Value::Double(0.0)]).unwrap_err().kind, ErrorKind::Forbidden);
    client.start();
    client.measured(Some(1), &[Value::Double(0.0)]).unwrap().unwrap();
}

#[test]
fn a_change_of_version_forgets_the_output_recipe_only() {
    let mut client = Connection::new();
    client.outputs("timestamp", None, "DOUBLE").unwrap();
    client.inputs("input_int_register_24", 1, "INT32").unwrap();
    client.request(Request::ProtocolVersion(1)).unwrap();
    client.reply(Reply::ProtocolVersion { accepted: true }).unwrap();
    assert!(client.session.output_recipe().is_some(), "no change");
    client.request(Request::ProtocolVersion(2)).unwrap();
    client.reply(Reply::ProtocolVersion { accepted: true }).unwrap();
    assert_eq!(client.session.output_recipe(), None);
    assert_eq!(client.session.recipe(1).unwrap().size(), 4);
}

/// IN_USE and NOT_FOUND make no recipe, and a person can be told which name it was.
#[test]
fn refused_names_make_no_recipe() {
    let mut client = Connection::version_2();
    let names = Names(b"speed_slider_mask,speed_slider_fraction,no_such_input");
    client.request(Request::SetupInputs { names }).unwrap();
    let reply = Reply::SetupInputs { recipe_id: 0, types: Names(b"IN_USE,DOUBLE,NOT_FOUND") };
    let answered: Vec<_> = client.session.answered(&reply).collect();
    assert_eq!(
        answered,
        [
            (Variable::named(b"speed_slider_mask"), Some(ReplyType::InUse)),
            (Variable::named(b"speed_slider_fraction"), Some(ReplyType::Data(DataType::Double))),
            (Variable::UNKNOWN, Some(ReplyType::NotFound)),
        ]
    );
    let set_up = SetUp { recipe_id: Some(0), fields: 3, not_found: 1, in_use: 1 };
    assert_eq!(client.reply(reply), Ok(Outcome::Inputs(set_up)));
    assert!(!set_up.is_accepted());
    // Whether the id of such an answer is really 0 is hearsay: any other makes no recipe either.
    client.inputs("speed_slider_mask", 7, "IN_USE").unwrap();
    assert_eq!(client.session.recipe(7), None);
    client.inputs("speed_slider_mask", 0, "UINT32").unwrap();
    assert_eq!(client.session.recipe(0), None);
    client.outputs("timestamp,no_such_output", Some(3), "DOUBLE,NOT_FOUND").unwrap();
    assert_eq!(client.session.output_recipe(), None);
    client.start();
    assert_eq!(client.written(7, &[Value::Uint32(1)]), Ok(None));
    assert_eq!(client.written(0, &[Value::Uint32(1)]), Ok(None));
    assert_eq!(client.measured(Some(3), &[Value::Double(1.0)]), Ok(None));
}

#[test]
fn a_new_output_recipe_replaces_the_old() {
    let mut client = Connection::version_2();
    client.outputs("timestamp", Some(1), "DOUBLE").unwrap();
    client.start();
    client.request(Request::SetupOutputs { frequency_hz: Some(1.0), names: Names(b"robot_mode,joint_mode") }).unwrap();
    client.measured(Some(1), &[Value::Double(1.0)]).unwrap().unwrap();
    client.reply(Reply::SetupOutputs { recipe_id: Some(2), types: Names(b"INT32,VECTOR6INT32") }).unwrap();
    assert_eq!(client.measured(Some(1), &[Value::Double(1.0)]), Ok(None), "the id of the old recipe");
    let fields = client.measured(Some(2), &[Value::Int32(7), Value::Vector6Int32([253; 6])]).unwrap().unwrap();
    assert_eq!(fields[1], field("joint_mode", Value::Vector6Int32([253; 6])));
    assert_eq!(client.measured(Some(2), &[Value::Int32(7)]).unwrap_err().kind, ErrorKind::Truncated);
}

#[test]
fn values_have_the_length_of_their_recipe() {
    let mut client = Connection::version_2();
    client.inputs("input_int_register_0,input_bit_register_64", 1, "INT32,BOOL").unwrap();
    client.start();
    let error = client.written(1, &[Value::Int32(1)]).unwrap_err();
    assert_eq!((error.kind, error.needed, error.have, error.offset), (ErrorKind::Truncated, 5, 4, 1));
    let error = client.written(1, &[Value::Int32(1), Value::Bool(true), Value::Uint8(0)]).unwrap_err();
    assert_eq!((error.kind, error.offset), (ErrorKind::Malformed, 6));
    let error = client.written(1, &[Value::Int32(1), Value::Uint8(2)]).unwrap_err();
    assert_eq!((error.kind, error.field, error.offset), (ErrorKind::Malformed, "BOOL", 5));
    client.written(1, &[Value::Int32(1), Value::Uint8(1)]).unwrap().unwrap();
    assert_eq!(client.robot(&[0, 3, b'U']).unwrap_err().kind, ErrorKind::Truncated, "no recipe id");
}

#[test]
fn types_as_many_as_names_and_of_known_size() {
    let mut client = Connection::version_2();
    for types in ["INT32", "INT32,INT32,INT32", "", "INT32,INT16"] {
        client.inputs("input_int_register_0,input_int_register_1", 1, types).unwrap_err();
        assert_eq!(client.session.recipes().count(), 0, "{types}");
        assert_eq!(client.session.unanswered(), 0, "{types}");
    }
    client.inputs("input_int_register_0,,input_int_register_1,", 1, "INT32,INT32").unwrap();
    assert_eq!(client.session.recipe(1).unwrap().size(), 8);
}

#[test]
fn replies_that_nothing_asked_for_are_errors() {
    for (kind, payload) in
        [(b'V', &b"\x01"[..]), (b'v', &[0; 16]), (b'I', b"\x01BOOL"), (b'O', b"BOOL"), (b'S', b"\x01"), (b'P', b"\x01")]
    {
        let error = Connection::new().plant(&framed(kind, payload)).unwrap_err();
        assert_eq!((error.kind, error.field), (ErrorKind::Forbidden, "reply that nothing asked for"));
    }
}

#[test]
fn payloads_have_one_length() {
    let session = Session::new();
    for (kind, payload) in [
        (b'V', &b""[..]),
        (b'V', b"\x02"),
        (b'V', b"\x00\x02\x00"),
        (b'v', b"\x00"),
        (b'S', b"\x01"),
        (b'P', b"\x00"),
        (b'M', b""),
        (b'I', b"\xff\x00"),
        (b'O', b"a\n"),
    ] {
        let bytes = framed(kind, payload);
        assert!(Request::read(&package(&bytes, Toward::Robot), &session).is_err(), "{bytes:?}");
    }
    for (kind, payload) in [
        (b'V', &b""[..]),
        (b'V', b"\x02"),
        (b'V', b"\x01\x00"),
        (b'v', &[0; 15]),
        (b'v', &[0; 17]),
        (b'S', b""),
        (b'S', b"\x02"),
        (b'P', b"\x01\x00"),
        (b'I', b""),
        (b'M', b""),
    ] {
        let bytes = framed(kind, payload);
        assert!(Reply::read(&package(&bytes, Toward::Plant), &session).is_err(), "{bytes:?}");
    }
    let mut client = Connection::version_2();
    client.robot(&framed(b'M', b"\x02hi\x01c\x03")).unwrap();
    client.robot(&framed(b'M', b"\x02hi\x01c\x03\x00")).unwrap_err();
    client.robot(&framed(b'M', b"\x02hi\x01c")).unwrap_err();
    client.robot(&framed(b'O', b"\0\0\0\0\0\0\0")).unwrap_err();
    client.robot(&framed(b'O', b"\x7f\xf0\0\0\0\0\0\0a")).unwrap_err();
}

#[test]
fn names_beyond_2048_bytes_are_forbidden() {
    let mut client = Connection::version_2();
    let mut list = vec![b','; 2048];
    client.request(Request::SetupInputs { names: Names(&list) }).unwrap();
    list.push(b',');
    assert_eq!(client.request(Request::SetupInputs { names: Names(&list) }).unwrap_err().kind, ErrorKind::Forbidden);
}

/// 255 recipes fit; a pool that is full says so and stays usable.
#[test]
fn full_tables_are_explicit_errors() {
    let mut client = Connection::version_2();
    for id in 1..=255_u8 {
        client.inputs("input_int_register_0,input_double_register_0,", id, "INT32,DOUBLE").unwrap();
    }
    assert_eq!(client.session.recipes().count(), 255);
    let long = "a,".repeat(1024);
    client.outputs(&long, Some(1), &"BOOL,".repeat(1024)).unwrap();
    let error = client.inputs("input_int_register_0,input_int_register_1,input_int_register_2", 1, "").unwrap_err();
    assert_eq!((error.kind, error.field), (ErrorKind::Unsupported, "number of recipe fields"));
    client.inputs("input_int_register_0,input_int_register_1", 1, "INT32,INT32").unwrap();
    assert_eq!(client.session.recipe(1).unwrap().size(), 8);
    assert_eq!(client.session.recipe(255).unwrap().size(), 12);

    let mut client = Connection::version_2();
    for _ in 0..64 {
        client.request(Request::SetupInputs { names: Names(b"input_int_register_0") }).unwrap();
    }
    let error = client.request(Request::SetupInputs { names: Names(b"input_int_register_0") }).unwrap_err();
    assert_eq!((error.kind, error.field), (ErrorKind::Unsupported, "number of unanswered requests"));
}

/// Recipes that are replaced or refused give their room back.
#[test]
fn room_is_not_lost() {
    let mut client = Connection::version_2();
    let (names, types) = ("payload,".repeat(200), "DOUBLE,".repeat(200));
    for _ in 0..20 {
        client.outputs(&names, Some(1), &types).unwrap();
        client.inputs(&names, 1, &types).unwrap();
        client.inputs(&names, 2, &types.replace("DOUBLE", "IN_USE")).unwrap();
        client.inputs(&names, 2, "DOUBLE").unwrap_err();
    }
    assert_eq!(client.session.recipes().count(), 1);
    assert_eq!(client.session.output_recipe().unwrap().len(), 200);
}

#[test]
fn session_memory_is_what_the_readme_says() {
    assert_eq!(size_of::<Session>(), 8984);
}
