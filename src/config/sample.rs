/// A commented configuration: every key, every default with its reason. The devices and port names are examples.
pub const SAMPLE: &str = r##"#:schema ./vambrace.schema.json
# Configuration of Vambrace. Required: mode, ports.plant, ports.robot and one asset with side = "robot".
# Every other key is shown with its default and may be left out. Check with: vambrace config check FILE

# observe | learn | shadow | enforce | lockdown. The first three forward every frame; start with learn, look at shadow
# for a while, then enforce. lockdown lets only reads and stops through: for an incident, `vambrace mode lockdown`.
# Required, no default: nobody should be guarded or unguarded by accident.
mode = "learn"

[ports]
# Interface name, MAC address or PCI path. The PCI path survives a renamed interface.
plant = "enp1s0"
robot = "enp2s0"
# Optional. Without it events stay in the local store and on the control socket.
# management = "enp3s0"

# Where the management port is in the network. Only the appliance image sets its port up by this; elsewhere the system does.
[management]
# An address of its own, with the length of the network's prefix; the router to other networks.
# address = "192.168.1.5/24"
# gateway = "192.168.1.1"
# Time servers by address: the box looks no names up. Without any, the clock is the board's.
ntp = []

[fail]
# What the wire does when the packet process has ended unasked and no successor judges frames within 100 ms:
# by_mode | closed | open. Open means that the kernel carries every frame until the successor is ready; it is recorded, and
# where the mode enforces, connections that were open meanwhile are reset, since nobody saw what went over them.
# by_mode: closed where the mode enforces, since a robot cell stops safely without a network and a cell without a guard
# does not; open where every frame passes anyway. Nothing else ever opens: overload, full tables and what can't be read
# stay closed while enforcing.
crash = "by_mode"
# When the box loses power: closed | open. What a relay does by itself; without one, open is refused.
power = "closed"

[bypass]
# What switches a relay that joins the two cables past the box, for `vambrace bypass on --for 10m`: none | command
# | gpio | watchdog.
# none: most boxes have no relay.
driver = "none"
# With "command": a program, which gets on or off as its last argument and ends with 0 when it is done, within 2 s. It
# runs with the rights of `vambrace run`.
command = []
# With "gpio": the chip, and the line's number there. The line is active while frames go past the box.
# With "watchdog": the timer of a bypass card, which holds the relay while it is fed, five times a second. Frames go past the
# box when it has run out, also where nobody is left to feed it, so `power` must be "open". Not the board's own watchdog,
# which would start the machine anew. A timer of 10 s or more survives every pause of the supervisor.
device = ""
line = 0
# With "gpio": whether the line is active without voltage, as for a relay that current holds at the box.
active_low = false

[link]
# Whether a port whose cable is out takes the other one down, as a wire would: devices with a second way to the robot, and
# whoever watches the switch's port, learn of it within 100 ms. It comes back with the cable, after a second at least and
# half a minute at most where a link flaps. Off: most cells have one way, and a port that stays up keeps its address.
mirror = false

[midstream]
# Connections that were open before the box saw them, when the box starts: reset | adopt. Where such a stream stands
# between two commands is not known, and a client that is reset opens a new connection within about a second.
# "adopt" takes a Modbus connection up within 5 s of the start if the next request is one read and the robot answers just
# that one; anything else resets it. It is for clients that do not come back by themselves: the one read is taken on
# trust, and on a connection that was taken up a refused command resets instead of being answered.
modbus = "reset"
text = "reset"                 # Dashboard, URScript, RTDE

