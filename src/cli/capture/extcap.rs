//! The box as an interface in Wireshark: the dialogue of extcap, as `vambrace-extcap`.
//!
//! Source: doc/README.extcap of Wireshark 4.0. Wireshark starts the program once a question, reads sentences of words in
//! braces, and at last gives it a fifo to write the capture to.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::{LONGEST, Wanted, capture};
use crate::cli::{Exit, fail};
use crate::control::{Client, DEFAULT_PATH};

/// The only interface that is offered.
const INTERFACE: &str = "vambrace";

/// The name under which the program speaks extcap.
pub(in crate::cli) const NAME: &str = "vambrace-extcap";

/// Arguments as Wireshark gives them.
#[derive(Debug, Parser)]
#[command(name = NAME, version, about = "The running Vambrace as an interface in Wireshark")]
pub(in crate::cli) struct ExtcapArgs {
    /// List interfaces.
    #[arg(long)]
    extcap_interfaces: bool,
    /// Version of Wireshark that asks.
    #[arg(long, value_name = "VERSION")]
    extcap_version: Option<String>,
    /// The interface that the question is about.
    #[arg(long, value_name = "NAME")]
    extcap_interface: Option<String>,
    /// List link types.
    #[arg(long)]
    extcap_dlts: bool,
    /// List options.
    #[arg(long)]
    extcap_config: bool,
    /// Option whose values are asked for.
    #[arg(long, value_name = "OPTION")]
    extcap_reload_option: Option<String>,
    /// Capture.
    #[arg(long)]
    capture: bool,
    /// Fifo to write to.
    #[arg(long, value_name = "FILE")]
    fifo: Option<PathBuf>,
    /// Capture filter; there are none here.
    #[arg(long, value_name = "FILTER")]
    extcap_capture_filter: Option<String>,
    /// Control socket of the running box.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_PATH)]
    control_socket: PathBuf,
    /// Which frames.
    #[arg(long, value_enum, default_value = "all")]
    frames: Frames,
    /// Most bytes of a frame.
    #[arg(long, value_name = "BYTES", default_value_t = LONGEST, value_parser = clap::value_parser!(u32).range(1..=i64::from(LONGEST)))]
    snap: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Frames {
    /// All of them.
    All,
    /// Refused ones.
    Dropped,
}

/// Whether the program was started under the name of extcap.
pub(in crate::cli) fn is_meant(program: Option<&std::ffi::OsStr>) -> bool {
    program.and_then(|name| Path::new(name).file_stem()).is_some_and(|stem| stem == NAME)
}

/// Answers one question of Wireshark, or captures.
pub(in crate::cli) fn run(args: &ExtcapArgs) -> Exit {
    if args.extcap_interfaces {
        let version = env!("CARGO_PKG_VERSION");
        return crate::cli::print(&format!(
            "extcap {{version={version}}}{{display=Vambrace}}\n\
             interface {{value={INTERFACE}}}{{display=Vambrace: the robot's wire, with verdicts}}\n"
        ));
    }
    if args.extcap_interface.as_deref().is_some_and(|name| name != INTERFACE) {
        return fail(Exit::Usage, &format!("there is one interface, {INTERFACE}"));
    }
    if args.extcap_dlts {
        return crate::cli::print("dlt {number=1}{name=EN10MB}{display=Ethernet}\n");
    }
    if args.extcap_config {
        return crate::cli::print(&options());
    }
    let filter = args.extcap_capture_filter.as_deref().unwrap_or_default().trim();
    if !args.capture {
        // Asked so, Wireshark wants to know whether a filter is good: any word says that it is not.
        if !filter.is_empty() {
            return crate::cli::print("no capture filters here; use a display filter, or Frames: refused ones only\n");
        }
        if args.extcap_capture_filter.is_some() {
            return Exit::Fine;
        }
        let what = "this is started by Wireshark; put it into its extcap folder (Help, About, Folders)";
        return fail(Exit::Usage, &what);
    }
    if !filter.is_empty() {
        return fail(Exit::Usage, &"no capture filters here; use a display filter");
    }
    let Some(fifo) = &args.fifo else { return fail(Exit::Usage, &"--capture needs --fifo FILE") };
    // Opened for writing alone, which waits until Wireshark reads.
    match OpenOptions::new().write(true).open(fifo) {
        Ok(mut out) => {
            let wanted = Wanted { only_dropped: args.frames == Frames::Dropped, snap: args.snap, time: None };
            // What goes to standard error becomes a message box.
            capture(&|| Client::connect(&args.control_socket), &wanted, &mut out, true)
        }
        Err(error) => fail(Exit::Failed, &format!("{}: {error}", fifo.display())),
    }
}

/// The dialogue of options.
fn options() -> String {
    format!(
        "arg {{number=0}}{{call=--control-socket}}{{display=Control socket}}{{type=string}}{{default={DEFAULT_PATH}}}\
         {{tooltip=Socket of the running Vambrace on this machine}}\n\
         arg {{number=1}}{{call=--frames}}{{display=Frames}}{{type=selector}}{{tooltip=What is shown}}\n\
         arg {{number=2}}{{call=--snap}}{{display=Bytes of a frame}}{{type=integer}}{{range=1,{LONGEST}}}\
         {{default={LONGEST}}}{{tooltip=Longer frames are cut}}\n\
         value {{arg=1}}{{value=all}}{{display=All}}{{default=true}}\n\
         value {{arg=1}}{{value=dropped}}{{display=Refused ones only}}{{default=false}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides() {
        for (name, meant) in [
            ("/usr/lib/wireshark/extcap/vambrace-extcap", true),
            ("vambrace-extcap.sh", true),
            ("/usr/bin/vambrace", false),
            ("", false),
        ] {
            assert_eq!(is_meant(Some(name.as_ref())), meant, "{name}");
        }
        assert!(!is_meant(None));
    }

    #[test]
    fn every_option_of_the_dialogue_is_taken() {
        let calls = options();
        let calls = calls.lines().filter_map(|line| line.split("{call=").nth(1)?.split('}').next());
        let mut arguments = vec![NAME.to_owned(), "--capture".into(), "--fifo".into(), "/tmp/f".into()];
        for call in calls {
            let value = match call {
                "--frames" => "dropped",
                "--snap" => "96",
                _ => "/tmp/s",
            };
            arguments.extend([call.to_owned(), value.to_owned()]);
        }
        let args = ExtcapArgs::try_parse_from(arguments).unwrap();
        assert_eq!((args.snap, args.frames), (96, Frames::Dropped));
        assert_eq!(args.control_socket, Path::new("/tmp/s"));
    }
}
