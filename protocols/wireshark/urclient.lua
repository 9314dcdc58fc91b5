-- Client interfaces of Universal Robots controllers, what the robot sends: packages on the primary (30001, read-only 30011)
-- and secondary (30002, 30012) interface, records on the realtime one (30003, 30013). What clients send to the same ports
-- is URScript, which goes to `urscript.lua`.
--
-- Source: the maker's manual of the client interfaces, its public client library, and sawUniversalRobot for the lengths of
-- records by version. Layouts of controllers before 3.0 differ and stay bytes.

local shared = dofile(__DIR__ .. package.config:sub(1, 1) .. "ur_shared.lua")

local PORTS = { [30001] = "packages", [30002] = "packages", [30011] = "packages", [30012] = "packages" }
PORTS[30003], PORTS[30013] = "records", "records"

local HEADER = 5
-- Longest package and record that are taken for one; whoever lost count finds longer ones soon.
local MOST_PACKAGE, MOST_RECORD = 1048576, 4096
-- Parts of a robot state that are shown; a real one has about a dozen.
local MOST_PARTS = 256

local PACKAGES = {
  [-1] = "disconnect",
  [5] = "modbus_info",
  [16] = "robot_state",
  [20] = "robot_message",
  [22] = "hmc",
  [23] = "safety_setup",
  [24] = "safety_compliance_tolerances",
  [25] = "program_state",
}
local PARTS = {
  [0] = "robot_mode",
  [1] = "joints",
  [2] = "tool",
  [3] = "masterboard",
  [4] = "cartesian",
  [5] = "kinematics",
  [6] = "configuration",
  [7] = "force_mode",
  [8] = "additional",
  [9] = "calibration",
  [10] = "safety",
  [11] = "tool_communication",
  [12] = "tool_mode",
  [13] = "singularity",
}
local MESSAGES = {
  [0] = "text",
  [1] = "program_label",
  [2] = "popup",
  [3] = "version",
  [5] = "safety_mode",
  [6] = "error_code",
  [7] = "key",
  [9] = "request_value",
  [10] = "runtime_exception",
}
local CONTROL_MODES = { [0] = "POSITION", [1] = "TEACH", [2] = "FORCE", [3] = "TORQUE" }

local urclient = Proto("urclient", "Universal Robots client interface")

local f = {
  length = ProtoField.int32("urclient.length", "Length"),
  kind = ProtoField.int8("urclient.type", "Type", base.DEC, PACKAGES),
  part = ProtoField.uint8("urclient.state.type", "Part", base.DEC, PARTS),
  part_length = ProtoField.uint32("urclient.state.length", "Length"),
  message = ProtoField.uint8("urclient.message.type", "Message", base.DEC, MESSAGES),
  timestamp = ProtoField.uint64("urclient.timestamp", "Timestamp [us]"),
  source = ProtoField.int8("urclient.message.source", "Source"),
  text = ProtoField.string("urclient.message.text", "Text"),
  title = ProtoField.string("urclient.message.title", "Title"),
  code = ProtoField.int32("urclient.message.code", "Code"),
  argument = ProtoField.int32("urclient.message.argument", "Argument"),
  level = ProtoField.uint32("urclient.message.level", "Level"),
  id = ProtoField.int32("urclient.message.id", "Number"),
  value_type = ProtoField.uint32("urclient.message.value_type", "Type of value"),
  value = ProtoField.uint32("urclient.message.value", "Value"),
  line = ProtoField.int32("urclient.message.line", "Line"),
  column = ProtoField.int32("urclient.message.column", "Column"),
  warning = ProtoField.bool("urclient.message.warning", "Warning"),
  error = ProtoField.bool("urclient.message.error", "Error"),
  blocking = ProtoField.bool("urclient.message.blocking", "Blocking"),
  project = ProtoField.string("urclient.version.project", "Project"),
  major = ProtoField.uint8("urclient.version.major", "Major"),
  minor = ProtoField.uint8("urclient.version.minor", "Minor"),
  bugfix = ProtoField.int32("urclient.version.bugfix", "Bugfix"),
  build = ProtoField.int32("urclient.version.build", "Build"),
  date = ProtoField.string("urclient.version.date", "Date"),
  safety = ProtoField.int8("urclient.message.safety_mode", "Safety mode", base.DEC, shared.SAFETY_MODES),
  layout = ProtoField.string("urclient.record.version", "Record of version"),
  data = ProtoField.bytes("urclient.data", "Not read"),
}

