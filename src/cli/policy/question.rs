use std::path::PathBuf;

use super::{Context, Exit, FileArgs, compile, fail, pack};
use crate::appliance;
use crate::policy::{Question, Wanted};

/// A question to a policy: words, flags, or both; all of it holds together.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct AskArgs {
    /// Policy file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What is asked: a command, a class, a register, a function, or what people call them ("brake release").
    #[arg(value_name = "QUESTION")]
    words: Vec<String>,
    /// Configuration that names the devices; without one, only addresses and the robot's name can be used.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Commands of this service: modbus, rtde, dashboard, urscript, external_control, tcp/22, udp/2222.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Commands of this class, such as safety or motion.
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// A function of Modbus, URScript or external control, a mode, or a command of the Dashboard.
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// A Modbus register or coil: its address, a range such as 128..=131, or its name.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// What is written there.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    value: Option<f64>,
    /// An RTDE input that is written.
    #[arg(long, value_name = "NAME")]
    input: Option<String>,
    /// The argument of a Dashboard command.
    #[arg(long, value_name = "TEXT")]
    argument: Option<String>,
    /// A TCP port of the robot.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// What this peer may do: a device, an address or a network.
    #[arg(long, value_name = "PEER")]
    from: Option<String>,
    /// Ask the file alone, as if no virtual patch stood beside it.
    #[arg(long)]
    without_patches: bool,
    /// Exit 3 where somebody may do it.
    #[arg(long)]
    exit_code: bool,
}

/// Answers it.
pub(super) fn run(context: &Context, args: &AskArgs) -> Exit {
    let wanted = Wanted {
        words: (!args.words.is_empty()).then(|| args.words.join(" ")),
        service: args.service.clone(),
        class: args.class.clone(),
        function: args.function.clone(),
        address: args.address.clone(),
        value: args.value,
        input: args.input.clone(),
        argument: args.argument.clone(),
        port: args.port,
        from: args.from.clone(),
    };
    if wanted == Wanted::default() {
        return fail(
            Exit::Usage,
            &"nothing is asked; write what, such as \"brake release\", or a flag such as --class safety",
        );
    }
    let file = FileArgs { file: args.file.clone(), config: args.config.clone() };
    let read = match compile(&file.file, file.config.as_deref()) {
        Ok(read) => read,
        Err(exit) => return exit,
    };
    let question = match Question::read(&wanted, &read.assets) {
        Ok(question) => question,
        Err(line) => return fail(Exit::Usage, &line),
    };
    let now = appliance::now();
    // As on the box before the controller's version is seen: then every patch counts.
    let policy = match args.without_patches {
        true => read.policy,
        false => pack(args.config.as_deref()).tighten(&read.policy, None, read.policy.generation(), now),
    };
    let answer = policy.answer(&read.text, &read.assets, &question, now.monotonic_ns);
    let exit = if context.json {
        crate::cli::print(&answer.to_json().to_string())
    } else {
        crate::cli::print(&answer.to_string())
    };
    if exit == Exit::Fine && args.exit_code && answer.somebody() { Exit::Findings } else { exit }
}
