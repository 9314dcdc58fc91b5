-- External control of Universal Robots controllers: the sockets that a robot's program opens to the computer that moves it.
-- The computer listens: reverse 50001 (what to do now), trajectory 50003 (points to come), script command 50004 (single
-- functions). Records are 32-bit integers, big-endian, without any header; 50002 hands a program over, see `urscript.lua`.
--
-- Source: the maker's Universal_Robots_Client_Library. How many integers a record has is not on the wire, it is in the
-- program that opened the socket: 8, 21 and 28 in that of the library. Preferences change them.

local shared = dofile(__DIR__ .. package.config:sub(1, 1) .. "ur_shared.lua")

local REVERSE, TRAJECTORY, COMMAND = 50001, 50003, 50004
local SOCKETS = { reverse = REVERSE, trajectory = TRAJECTORY, command = COMMAND }
-- The socket of each port: those of the library, or as the preferences say. Two robots on one computer have two sets.
local PORTS = {}
-- Integers a record, and the fewest that can be read as what the socket says.
local USUAL = { reverse = 8, trajectory = 21, command = 28 }
local LEAST = { reverse = 8, trajectory = 21, command = 1 }
local MOST_INTEGERS = 64

local MODES = {
  [-2] = "stop",
  [0] = "idle",
  [1] = "servoj",
  [2] = "speedj",
  [3] = "forward",
  [4] = "speedl",
  [5] = "pose",
  [6] = "freedrive",
  [8] = "torque",
}
-- Modes whose six values are a target in millionths of its unit.
local TARGETS = { [1] = true, [2] = true, [4] = true, [5] = true, [8] = true }
local FORWARD, FREEDRIVE = 3, 6
local TRAJECTORIES = { [-1] = "cancel", [0] = "keep", [1] = "start", [2] = "stream_start", [3] = "stream_end" }
local FREEDRIVES = { [-1] = "stop", [0] = "keep", [1] = "start" }

-- Types of points in programs since version 1.3 of the library; in older ones 2 is a spline.
local KINDS = {
  [0] = "movej",
  [1] = "movel",
  [2] = "movep",
  [3] = "movec",
  [4] = "optimovej",
  [5] = "optimovel",
  [6] = "movej to a pose",
  [7] = "movel to joints",
  [8] = "movep to joints",
  [9] = "movec by joints to joints",
  [10] = "movec by a pose to joints",
  [11] = "movec by joints to a pose",
  [12] = "optimovej to a pose",
  [13] = "optimovel to joints",
  [51] = "spline",
}

-- Functions by number: name, and how many integers it reads.
local FUNCTIONS = {
  [0] = { "zero_ft_sensor", 0 },
  [1] = { "set_payload", 4 },
  [2] = { "set_tool_voltage", 1 },
  [3] = { "start_force_mode", 27 },
  [4] = { "end_force_mode", 0 },
  [5] = { "start_tool_contact", 0 },
  [6] = { "end_tool_contact", 0 },
  [7] = { "set_friction_compensation", 1 },
  [8] = { "ft_rtde_input_enable", 8 },
  [9] = { "set_gravity", 3 },
  [10] = { "set_tcp_offset", 6 },
  [11] = { "set_friction_scales", 12 },
  [12] = { "set_target_payload", 11 },
}
local NAMES = {}
for number, row in pairs(FUNCTIONS) do
  NAMES[number] = row[1]
end

local urext = Proto("urext", "Universal Robots external control")

local f = {
  socket = ProtoField.string("urext.socket", "Socket"),
  timeout = ProtoField.int32("urext.timeout_ms", "Time-out [ms]"),
  mode = ProtoField.int32("urext.mode", "Mode", base.DEC, MODES),
  target = ProtoField.double("urext.target", "Target [rad, m, rad/s, m/s or Nm]"),
  trajectory = ProtoField.int32("urext.trajectory", "Trajectory", base.DEC, TRAJECTORIES),
  points = ProtoField.int32("urext.points", "Points"),
  freedrive = ProtoField.int32("urext.freedrive", "Freedrive", base.DEC, FREEDRIVES),
  kind = ProtoField.int32("urext.point.type", "Type of point", base.DEC, KINDS),
  to = ProtoField.double("urext.point.target", "To [rad or m]"),
  second = ProtoField.int32("urext.point.second", "Velocity or way point"),
  third = ProtoField.int32("urext.point.third", "Acceleration, or velocity, acceleration and mode"),
  duration = ProtoField.int32("urext.point.duration", "Duration [us, ms in older programs]"),
  blend = ProtoField.int32("urext.point.blend", "Blend radius, or degree of a spline"),
  called = ProtoField.int32("urext.function", "Function", base.DEC, NAMES),
  argument = ProtoField.int32("urext.argument", "Argument [millionths]"),
  result = ProtoField.int32("urext.result", "Result"),
  integer = ProtoField.int32("urext.integer", "Integer"),
}
urext.fields = shared.list(f)

local e = {
  malformed = ProtoExpert.new("urext.malformed", "No record", expert.group.MALFORMED, expert.severity.ERROR),
  endless = ProtoExpert.new("urext.endless", "Waits without end", expert.group.SECURITY, expert.severity.NOTE),
  unknown = ProtoExpert.new("urext.unknown", "Not known", expert.group.UNDECODED, expert.severity.NOTE),
}
urext.experts = shared.list(e)