local e = {
  malformed = ProtoExpert.new("urclient.malformed", "No package or record", expert.group.MALFORMED, expert.severity.ERROR),
  short = ProtoExpert.new("urclient.short", "Ends before its fields do", expert.group.MALFORMED, expert.severity.ERROR),
  unknown = ProtoExpert.new("urclient.unknown", "Of no known version", expert.group.UNDECODED, expert.severity.NOTE),
  says = ProtoExpert.new("urclient.says", "The robot says", expert.group.COMMENTS_GROUP, expert.severity.NOTE),
}

-- Fields of parts and records: `rows` are { name, type, how many, table of meanings }. A row named "-" is stepped over.
local WIDTHS = { double = 8, float = 4, uint64 = 8, uint32 = 4, int32 = 4, uint8 = 1, int8 = 1, bool = 1 }
local rows_fields = {}
local function layout(prefix, rows)
  for _, row in ipairs(rows) do
    local name, kind, meanings = row[1], row[2], row[4]
    if name ~= "-" then
      local abbreviation = prefix .. "." .. name
      local field = rows_fields[abbreviation]
      if not field and meanings then
        field = ProtoField[kind](abbreviation, name, base.DEC, meanings)
      elseif not field then
        field = ProtoField[kind](abbreviation, name)
      end
      rows_fields[abbreviation] = field
      row.field = field
    end
  end
  return rows
end

local parts = {}
parts[0] = layout("urclient.robot_mode", {
  { "timestamp", "uint64", 1 },
  { "real_robot_connected", "bool", 1 },
  { "real_robot_enabled", "bool", 1 },
  { "power_on", "bool", 1 },
  { "emergency_stopped", "bool", 1 },
  { "protective_stopped", "bool", 1 },
  { "program_running", "bool", 1 },
  { "program_paused", "bool", 1 },
  { "mode", "int8", 1, shared.ROBOT_MODES },
  { "control_mode", "uint8", 1, CONTROL_MODES },
  { "target_speed_fraction", "double", 1 },
  { "speed_scaling", "double", 1 },
  { "target_speed_fraction_limit", "double", 1 },
  { "-", "uint8", 1 },
})
parts[1] = layout("urclient.joints", {
  { "q_actual", "double", 1 },
  { "q_target", "double", 1 },
  { "qd_actual", "double", 1 },
  { "current", "float", 1 },
  { "voltage", "float", 1 },
  { "motor_temperature", "float", 1 },
  { "micro_temperature", "float", 1 },
  { "mode", "uint8", 1 },
})
parts[1].times = 6
parts[2] = layout("urclient.tool", {
  { "analog_input_range2", "uint8", 1 },
  { "analog_input_range3", "uint8", 1 },
  { "analog_input2", "double", 1 },
  { "analog_input3", "double", 1 },
  { "voltage_48v", "float", 1 },
  { "output_voltage", "uint8", 1 },
  { "current", "float", 1 },
  { "temperature", "float", 1 },
  { "mode", "uint8", 1 },
})
parts[3] = layout("urclient.masterboard", {
  { "digital_inputs", "uint32", 1 },
  { "digital_outputs", "uint32", 1 },
  { "analog_input_range", "uint8", 2 },
  { "analog_input", "double", 2 },
  { "analog_output_domain", "uint8", 2 },
  { "analog_output", "double", 2 },
  { "temperature", "float", 1 },
  { "robot_voltage_48v", "float", 1 },
  { "robot_current", "float", 1 },
  { "io_current", "float", 1 },
  { "safety_mode", "int8", 1, shared.SAFETY_MODES },
  { "in_reduced_mode", "bool", 1 },
  { "euromap67_installed", "bool", 1 },
})
-- What follows where the last flag is set, and what follows in any case.
local euromap = layout("urclient.masterboard", {
  { "euromap_inputs", "uint32", 1 },
  { "euromap_outputs", "uint32", 1 },
  { "euromap_voltage", "float", 1 },
  { "euromap_current", "float", 1 },
})
local masterboard_end = layout("urclient.masterboard", {
  { "-", "uint32", 1 },
  { "operational_mode_selector", "uint8", 1 },
  { "three_position_enabling", "uint8", 1 },
  { "-", "uint8", 1 },
})
parts[4] = layout("urclient.cartesian", { { "tcp_pose", "double", 6 }, { "tcp_offset", "double", 6 } })
parts[5] = layout("urclient.kinematics", {
  { "checksum", "uint32", 6 },
  { "dh_theta", "double", 6 },
  { "dh_a", "double", 6 },
  { "dh_d", "double", 6 },
  { "dh_alpha", "double", 6 },
  { "calibration_status", "uint32", 1 },
})
-- Limits come as pairs, joint by joint.
parts[6] = layout("urclient.configuration", {
  { "joint_limits", "double", 12 },
  { "joint_speed_acceleration", "double", 12 },
  { "joint_speed_default", "double", 1 },
  { "joint_acceleration_default", "double", 1 },
  { "tool_speed_default", "double", 1 },
  { "tool_acceleration_default", "double", 1 },
  { "equivalent_radius", "double", 1 },
  { "dh_a", "double", 6 },
  { "dh_d", "double", 6 },
  { "dh_alpha", "double", 6 },
  { "dh_theta", "double", 6 },
  { "masterboard_version", "uint32", 1 },
  { "controller_box_type", "uint32", 1 },
  { "robot_type", "uint32", 1 },
  { "robot_sub_type", "uint32", 1 },
})
parts[7] = layout("urclient.force_mode", { { "wrench", "double", 6 }, { "robot_dexterity", "double", 1 } })
parts[8] = layout("urclient.additional", {
  { "freedrive_button_pressed", "bool", 1 },
  { "freedrive_button_enabled", "bool", 1 },
  { "io_enabled_freedrive", "bool", 1 },
})

