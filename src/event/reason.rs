use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $sentence:literal;)*) => {
        /// Why something was forwarded or refused. A closed list, part of the contract: names never change meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $(#[doc = $sentence] $variant,)*
        }

        impl Reason {
            /// Every reason, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in records.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }
    };
}

reasons! {
    // Allowed.
    Allowed = "allowed", "A rule allows it.";
    SessionWord = "session_word", "A set-up or session word of a service that a rule admits.";
    NotJudged = "not_judged", "The mode judges nothing, or the traffic is of no enforced service.";
    ListedProtocol = "listed_protocol", "A link-layer protocol on the pass list.";
    // Refused by policy.
    NoRule = "no_rule", "No rule allows it.";
    DeniedByRule = "denied_by_rule", "A deny rule names it.";
    NoRuleForClient = "no_rule_for_client", "No rule names this client for this service.";
    ClassNotAllowed = "class_not_allowed", "The rule does not allow commands of this class.";
    CommandNotAllowed = "command_not_allowed", "The rule does not name this command or function.";
    ArgumentNotAllowed = "argument_not_allowed", "The rule does not name this argument.";
    UnitNotAllowed = "unit_not_allowed", "The rule does not name this unit id.";
    AddressNotAllowed = "address_not_allowed", "An address lies outside the rule's ranges.";
    QuantityNotAllowed = "quantity_not_allowed", "The quantity lies outside the rule's range.";
    ValueNotAllowed = "value_not_allowed", "A value lies outside the rule's range, or can't be proven inside.";
    VariableNotAllowed = "variable_not_allowed", "An RTDE variable is not named by the rule.";
    StepNotAllowed = "step_not_allowed", "An RTDE input moves farther at once than the rule allows, or can't be compared.";
    InputInUse = "input_in_use", "Another connection has this RTDE input, and the policy lets one have it at a time.";
    FrequencyNotAllowed = "frequency_not_allowed", "The output frequency lies outside the rule's range.";
    ProgramNotAllowed = "program_not_allowed", "The hash of the program is not named by the rule.";
    KindNotAllowed = "kind_not_allowed", "The rule does not allow this kind of URScript unit.";
    TargetNotAllowed = "target_not_allowed", "The script connects to a target that the rule does not name.";
    Unproven = "unproven", "A bounded argument is no literal, so the bound can't be proven.";
    Ambiguous = "ambiguous", "The text has two readings that differ.";
    RateExceeded = "rate_exceeded", "More than the rule's rate.";
    StateMismatch = "state_mismatch", "The robot is not in the state that the rule asks for.";
    StateUnknown = "state_unknown", "The robot's state is too old or was never seen.";
    Expired = "expired", "The rule's time is over.";
    RecipeUnknown = "recipe_unknown", "The RTDE recipe was never set up in sight of the box, or was refused.";
    LockedDown = "locked_down", "Lockdown mode allows only reads and stops.";
    // Refused by grammar.
    Malformed = "malformed", "The unit contradicts its protocol.";
    UnknownCommand = "unknown_command", "The command is in no table of the service.";
    UnsupportedFunction = "unsupported_function", "The function is not read by the dissector.";
    ShellMetacharacter = "shell_metacharacter", "The text holds a character that a shell would interpret.";
    TooLong = "too_long", "The unit is longer than its limit.";
    UnitTimeout = "unit_timeout", "The unit was never completed.";
    // Transport.
    NoServiceRule = "no_service_rule", "No rule allows this client to use this port.";
    EgressNotAllowed = "egress_not_allowed", "No rule allows the robot to open this connection.";
    MidStream = "mid_stream", "The connection was open before the box saw it.";
    ConnectionEnded = "connection_ended", "An earlier refusal ended this connection.";
    OutOfOrder = "out_of_order", "The segment does not continue the stream; the sender will repeat it.";
    BeyondWindow = "beyond_window", "The segment lies beyond the receiver's window.";
    RetransmissionConflict = "retransmission_conflict", "A repeated byte differs from the first copy.";
    StoreFull = "store_full", "More unjudged bytes than the connection's store holds.";
    UrgentData = "urgent_data", "Urgent data has two readings.";
    BadChecksum = "bad_checksum", "A checksum is wrong.";
    BadFlags = "bad_flags", "The TCP flags contradict each other or the connection's state.";
    ResetInexact = "reset_inexact", "A reset without the exact sequence number.";
    DataOutsideStream = "data_outside_stream", "Data on a SYN, after FIN or after RST.";
    SplitHandshake = "split_handshake", "Both ends open at once.";
    TcpOption = "tcp_option", "A TCP option that can't be guarded.";
    FlowTableFull = "flow_table_full", "No room for another connection.";
    FinInUnit = "fin_in_unit", "The connection ended inside a unit.";
    SynOnLive = "syn_on_live", "A SYN on a connection that lives; it is answered where the connection stands.";
    IcmpQuote = "icmp_quote", "An ICMP error about a connection whose numbers the box has changed.";
    OldTimestamp = "old_timestamp", "The segment's timestamp lies before the connection's.";
    AnswerTimeout = "answer_timeout", "No place was found in time for the answer to a refused command.";
    PeerSilent = "peer_silent", "An end acknowledged nothing for 30 seconds.";
    // Layers 2 and 3.
    Fragment = "fragment", "An IP fragment.";
    IpOptions = "ip_options", "Source route or record route options.";
    TtlZero = "ttl_zero", "Time to live is 0.";
    Truncated = "truncated", "The frame ends inside a header.";
    IpProtocol = "ip_protocol", "An IP protocol that no rule allows.";
    Ipv6 = "ipv6", "IPv6 toward the robot is off.";
    EtherTypeNotListed = "ether_type_not_listed", "An EtherType that is not on the pass list.";
    LlcIp = "llc_ip", "IP inside LLC/SNAP.";
    VlanStack = "vlan_stack", "The tag stack is deeper than two or differs from the connection's.";
    MacMismatch = "mac_mismatch", "The MAC differs from the binding or the connection's.";
    ArpConflict = "arp_conflict", "The ARP message contradicts a binding.";
    ProfinetDcpSet = "profinet_dcp_set", "PROFINET DCP Set is refused.";
    Quarantined = "quarantined", "The sender is in quarantine after too many refused commands.";
    ConnectionRate = "connection_rate", "More new connections a second than one sender may open.";
    UnknownDevice = "unknown_device", "The address belongs to no robot of the configuration.";
    // The box itself.
    EngineFault = "engine_fault", "An internal limit or error; refused for safety.";
    TransmitFull = "transmit_full", "The port's queue was full.";
    TransmitFailed = "transmit_failed", "The port did not take the frame.";
    Overload = "overload", "More frames than can be judged.";
}

impl Reason {
    /// Whether a policy is what refused: the command could be read, and no rule allowed it.
    #[must_use]
    pub fn is_of_policy(self) -> bool {
        (Self::NoRule..=Self::LockedDown).contains(&self)
    }

    /// The reason of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.name() == name)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_refuses_what_can_be_read() {
        for (reason, of_policy) in [
            (Reason::Allowed, false),
            (Reason::NoRule, true),
            (Reason::StepNotAllowed, true),
            (Reason::LockedDown, true),
            (Reason::Malformed, false),
            (Reason::Quarantined, false),
        ] {
            assert_eq!(reason.is_of_policy(), of_policy, "{reason}");
            assert_eq!(Reason::named(reason.name()), Some(reason));
        }
        assert_eq!(Reason::named("no_reason"), None);
    }

    #[test]
    fn names_are_unique_snake_case_and_explained() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!(
                reason.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
                "{reason}"
            );
            assert!(reason.sentence().ends_with('.'));
        }
    }
}
