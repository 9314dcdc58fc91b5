use super::{Context, Exit};
/// T
#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {}
pub(super) fn run(_: &Context, _: &DoctorArgs) -> Exit {
    Exit::Fine
}