-- Columns of a record of controllers from 3.0 on; shorter records end earlier.
local record = layout("urclient.record", {
  { "time", "double", 1 },
  { "q_target", "double", 6 },
  { "qd_target", "double", 6 },
  { "qdd_target", "double", 6 },
  { "i_target", "double", 6 },
  { "m_target", "double", 6 },
  { "q_actual", "double", 6 },
  { "qd_actual", "double", 6 },
  { "i_actual", "double", 6 },
  { "i_control", "double", 6 },
  { "tool_vector_actual", "double", 6 },
  { "tcp_speed_actual", "double", 6 },
  { "tcp_force", "double", 6 },
  { "tool_vector_target", "double", 6 },
  { "tcp_speed_target", "double", 6 },
  { "digital_inputs", "double", 1 },
  { "motor_temperatures", "double", 6 },
  { "controller_timer", "double", 1 },
  { "test_value", "double", 1 },
  { "robot_mode", "double", 1 },
  { "joint_modes", "double", 6 },
  { "safety_mode", "double", 1 },
  { "-", "double", 6 },
  { "tool_accelerometer", "double", 3 },
  { "-", "double", 6 },
  { "speed_scaling", "double", 1 },
  { "linear_momentum_norm", "double", 1 },
  { "-", "double", 2 },
  { "v_main", "double", 1 },
  { "v_robot", "double", 1 },
  { "i_robot", "double", 1 },
  { "v_actual", "double", 6 },
  { "digital_outputs", "double", 1 },
  { "program_state", "double", 1 },
  { "elbow_position", "double", 3 },
  { "elbow_velocity", "double", 3 },
  { "safety_status", "double", 1 },
  { "-", "double", 3 },
  { "payload_mass", "double", 1 },
  { "payload_cog", "double", 3 },
  { "payload_inertia", "double", 6 },
})
local VERSIONS = {
  [1044] = "3.0",
  [1060] = "3.2",
  [1108] = "3.5",
  [1116] = "3.10 or 5.4",
  [1140] = "3.14 or 5.9",
  [1220] = "5.10",
}
-- What numbers in columns mean.
local MEANINGS = {
  robot_mode = shared.ROBOT_MODES,
  safety_mode = shared.SAFETY_MODES,
  safety_status = shared.SAFETY_MODES,
  program_state = shared.PROGRAM_STATES,
}

urclient.fields = shared.list(f, rows_fields)
urclient.experts = shared.list(e)

-- Adds the fields of `rows` that lie whole before `last`; gives where the next one would be.
local function show_rows(tvb, at, last, rows, tree)
  for _, row in ipairs(rows) do
    local width = WIDTHS[row[2]]
    if at + width * row[3] > last then
      break
    end
    for _ = 1, row[3] do
      if row.field then
        local item = tree:add(row.field, tvb(at, width))
        local meaning = row[2] == "double" and MEANINGS[row[1]]
        meaning = meaning and meaning[tvb(at, 8):float()]
        if meaning then
          item:append_text(" (" .. meaning .. ")")
        end
      end
      at = at + width
    end
  end
  return at
end

local function show_rest(tvb, at, last, tree)
  if at < last then
    tree:add(f.data, tvb(at, last - at))
  end
end