[fast_path]
# One thread moves both directions, and all that concerns one robot is judged by one: two polling threads measured a third
# of its throughput. No other number is allowed.
workers = 1
# The core of each worker. 1: core 0 serves most interrupts on common boards.
cores = [1]
# busy | adaptive | blocking. busy adds about 4 us to a round trip and keeps one core at 100 %. adaptive does the same while
# frames come and for 10 ms after each, longer than a beat of the robot (2 or 8 ms), and rests otherwise: the first frame
# after a rest waits for a wake-up, about 17 us. blocking waits for one at every hop, and suits a box with one core.
polling = "busy"
# Frames in the receive ring of a port, a power of two from 256 to 65536; the ring has 64 MiB at most. 2048 frames of
# 2 KiB are 4 MiB: 1.4 ms of the smallest frames at 1 Gbit/s line rate, 25 ms of full ones, and a worker that is kept off
# its core for longer has lost its connections' beat anyway.
ring_frames = 2048

[layer2]
# Link-layer protocols that pass unchanged: profinet, ethercat, ptp, mrp, lldp, stp, goose. Those that a robot cell may
# need to live; goose (substation protection) has no place in one. ARP and IPv4 are judged by their own rules.
pass = ["profinet", "ethercat", "ptp", "mrp", "lldp", "stp"]
# refuse | pass. PROFINET DCP Set renames a device or changes its address: engineering work, not production.
profinet_dcp_set = "refuse"
# refuse | pass. Controllers of Universal Robots speak IPv4. With "pass", neighbour discovery and group membership go on
# in both directions, and what the policy allows by address.
ipv6 = "refuse"

[guard]
# Connections that one address may open in a second, whatever the policy allows; 0 = any number. A client that opens one
# for each command needs ten; the services of a controller serve a handful at a time.
connections_per_second = 50
# Milliseconds between two frames of a periodic stream (RTDE, set-points, a Modbus cycle) from which on a late one is told
# of, with whose fault it was; 0 = never. 10: UR's client library gives up on set-points after 20 ms, and half of that is
# left to look. A stream of longer beats is told of when a whole beat is missing.
late_ms = 10

# Devices that have a name in the policy and in records. Exactly one is the robot.
[[asset]]
name = "robot"
ip = "192.168.0.10"
side = "robot"
# ur-cb3 | ur-e-series | polyscope-x: ports and services of the controller. With polyscope-x, requests to the Robot API
# on port 80 are judged by the rules for the Dashboard server, which that generation has no more.
profile = "ur-e-series"

# [[asset]]
# name = "plc"
# ip = "192.168.0.20"
# mac = "00:1b:1b:aa:bb:cc"    # optional: frames from another MAC are refused toward the robot
# side = "plant"

[record]
# The evidence, signed by the box, and its events once more as lines of JSON for those who ship logs (a quarter of the
# budget). `vambrace evidence verify` says whether anything was altered.
directory = "/var/lib/vambrace/evidence"
# 8 GiB hold months of a cell's commands; the oldest segments go first.
size_budget = "8 GiB"
# Optional: evidence older than this is removed, where the law or a works agreement asks for it ("90 days", "36 hours").
# Without it only the budget counts.
# max_age = "90 days"
# Optional: files on other media that get a signed checkpoint every ten seconds. Whoever holds one can prove that nothing
# recorded before was cut off or rolled back. A medium that is missing holds up nothing.
# witness = ["/media/usb/vambrace.checkpoints"]
# Optional: where the box counts how often the store was opened; beside the store where absent. On another disk, a store
# that was put back as a whole is found out.
# counter = "/var/lib/vambrace-counter/evidence.counter"
# Optional: the public keys of those who alone can read the evidence, as `vambrace evidence keygen NAME` makes them for an
# auditor. Everybody can verify it all the same; the box itself can't read it any more. Not set, since a lost key loses the
# records. Keys stand here and not in files, as a file that is missing would stop the box.
# encrypt_to = ["anna+1f2e3d4c+IM..."]
# Whether the events are written as lines of JSON (eve.json) too: these are never encrypted. On, because `vambrace events`,
# the console and whoever ships logs read them.
event_lines = true

