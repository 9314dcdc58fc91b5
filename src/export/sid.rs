use crate::event::Reason;

/// First signature id; the block from here on is ours.
const FIRST: u32 = 9_100_000;

/// The reasons in the order in which they got their numbers. Only ever grows at its end: numbers stand in other
/// people's filters.
const NUMBERED: &[&str] = &[
    "allowed",
    "session_word",
    "not_judged",
    "listed_protocol",
    "no_rule",
    "denied_by_rule",
    "no_rule_for_client",
    "class_not_allowed",
    "command_not_allowed",
    "argument_not_allowed",
    "unit_not_allowed",
    "address_not_allowed",
    "quantity_not_allowed",
    "value_not_allowed",
    "variable_not_allowed",
    "frequency_not_allowed",
    "program_not_allowed",
    "kind_not_allowed",
    "target_not_allowed",
    "unproven",
    "ambiguous",
    "rate_exceeded",
    "state_mismatch",
    "state_unknown",
    "expired",
    "recipe_unknown",
    "locked_down",
    "malformed",
    "unknown_command",
    "unsupported_function",
    "shell_metacharacter",
    "too_long",
    "unit_timeout",
    "no_service_rule",
    "egress_not_allowed",
    "mid_stream",
    "connection_ended",
    "out_of_order",
    "beyond_window",
    "retransmission_conflict",
    "store_full",
    "urgent_data",
    "bad_checksum",
    "bad_flags",
    "reset_inexact",
    "data_outside_stream",
    "split_handshake",
    "tcp_option",
    "flow_table_full",
    "fin_in_unit",
    "fragment",
    "ip_options",
    "ttl_zero",
    "truncated",
    "ip_protocol",
    "ipv6",
    "ether_type_not_listed",
    "llc_ip",
    "vlan_stack",
    "mac_mismatch",
    "arp_conflict",
    "profinet_dcp_set",
    "unknown_device",
    "engine_fault",
    "transmit_full",
    "transmit_failed",
    "overload",
    "syn_on_live",
    "icmp_quote",
    "old_timestamp",
    "answer_timeout",
    "peer_silent",
    "step_not_allowed",
    "input_in_use",
    "quarantined",
    "connection_rate",
];

/// Signature id of alerts with this reason: 9100001 and on; 9100000 stands for a reason that has no number yet.
#[must_use]
pub fn signature_id(reason: Reason) -> u32 {
    let place = NUMBERED.iter().position(|name| *name == reason.name());
    let offset = place.and_then(|place| u32::try_from(place.saturating_add(1)).ok()).unwrap_or(0);
    FIRST.saturating_add(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_number_of_its_own() {
        let mut ids: Vec<_> = Reason::ALL.iter().map(|reason| signature_id(*reason)).collect();
        let unnumbered: Vec<_> = Reason::ALL.iter().filter(|reason| signature_id(**reason) == FIRST).collect();
        assert!(unnumbered.is_empty(), "append to NUMBERED: {unnumbered:?}");
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Reason::ALL.len());
        assert_eq!(signature_id(Reason::NoRule), 9_100_005);
    }
}
