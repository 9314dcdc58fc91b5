//! What the box says in the robot's place where it refuses one command and keeps the connection.
//!
//! Sources: the Modbus application protocol, section 7; the RTDE guide; the Dashboard server's own failure lines; the
//! script manual's chapter on interpreter mode. Bytes are written by the protocol crates, each beside its reader.

use dissect::{Step, Toward};
use modbus::ExceptionCode;

use super::{INTERPRETER, Session};
use crate::command::Service;
use crate::event::Reason;

/// A buffer of this many bytes holds every answer of [`refusal_answer`]. The longest is RTDE's: one `NOT_FOUND` a name.
pub const MAX_ANSWER: usize = rtde::emit::MAX_REFUSAL;

const _: () = assert!(MAX_ANSWER >= dashboard::MAX_FAILURE_LINE && MAX_ANSWER >= urscript::MAX_DISCARD_LINE);
const _: () = assert!(MAX_ANSWER >= robot_api::FORBIDDEN.len());

/// How a refused command is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The box answers with the first `len` bytes of `out`: one whole unit toward the plant.
    Answer {
        /// Bytes of the answer, at least 1.
        len: usize,
    },
    /// The protocol has no answer: the unit is cut silently.
    Silent,
    /// No answer can be formed, and a client would wait for one: the connection has to end.
    None,
}

/// Whether the robot's replies on this port can be told apart, so that an answer can be put between two of them.
///
/// Where they can't, a refusal that has an answer must become a reset; a silent cut needs no border. On 30001 to 30003
/// no refusal has an answer.
#[must_use]
pub const fn answers_framed(service: Service, port: u16) -> bool {
    match service {
        Service::Modbus | Service::Rtde | Service::Dashboard => true,
        Service::UrScript => port == INTERPRETER,
        Service::ExternalControl | Service::Tcp(_) | Service::Udp(_) | Service::Icmp => false,
    }
}

/// Whether the robot's bytes on this port are read at all.
#[must_use]
pub const fn answers_read(service: Service, port: u16) -> bool {
    answers_framed(service, port)
        || (matches!(service, Service::UrScript) && client_interface::Interface::of_port(port).is_some())
}

/// Writes what the box says in the robot's place where `unit`, one whole unit toward the robot as it was judged, is
/// refused for `reason`. `session` is the connection's, which must not have been shown the unit.
///
/// | service | answer |
/// |---|---|
/// | Modbus | an exception with the request's transaction, unit and function: 01 for the function, 02 for an address, 03 for a value or quantity, 06 for rate and state |
/// | RTDE | `V`, `S`, `P` accepted = 0; `O`, `I` recipe id 0 and `NOT_FOUND` for each name, `IN_USE` where another connection has an input; `U`, `M` silent; `v` none, for a reply to it is a version, and clients choose what they send next by it |
/// | Dashboard as the Robot API (PolyScope X) | status 403 |
/// | Dashboard | the verb's own failure line, never the one that asks to switch to remote control |
/// | URScript on 30020 | `discard: <name of the reason>: <statement>`; blank lines and comments silent |
/// | URScript elsewhere, external control | silent |
///
/// A unit with Modbus unit id 0 is answered like any other. On a serial line that is a broadcast, which no server
/// answers, but on TCP it names the device itself (messaging guide, section 4.4.1), and UR's server is said to take any.
/// A client that sent a broadcast does not look for the answer's transaction; one that did not would wait in vain.
///
/// Other services, bytes that are no whole unit, and an `out` that is too small ([`MAX_ANSWER`] bytes never are) give
/// [`Refusal::None`].
///
/// Cost: one pass over the unit; allocates nothing.
pub fn refusal_answer(
    service: Service,
    port: u16,
    unit: &[u8],
    reason: Reason,
    session: &Session,
    out: &mut [u8],
) -> Refusal {
    let len = match service {
        Service::Modbus => modbus_exception(unit, reason, out),
        Service::Rtde => {
            let Ok(Step::Whole { unit: package, len }) = rtde::Package::step(unit, Toward::Robot) else {
                return Refusal::None;
            };
            if len != unit.len() {
                return Refusal::None;
            }
            match rtde::Request::read(&package, &session.rtde) {
                Ok(rtde::Request::Data(_) | rtde::Request::Message(_)) => return Refusal::Silent,
                // As the robot says it: clients tell a person of it, or try again later.
                Ok(rtde::Request::SetupInputs { names }) if reason == Reason::InputInUse => {
                    rtde::emit::inputs_reply(0, names.iter().map(|_| rtde::ReplyType::InUse), out)
                }
                // The version in force counts: with a request for another one unanswered, nothing here is readable.
                Ok(request) => request.refusal(session.rtde.version(), out),
                Err(_) => None,
            }
        }
        Service::Dashboard if port == robot_api::PORT => out.get_mut(..robot_api::FORBIDDEN.len()).map(|out| {
            out.copy_from_slice(robot_api::FORBIDDEN);
            out.len()
        }),
        Service::Dashboard => match dashboard::Line::step(unit) {
            Ok(Step::Whole { unit: line, len }) if len == unit.len() => line.failure_line(out).map(<[u8]>::len),
            _ => None,
        },
        Service::UrScript if port == INTERPRETER => match unit.trim_ascii().first() {
            None | Some(b'#' | b'$') => return Refusal::Silent,
            Some(_) => urscript::discard_line(reason.name(), unit, out),
        },
        // The robot asks nothing there; a set-point that does not come is what its time-out is for.
        Service::UrScript | Service::ExternalControl => return Refusal::Silent,
        Service::Tcp(_) | Service::Udp(_) | Service::Icmp => None,
    };
    len.map_or(Refusal::None, |len| Refusal::Answer { len })
}