[evidence]
# The frames that passed last, in both directions, kept in memory: when something is refused, those of its connection and
# those between the robot and whoever commands it go into the evidence, with what came before. 8 MiB hold three seconds
# of a cell whose robot streams its state at 500 Hz. "0 B" keeps none.
ring = "8 MiB"
# Two seconds show what led to a refusal, such as the cycle before it; one shows what robot and client made of it.
before_seconds = 2
after_seconds = 1
# The most that is kept so in an hour, and it may come at once: with somebody who is refused all day, 8 GiB still reach
# back a week. What there was no room for is counted in the evidence. `vambrace evidence keep` is not bound by it.
kept_an_hour = "32 MiB"

[policy]
# Read at start, on SIGHUP and by `vambrace policy apply`. Not needed in observe and learn.
file = "/etc/vambrace/policy.toml"

[control]
# Where `vambrace status`, `mode`, `policy apply` and the others reach the running process. Mode 0660.
socket = "/run/vambrace/control.sock"

[patches]
# Optional: a pack of virtual patches newer than the one that is built in, with its signature beside it (pack.toml.sig),
# and the public key of whoever issued it. Without them the built-in pack is in force.
# file = "/etc/vambrace/pack.toml"
# key = "ed25519:..."

[console]
# The management process, `vambrace console --config FILE`: a process of its own without rights on the data ports.
# Where it remembers how far events were sent.
directory = "/var/lib/vambrace/console"
# Optional: the account that it runs under, or becomes where it is started as root. The guard believes it when it says for
# whom it asks; with the units of this folder it is vambrace-console.
# account = "vambrace-console"
# Optional, the four together: the remote API for `vambrace --box HOST`, on the management port. Both ends show
# certificates; there is no password and no secret by default. `vambrace console keygen` makes them.
# listen = "192.168.1.5:7443"
# certificate = "/etc/vambrace/box.pem"
# key = "/etc/vambrace/box.key"
# client_ca = "/etc/vambrace/ca.pem"
# Whether the box makes these three when it is claimed: it shows a secret until somebody who knows it has become its first
# engineer with `vambrace --box HOST claim`. Off, so that nobody can come before the one who configures; `listen` goes with it.
claim = false

# Who may use it: viewer (status, events, policy), auditor (the same, and evidence), operator (what a viewer may, and modes
# that do not weaken), engineer (everything, live captures too), witness (another box that pushes its checkpoints here).
# [[console.user]]
# name = "eva"
# role = "viewer"
# certificate = "sha256:..."     # as `vambrace console keygen user` prints it

# Receivers of events: CEF in RFC 5424, over TLS (RFC 5425) or TCP. The event files are the queue: what was not sent is
# sent after an outage, as far as record.size_budget keeps it.
# [[console.syslog]]
# name = "soc"
# address = "siem.example:6514"
# transport = "tls"              # tls | tcp
# events = "security"            # security | all: allowed commands and connections as well
# ca = "/etc/vambrace/siem-ca.pem"
# certificate = "/etc/vambrace/box.pem"
# key = "/etc/vambrace/box.key"

# Other boxes, or management stations, that keep this box's checkpoints, every ten seconds: where this one's disk is put
# back or cut, they prove it. There this box's certificate is a user with the role witness.
# [[console.witness]]
# name = "cell5"
# address = "cell5.plant.example:7443"
# ca = "/etc/vambrace/ca.pem"
# certificate = "/etc/vambrace/box.pem"
# key = "/etc/vambrace/box.key"

# A digest by mail when something of note happened: refusals, scans, lost records. At least so many minutes lie between
# two, so that an incident is one mail, and at most so many go out a day, since more are not read.
# [console.mail]
# relay = "mail.example:587"
# security = "starttls"          # starttls | tls | none
# ca = "/etc/vambrace/mail-ca.pem"
# from = "cell4@plant.example"
# to = ["maintenance@plant.example"]
# user = "cell4"
# password_file = "/etc/vambrace/mail.password"
# every_minutes = 60
# per_day = 4

[console.metrics]
# Optional: Prometheus reads http://ADDRESS/metrics. Plain HTTP: only on the management port.
# listen = "192.168.1.5:9464"
"##;