-- One part of a robot state, `at` to `last`, its head included.
local function show_part(tvb, at, last, tree)
  local kind = tvb(at + 4, 1):uint()
  local item = tree:add(f.part, tvb(at + 4, 1))
  item:add(f.part_length, tvb(at, 4))
  local rows, begin = parts[kind], at + HEADER
  local length = last - at
  if kind == 0 and not (length == 38 or length == 46 or length >= 47) then
    item:add_proto_expert_info(e.unknown)
    rows = nil
  end
  at = begin
  for _ = 1, rows and (rows.times or 1) or 0 do
    at = show_rows(tvb, at, last, rows, item)
  end
  if kind == 3 and at < last and at - begin == 63 then
    if tvb(at - 1, 1):uint() == 1 then
      at = show_rows(tvb, at, last, euromap, item)
    end
    at = show_rows(tvb, at, last, masterboard_end, item)
  end
  show_rest(tvb, at, last, item)
end

local function show_state(tvb, at, last, tree)
  local shown, names = 0, {}
  while at < last do
    local length = last - at >= HEADER and tvb(at, 4):uint() or 0
    if length < HEADER or length > last - at then
      tree:add_proto_expert_info(e.short, "Parts that do not fill the package")
      show_rest(tvb, at, last, tree)
      break
    end
    shown = shown + 1
    if shown > MOST_PARTS then
      show_rest(tvb, at, last, tree)
      break
    end
    names[shown] = PARTS[tvb(at + 4, 1):uint()] or tostring(tvb(at + 4, 1):uint())
    show_part(tvb, at, at + length, tree)
    at = at + length
  end
  return ""
end

-- Reads the fields of a message one after the other; after the first that is missing there are none.
local Fields = {}
Fields.__index = Fields

function Fields:add(field, width)
  if self.short or self.at + width > self.last then
    self.short = true
    return nil
  end
  local range = self.tvb(self.at, width)
  self.tree:add(field, range)
  self.at = self.at + width
  return range
end

function Fields:number(field, width)
  local range = self:add(field, width)
  return range and range:int()
end

-- `length` bytes of text; to the end without one.
function Fields:text(field, length)
  length = length or self.last - self.at
  if self.short or self.at + length > self.last then
    self.short = true
    return ""
  elseif length == 0 then
    return ""
  end
  local text = shared.text(self.tvb:raw(self.at, length))
  self.tree:add(field, self.tvb(self.at, length), text)
  self.at = self.at + length
  return text
end

-- A text behind its length in one byte.
function Fields:titled(field)
  if self.short or self.at >= self.last then
    self.short = true
    return ""
  end
  self.at = self.at + 1
  return self:text(field, self.tvb(self.at - 1, 1):uint())
end

function Fields:byte(offset)
  local at = self.at + offset
  return at < self.last and self.tvb(at, 1):uint() or nil
end

local says = {}
says[0] = function(fields)
  return fields:text(f.text)
end
says[1] = function(fields)
  local id = fields:number(f.id, 4)
  return string.format("%d %s", id or 0, fields:text(f.text))
end
-- Newer ones begin with a number and the type of a value and have three flags, older ones begin with two flags. What fits
-- neither is all text.
says[2] = function(fields)
  local function flag(offset)
    local byte = fields:byte(offset)
    return byte and byte <= 1
  end
  local function title_fits(offset)
    local length = fields:byte(offset)
    return length and fields.at + offset + 1 + length <= fields.last
  end
  local value_type = fields:byte(4)
  if value_type and value_type <= 8 and flag(5) and flag(6) and flag(7) and title_fits(8) then
    fields:add(f.id, 4)
    fields:add(f.value_type, 1)
    fields:add(f.warning, 1)
    fields:add(f.error, 1)
    fields:add(f.blocking, 1)
  elseif flag(0) and flag(1) and title_fits(2) then
    fields:add(f.warning, 1)
    fields:add(f.error, 1)
  else
    return fields:text(f.text)
  end
  local title = fields:titled(f.title)
  return title .. ": " .. fields:text(f.text)
end
says[3] = function(fields)
  local project = fields:titled(f.project)
  local major, minor = fields:number(f.major, 1), fields:number(f.minor, 1)
  local bugfix = fields:number(f.bugfix, 4)
  -- The older layout goes on with the date, whose first character would be a build of half a billion and more.
  local first = fields:byte(0)
  if fields:byte(3) and first < 32 then
    fields:add(f.build, 4)
  end
  fields:text(f.date)
  return string.format("%s %d.%d.%d", project, major or 0, minor or 0, bugfix or 0)
end
says[5] = function(fields)
  local code, argument = fields:number(f.code, 4), fields:number(f.argument, 4)
  local mode = fields:number(f.safety, 1)
  fields:add(f.value_type, 4)
  fields:add(f.value, 4)
  return string.format("C%dA%d %s", code or 0, argument or 0, shared.SAFETY_MODES[mode] or tostring(mode))