for _, name in ipairs({ "reverse", "trajectory", "command" }) do
  urext.prefs[name] = Pref.uint("Integers a record, " .. name, USUAL[name], "1 to " .. MOST_INTEGERS)
  local ports = name .. "_ports"
  urext.prefs[ports] = Pref.string("Ports, " .. name, tostring(SOCKETS[name]), "Such as 50001, 50011-50013")
end

local function six(tvb, at, field, tree)
  local numbers = {}
  for index = 0, 5 do
    local range = tvb(at + 4 * index, 4)
    tree:add(field, range, range:int() / 1e6)
    numbers[index + 1] = string.format("%g", range:int() / 1e6)
  end
  return table.concat(numbers, ", ")
end

local function integers(tvb, at, count, field, tree)
  for index = 0, count - 1 do
    tree:add(field, tvb(at + 4 * index, 4))
  end
end

local function show_motion(tvb, at, count, tree)
  local timeout, mode = tvb(at, 4):int(), tvb(at + 28, 4):int()
  local item = tree:add(f.timeout, tvb(at, 4))
  if timeout <= 0 then
    item:add_proto_expert_info(e.endless)
  end
  item = tree:add(f.mode, tvb(at + 28, 4))
  local first, said = tvb(at + 4, 4), MODES[mode] or "mode " .. mode
  if TARGETS[mode] then
    said = said .. " " .. six(tvb, at + 4, f.target, tree)
  elseif mode == FORWARD then
    tree:add(f.trajectory, first)
    said = said .. " " .. (TRAJECTORIES[first:int()] or first:int())
    if first:int() == 1 or first:int() == 3 then
      tree:add(f.points, tvb(at + 8, 4))
      said = said .. " " .. tvb(at + 8, 4):int()
    end
  elseif mode == FREEDRIVE then
    tree:add(f.freedrive, first)
    said = said .. " " .. (FREEDRIVES[first:int()] or first:int())
  elseif not MODES[mode] then
    item:add_proto_expert_info(e.unknown)
    integers(tvb, at + 4, 6, f.integer, tree)
  end
  integers(tvb, at + 32, count - 8, f.integer, tree)
  return said
end

local function show_point(tvb, at, count, tree)
  local kind = tvb(at + 80, 4):int()
  local item = tree:add(f.kind, tvb(at + 80, 4))
  if not KINDS[kind] then
    item:add_proto_expert_info(e.unknown)
  end
  local to = six(tvb, at, f.to, tree)
  integers(tvb, at + 24, 6, f.second, tree)
  integers(tvb, at + 48, 6, f.third, tree)
  tree:add(f.duration, tvb(at + 72, 4))
  tree:add(f.blend, tvb(at + 76, 4))
  integers(tvb, at + 84, count - 21, f.integer, tree)
  return (KINDS[kind] or "type " .. kind) .. " " .. to
end

local function show_call(tvb, at, count, tree)
  local number = tvb(at, 4):int()
  local known = FUNCTIONS[number]
  local item = tree:add(f.called, tvb(at, 4))
  if not known then
    item:add_proto_expert_info(e.unknown)
    integers(tvb, at + 4, count - 1, f.integer, tree)
    return "function " .. number
  end
  -- The rest of the record is not read by the robot.
  integers(tvb, at + 4, math.min(known[2], count - 1), f.argument, tree)
  return known[1]
end

local function show_other(tvb, at, count, tree)
  integers(tvb, at, count, f.integer, tree)
  return string.format("%d integers", count)
end

local READ = { reverse = show_motion, trajectory = show_point, command = show_call }

function urext.dissector(tvb, pinfo, root)
  local toward_computer = shared.toward_listener(pinfo, PORTS)
  local socket = PORTS[toward_computer and pinfo.dst_port or pinfo.src_port] or "reverse"
  local count, read = 1, nil
  if not toward_computer then
    count = math.max(1, math.min(urext.prefs[socket], MOST_INTEGERS))
    read = count >= LEAST[socket] and READ[socket] or show_other
  end
  local summary = shared.summary("UREXT")
  local function show(at, length, shown)
    if not shown then
      return
    end
    local tree = root:add(urext, tvb(at, length))
    shared.generated(tree:add(f.socket, socket))
    local said
    if read then
      said = read(tvb, at, count, tree)
    else
      tree:add(f.result, tvb(at, 4))
      said = "result " .. tvb(at, 4):int()
    end
    tree:append_text(", " .. socket .. " " .. said)
    shared.say(summary, said)
  end
  local function fail(at, why)
    root:add(urext, tvb(at)):add_proto_expert_info(e.malformed, why)
    shared.say(summary, why)
  end
  local function step(_, left)
    if left < 4 * count then
      return nil, 4 * count
    end
    return 4 * count
  end
  local count = shared.walk(tvb, pinfo, step, show, fail)
  shared.conclude(summary, pinfo, root, count)
  return tvb:len()
end

local tcp_ports = DissectorTable.get("tcp.port")

-- Takes the ports of the preferences; text that names none is passed over.
local function listen()
  for port in pairs(PORTS) do
    tcp_ports:remove(port, urext)
    PORTS[port] = nil
  end
  for name in pairs(SOCKETS) do
    for first, last in urext.prefs[name .. "_ports"]:gmatch("(%d+)%s*%-?%s*(%d*)") do
      first, last = tonumber(first), tonumber(last) or tonumber(first)
      for port = math.max(first, 1), math.min(last, 65535) do
        PORTS[port] = name
        tcp_ports:add(port, urext)
      end
    end
  end
end
listen()
urext.prefs_changed = listen
