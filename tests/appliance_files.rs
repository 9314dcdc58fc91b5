//! The files for the appliance are those that the program itself prints.

#[test]
fn the_sample_configuration_is_the_programs_own() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/appliance-image/vambrace.toml");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        text == vambrace::config::SAMPLE,
        "write it anew: vambrace config defaults > appliance-image/vambrace.toml"
    );
}