fn modbus_exception(unit: &[u8], reason: Reason, out: &mut [u8]) -> Option<usize> {
    let Ok(Step::Whole { unit: adu, len }) = modbus::Adu::step(unit) else { return None };
    // A request has neither function code 0 nor the bit of an exception.
    if len != unit.len() || !matches!(adu.function_byte(), 1..=0x7f) {
        return None;
    }
    let answer = modbus::exception(adu.transaction, adu.unit, adu.function(), exception_code(reason));
    out.get_mut(..answer.len())?.copy_from_slice(&answer);
    Some(answer.len())
}

/// The exception code that says a reason in Modbus' words: 01 the function, 02 the address, 03 a value or quantity, 06
/// not now: rate and state.
///
/// Source: application protocol, section 7. UR's own server knows 01 to 03 only; 06 (server device busy) is what tells a
/// client that the same request may be right later. The reasons that no request is refused for have a code too, so that
/// a new use of one needs no second thought: those that speak of the request are 03 or 01, those of the box 06.
#[must_use]
pub(crate) const fn exception_code(reason: Reason) -> ExceptionCode {
    match reason {
        Reason::AddressNotAllowed
        | Reason::UnitNotAllowed
        | Reason::VariableNotAllowed
        | Reason::TargetNotAllowed
        | Reason::RecipeUnknown => ExceptionCode::ILLEGAL_DATA_ADDRESS,
        Reason::QuantityNotAllowed
        | Reason::ValueNotAllowed
        | Reason::ArgumentNotAllowed
        | Reason::StepNotAllowed
        | Reason::FrequencyNotAllowed
        | Reason::Unproven
        | Reason::Ambiguous
        | Reason::Malformed
        | Reason::ShellMetacharacter
        | Reason::TooLong
        | Reason::Truncated => ExceptionCode::ILLEGAL_DATA_VALUE,
        Reason::RateExceeded
        | Reason::ConnectionRate
        | Reason::InputInUse
        | Reason::StateMismatch
        | Reason::StateUnknown
        | Reason::UnitTimeout
        | Reason::StoreFull
        | Reason::FlowTableFull
        | Reason::EngineFault
        | Reason::TransmitFull
        | Reason::TransmitFailed
        | Reason::Overload => ExceptionCode::SERVER_DEVICE_BUSY,
        // No rule at all, a deny rule, a rule whose time is over: the client may not use the function.
        Reason::NoRule
        | Reason::DeniedByRule
        | Reason::NoRuleForClient
        | Reason::ClassNotAllowed
        | Reason::CommandNotAllowed
        | Reason::ProgramNotAllowed
        | Reason::KindNotAllowed
        | Reason::Expired
        | Reason::LockedDown
        | Reason::UnknownCommand
        | Reason::UnsupportedFunction
        | Reason::NoServiceRule
        | Reason::EgressNotAllowed
        // Reasons of allowed units, of connections and of frames: about no request.
        | Reason::Allowed
        | Reason::SessionWord
        | Reason::NotJudged
        | Reason::ListedProtocol
        | Reason::MidStream
        | Reason::ConnectionEnded
        | Reason::OutOfOrder
        | Reason::BeyondWindow
        | Reason::RetransmissionConflict
        | Reason::UrgentData
        | Reason::BadChecksum
        | Reason::BadFlags
        | Reason::ResetInexact
        | Reason::DataOutsideStream
        | Reason::SplitHandshake
        | Reason::TcpOption
        | Reason::FinInUnit
        | Reason::Fragment
        | Reason::IpOptions
        | Reason::TtlZero
        | Reason::IpProtocol
        | Reason::Ipv6
        | Reason::EtherTypeNotListed
        | Reason::LlcIp
        | Reason::VlanStack
        | Reason::MacMismatch
        | Reason::ArpConflict
        | Reason::ProfinetDcpSet
        | Reason::UnknownDevice
        | Reason::Quarantined
        | Reason::SynOnLive
        | Reason::IcmpQuote
        | Reason::OldTimestamp
        | Reason::AnswerTimeout
        | Reason::PeerSilent => ExceptionCode::ILLEGAL_FUNCTION,
    }
}
