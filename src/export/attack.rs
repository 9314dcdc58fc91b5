//! MITRE ATT&CK for ICS (version 18.1): which technique a refusal looks like.

use crate::command::{Class, Service};
use crate::event::Reason;

/// A technique of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Technique {
    /// Its id.
    pub id: &'static str,
    /// Its name.
    pub name: &'static str,
}

const fn of(id: &'static str, name: &'static str) -> Technique {
    Technique { id, name }
}

/// What trying door after door is.
pub(super) const DISCOVERY: Technique = of("T0846", "Remote System Discovery");

/// The technique that a refusal looks like: by reason where the reason alone says it, otherwise by what the command
/// would have done. `None` where it looks like none, as faults of the box do.
#[must_use]
pub fn technique(reason: Reason, class: Option<Class>, service: Option<Service>) -> Option<Technique> {
    let by_reason = match reason {
        Reason::ShellMetacharacter | Reason::TooLong | Reason::Malformed => {
            Some(of("T0866", "Exploitation of Remote Services"))
        }
        Reason::MacMismatch | Reason::ArpConflict => Some(of("T0830", "Adversary-in-the-Middle")),
        Reason::EgressNotAllowed => Some(of("T0869", "Standard Application Layer Protocol")),
        Reason::NoServiceRule | Reason::UnknownDevice => Some(match service {
            Some(Service::Tcp(22 | 3389 | 5900)) => of("T0886", "Remote Services"),
            _ => DISCOVERY,
        }),
        Reason::TargetNotAllowed => Some(of("T0867", "Lateral Tool Transfer")),
        Reason::RateExceeded if class == Some(Class::Io) => Some(of("T0806", "Brute Force I/O")),
        Reason::ProfinetDcpSet => Some(of("T0836", "Modify Parameter")),
        Reason::EngineFault | Reason::TransmitFull | Reason::TransmitFailed => return None,
        Reason::Overload | Reason::ConnectionRate | Reason::FlowTableFull | Reason::StoreFull => {
            Some(of("T0814", "Denial of Service"))
        }
        _ => None,
    };
    by_reason.or_else(|| class.and_then(|class| by_class(class, service)))
}

fn by_class(class: Class, service: Option<Service>) -> Option<Technique> {
    Some(match class {
        Class::Read => match service {
            Some(Service::Modbus | Service::Rtde) => of("T0861", "Point & Tag Identification"),
            _ => of("T0888", "Remote System Information Discovery"),
        },
        Class::Session => of("T0888", "Remote System Information Discovery"),
        Class::Interface => of("T0878", "Alarm Suppression"),
        Class::File => of("T0845", "Program Upload"),
        Class::Register | Class::Parameter => of("T0836", "Modify Parameter"),
        Class::Io => of("T0835", "Manipulate I/O Image"),
        Class::Program => match service {
            Some(Service::UrScript | Service::ExternalControl) => of("T0843", "Program Download"),
            _ => of("T0821", "Modify Controller Tasking"),
        },
        Class::Motion => match service {
            Some(Service::UrScript | Service::ExternalControl) => of("T0831", "Manipulation of Control"),
            _ => of("T0855", "Unauthorized Command Message"),
        },
        Class::Stop => of("T0881", "Service Stop"),
        Class::Safety => of("T0880", "Loss of Safety"),
        Class::Privilege => of("T0858", "Change Operating Mode"),
        Class::Network => of("T0871", "Execution through API"),
        Class::Shutdown => of("T0816", "Device Restart/Shutdown"),
        Class::Unknown => of("T0855", "Unauthorized Command Message"),
    })
}