end
says[6] = function(fields)
  local code, argument = fields:number(f.code, 4), fields:number(f.argument, 4)
  -- The older layout goes on with a text, four characters of which would be a far higher level.
  if fields:byte(11) and fields:byte(0) == 0 and fields:byte(1) == 0 and fields:byte(2) == 0 then
    fields:add(f.level, 4)
    fields:add(f.value_type, 4)
    fields:add(f.value, 4)
  end
  return string.format("C%dA%d %s", code or 0, argument or 0, fields:text(f.text))
end
says[7] = function(fields)
  local code, argument = fields:number(f.code, 4), fields:number(f.argument, 4)
  local title = fields:titled(f.title)
  return string.format("C%dA%d %s: %s", code or 0, argument or 0, title, fields:text(f.text))
end
says[9] = function(fields)
  fields:add(f.id, 4)
  fields:add(f.value_type, 4)
  return fields:text(f.text)
end
says[10] = function(fields)
  local line, column = fields:number(f.line, 4), fields:number(f.column, 4)
  return string.format("line %d column %d: %s", line or 0, column or 0, fields:text(f.text))
end

local function show_message(tvb, at, last, tree)
  local fields = setmetatable({ tvb = tvb, at = at, last = last, tree = tree }, Fields)
  fields:add(f.timestamp, 8)
  fields:add(f.source, 1)
  local range = fields:add(f.message, 1)
  local kind = range and range:uint()
  local said = ""
  if says[kind] then
    said = (MESSAGES[kind] or "") .. " " .. says[kind](fields)
    if kind ~= 3 then
      tree:add_proto_expert_info(e.says, said)
    end
  end
  if fields.short then
    tree:add_proto_expert_info(e.short)
  end
  show_rest(tvb, fields.at, last, tree)
  return " " .. said
end

local function show_package(tvb, at, length, tree)
  local kind, last = tvb(at + 4, 1):int(), at + length
  tree:add(f.length, tvb(at, 4))
  tree:add(f.kind, tvb(at + 4, 1))
  local said = ""
  if kind == 16 then
    said = show_state(tvb, at + HEADER, last, tree)
  elseif kind == 20 then
    said = show_message(tvb, at + HEADER, last, tree)
  else
    show_rest(tvb, at + HEADER, last, tree)
  end
  return (PACKAGES[kind] or "package " .. kind) .. said
end

local function show_record(tvb, at, length, tree)
  tree:add(f.length, tvb(at, 4))
  local version = VERSIONS[length] or (length > 1220 and "5.10 or later") or nil
  local last = at + length
  if not version then
    tree:add_proto_expert_info(e.unknown)
    show_rest(tvb, at + 4, last, tree)
    return "record of " .. length .. " bytes"
  end
  shared.generated(tree:add(f.layout, version))
  show_rest(tvb, show_rows(tvb, at + 4, last, record, tree), last, tree)
  return "record"
end

local function step(tvb, least, most)
  return function(at, left)
    if left < 4 then
      return nil
    end
    local length = tvb(at, 4):int()
    if length < least or length > most then
      return nil, nil, string.format("a length of %d bytes", length)
    end
    return length
  end
end

function urclient.dissector(tvb, pinfo, root)
  local toward_robot = shared.toward_listener(pinfo, PORTS)
  if toward_robot then
    -- A dissector that is called by another is no longer asked by TCP, unless it is told to be.
    pinfo.can_desegment = pinfo.can_desegment + 1
    local scripts = Dissector.get("urscript")
    return scripts and scripts:call(tvb, pinfo, root) or 0
  end
  local packages = PORTS[pinfo.src_port] ~= "records"
  local read = packages and show_package or show_record
  local summary = shared.summary("URCLIENT")
  local function show(at, length, shown)
    if not shown then
      return
    end
    local tree = root:add(urclient, tvb(at, length))
    local said = read(tvb, at, length, tree)
    tree:append_text(", " .. shared.brief(said, 200))
    shared.say(summary, said)
  end
  local function fail(at, why)
    root:add(urclient, tvb(at)):add_proto_expert_info(e.malformed, why)
    shared.say(summary, why)
  end
  local next_unit = packages and step(tvb, HEADER, MOST_PACKAGE) or step(tvb, 12, MOST_RECORD)
  local count = shared.walk(tvb, pinfo, next_unit, show, fail)
  shared.conclude(summary, pinfo, root, count)
  return tvb:len()
end

local tcp_ports = DissectorTable.get("tcp.port")
for port in pairs(PORTS) do
  tcp_ports:add(port, urclient)
end
