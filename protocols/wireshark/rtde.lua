-- Real-Time Data Exchange (RTDE) of Universal Robots controllers, TCP port 30004: protocol versions 1 and 2, every type of
-- package, recipes, and the values of data packages with their names.
--
-- Source: the maker's RTDE guide, and what its public client libraries do. A data package has neither names nor types:
-- both are taken from the set-up and its answer, so that data of a connection that began before the capture stays bytes.

local here = __DIR__ .. package.config:sub(1, 1)
local shared = dofile(here .. "ur_shared.lua")
local variables = dofile(here .. "rtde_variables.lua")

local PORTS = { [30004] = true }
local HEADER = 3
-- Twice the longest list of names that a controller takes; nothing that a client sends is longer.
local MOST_TOWARD_ROBOT = 4096

local TYPES = {
  [86] = "request_protocol_version",
  [118] = "get_urcontrol_version",
  [77] = "text_message",
  [79] = "setup_outputs",
  [73] = "setup_inputs",
  [83] = "start",
  [80] = "pause",
  [85] = "data_package",
}
local V, CONTROLLER, MESSAGE, OUTPUTS, INPUTS, START, PAUSE, DATA = 86, 118, 77, 79, 73, 83, 80, 85
local LEVELS = { [0] = "exception", [1] = "error", [2] = "warning", [3] = "info" }

-- Type names on the wire, and bytes of a value.
local SIZES = { BOOL = 1, UINT8 = 1, UINT32 = 4, INT32 = 4, UINT64 = 8, DOUBLE = 8 }
SIZES.VECTOR3D, SIZES.VECTOR6D, SIZES.VECTOR6INT32, SIZES.VECTOR6UINT32 = 24, 48, 24, 24
local NO_TYPE = { NOT_FOUND = true, IN_USE = true }
-- What vectors are made of.
local ELEMENT = { VECTOR3D = "DOUBLE", VECTOR6D = "DOUBLE", VECTOR6INT32 = "INT32", VECTOR6UINT32 = "UINT32" }

-- What the numbers of some variables mean.
local MEANINGS = {
  robot_mode = shared.ROBOT_MODES,
  safety_mode = shared.SAFETY_MODES,
  safety_status = shared.SAFETY_MODES,
  runtime_state = shared.PROGRAM_STATES,
}

local rtde = Proto("rtde", "Real-Time Data Exchange")

local MAKE = {
  BOOL = ProtoField.bool,
  UINT8 = ProtoField.uint8,
  UINT32 = ProtoField.uint32,
  INT32 = ProtoField.int32,
  UINT64 = ProtoField.uint64,
  DOUBLE = ProtoField.double,
}

-- Field and type of each known variable.
local variable_fields, variable_types = {}, {}
local function variable(name, kind)
  local base, meanings = ELEMENT[kind] or kind, MEANINGS[name]
  local abbreviation = "rtde.var." .. name
  variable_types[name] = kind
  if meanings then
    variable_fields[name] = MAKE[base](abbreviation, name, base.DEC, meanings)
  else
    variable_fields[name] = MAKE[base](abbreviation, name)
  end
end
for kind, names in pairs(variables.by_type) do
  for name in string.gmatch(names, "%S+") do
    variable(name, kind)
  end
end
for _, family in ipairs(variables.registers) do
  for number = 0, family[3] do
    variable("input_" .. family[1] .. number, family[2])
    variable("output_" .. family[1] .. number, family[2])
  end
end

local f = {
  size = ProtoField.uint16("rtde.size", "Size"),
  kind = ProtoField.uint8("rtde.type", "Type", base.DEC, TYPES),
  toward = ProtoField.string("rtde.toward", "Toward"),
  version = ProtoField.uint8("rtde.version", "Protocol version in force"),
  asked = ProtoField.uint16("rtde.requested_version", "Requested protocol version"),
  accepted = ProtoField.bool("rtde.accepted", "Accepted"),
  major = ProtoField.uint32("rtde.controller.major", "Major"),
  minor = ProtoField.uint32("rtde.controller.minor", "Minor"),
  bugfix = ProtoField.uint32("rtde.controller.bugfix", "Bugfix"),
  build = ProtoField.uint32("rtde.controller.build", "Build"),
  frequency = ProtoField.double("rtde.frequency", "Output frequency [Hz]"),
  name = ProtoField.string("rtde.name", "Name"),
  value_type = ProtoField.string("rtde.value_type", "Type of value"),
  recipe = ProtoField.uint8("rtde.recipe_id", "Recipe"),
  message = ProtoField.string("rtde.message", "Message"),
  source = ProtoField.string("rtde.message.source", "Source"),
  level = ProtoField.uint8("rtde.message.level", "Level", base.DEC, LEVELS),
  variable = ProtoField.string("rtde.variable", "Variable"),
  value = ProtoField.string("rtde.value", "Value"),
  values = ProtoField.bytes("rtde.values", "Values without recipe"),
  request_frame = ProtoField.framenum("rtde.request_frame", "Request in frame", base.NONE, frametype.REQUEST),
  reply_frame = ProtoField.framenum("rtde.reply_frame", "Reply in frame", base.NONE, frametype.RESPONSE),
}
rtde.fields = shared.list(f, variable_fields)

local e = {
  malformed = ProtoExpert.new("rtde.malformed", "Not RTDE", expert.group.MALFORMED, expert.severity.ERROR),
  payload = ProtoExpert.new("rtde.payload", "Payload of another form", expert.group.MALFORMED, expert.severity.ERROR),
  refused = ProtoExpert.new("rtde.refused", "Refused", expert.group.RESPONSE_CODE, expert.severity.WARN),
  unknown = ProtoExpert.new("rtde.no_recipe", "Recipe not known", expert.group.UNDECODED, expert.severity.NOTE),
  unasked = ProtoExpert.new("rtde.unasked", "Nothing asked for this", expert.group.SEQUENCE, expert.severity.NOTE),
  writes = ProtoExpert.new("rtde.writes", "Writes inputs", expert.group.REQUEST_CODE, expert.severity.CHAT),
}
rtde.experts = shared.list(e)

local connections = {}
function rtde.init()
  connections = {}
end

local function new_connection()
  local connection = {
    -- Version, and how many requests for one are unanswered. Every connection begins in version 1; one whose begin was
    -- not captured may be in another, so that the first layout that fits only one of them decides.
    version = shared.history({ open = 0 }),
    output = shared.history(),
    inputs = {},
    waiting = {},
    -- Requests by the name of their unit, and by that of their reply.
    requests = {},
  }
  for _, kind in ipairs({ V, CONTROLLER, OUTPUTS, INPUTS, START, PAUSE }) do
    connection.waiting[kind] = shared.queue()
  end
  return connection
end

-- Names or types, separated by commas; a trailing comma is no name.
local function split(list)
  local names = {}
  for name in string.gmatch(list, "[^,]+") do
    name = string.match(name, "^%s*(.-)%s*$")
    if name ~= "" then
      names[#names + 1] = name
    end
  end
  return names
end

local function is_list(bytes)
  return not string.find(bytes, "[^%w_, ]")
end

-- In version 2 a frequency stands before the names; its first byte is none of a name.
local function outputs_version(payload)
  return string.find(payload, "^[%a_ ,]") and 1 or 2
end

-- In version 2 a recipe id stands before the types.
local function types_version(payload)
  local first = string.match(payload, "^([^,]*)")
  return (SIZES[first] or NO_TYPE[first]) and 1 or 2
end

-- In version 2 two lengths add up to the payload's.
local function message_version(payload)
  local text = string.byte(payload, 1)
  local source = text and string.byte(payload, text + 2)
  return source and text + source + 3 == #payload and 2 or 1
end

-- The recipe that names and the types of an answer make; nil, and why there is none.
local function recipe_of(names, types, id, has_id)
  if id == 0 then
    return nil, "no recipe: it was refused"
  end
  if #names ~= #types then
    return nil, string.format("%d types for %d names", #types, #names)
  end
  local recipe = { size = 0, has_id = has_id, id = id }
  for index, name in ipairs(names) do
    local kind = types[index]
    if NO_TYPE[kind] then
      return nil, string.format("no recipe: %s is %s", name, kind)
    elseif not SIZES[kind] then
      return nil, "unknown type of value " .. kind
    end
    recipe[index] = { name = name, kind = kind }
    recipe.size = recipe.size + SIZES[kind]
  end
  return recipe
end

local function element(range, kind)
  if kind == "BOOL" then
    return range:uint() ~= 0 and "true" or "false"
  elseif kind == "DOUBLE" then
    return shared.number(range:float())
  elseif kind == "UINT64" then
    return tostring(range:uint64())
  elseif kind == "INT32" then
    return string.format("%d", range:int())
  end
  return string.format("%d", range:uint())
end

-- Values of a recipe at `at`, whose length fits.
local function show_values(tvb, at, recipe, tree)
  for _, field in ipairs(recipe) do
    local size, kind = SIZES[field.kind], ELEMENT[field.kind] or field.kind
    local width = SIZES[kind]
    local parts = {}
    for place = at, at + size - width, width do
      parts[#parts + 1] = element(tvb(place, width), kind)
    end
    local value = table.concat(parts, ", ")
    local name = shared.text(field.name)
    local item = tree:add(f.variable, tvb(at, size), name)
    item:set_text(string.format("%s: %s", name, value))
    item:add(f.value, tvb(at, size), value)
    -- A controller that gave another type than the table has is believed.
    if variable_types[field.name] == field.kind then
      for place = at, at + size - width, width do
        item:add(variable_fields[field.name], tvb(place, width))
      end
    end
    at = at + size
  end
end

local function show_names(tvb, at, length, field, tree)
  for _, name in ipairs(split(tvb:raw(at, length))) do
    tree:add(field, tvb(at, length), shared.text(name))
  end
end

-- One unit: where it is, what is known of its connection, where to show it.
local Unit = {}
Unit.__index = Unit

function Unit:bad(why)
  self.tree:add_proto_expert_info(e.payload, why)
  self.said = self.said .. " (" .. why .. ")"
end

-- Whether the payload has exactly this many bytes.
function Unit:has(length)
  if self.left ~= length then
    self:bad(string.format("%d bytes of payload, not %d", self.left, length))
    return false
  end
  return true
end

function Unit:accepted()
  if not self:has(1) then
    return nil
  end
  local byte = self.tvb(self.at, 1):uint()
  local item = self.tree:add(f.accepted, self.tvb(self.at, 1))
  if byte > 1 then
    self:bad("neither 0 nor 1")
    return nil
  end
  if byte == 0 then
    item:add_proto_expert_info(e.refused)
    self.said = self.said .. " refused"
  end
  return byte == 1
end

function Unit:message(known)
  local payload = self.tvb:raw(self.at, self.left)
  local version = known or message_version(payload)
  if version == 1 then
    if self.left < 1 then
      return self:bad("no level")
    end
    self.tree:add(f.level, self.tvb(self.at, 1))
    if self.left > 1 then
      self.tree:add(f.message, self.tvb(self.at + 1, self.left - 1), shared.text(string.sub(payload, 2)))
      self.said = self.said .. ": " .. shared.text(string.sub(payload, 2))
    end
    return
  end
  if message_version(payload) ~= 2 then
    return self:bad("lengths that do not add up")
  end
  local text = string.byte(payload, 1)
  local source = string.byte(payload, text + 2)
  if text > 0 then
    local words = shared.text(string.sub(payload, 2, text + 1))
    self.tree:add(f.message, self.tvb(self.at + 1, text), words)
    self.said = self.said .. ": " .. words
  end
  if source > 0 then
    local words = shared.text(string.sub(payload, text + 3, text + source + 2))
    self.tree:add(f.source, self.tvb(self.at + text + 2, source), words)
  end
  self.tree:add(f.level, self.tvb(self.at + self.left - 1, 1))
end

-- Keeps a request until its reply, and shows where that is.
function Unit:ask(request)
  local connection = self.connection
  if not self.pinfo.visited then
    request.frame = self.pinfo.number
    connection.waiting[self.kind]:push(request)
    connection.requests[self.key] = request
  end
  local kept = connection.requests[self.key]
  if kept and kept.reply then
    shared.generated(self.tree:add(f.reply_frame, kept.reply))
  end
end

-- The request that this reply answers; the oldest of its type.
function Unit:asked()
  local connection = self.connection
  if not self.pinfo.visited then
    local request = connection.waiting[self.kind]:pop()
    if request then
      request.reply = self.pinfo.number
      connection.requests[self.key] = request
    end
  end
  local kept = connection.requests[self.key]
  if kept then
    shared.generated(self.tree:add(f.request_frame, kept.frame))
  else
    self.tree:add_proto_expert_info(e.unasked)
  end
  return kept
end

function Unit:set_version(version, open)
  if not self.pinfo.visited then
    self.connection.version:set(self.pinfo, { version = version, open = math.max(open, 0) })
  end
end

local request = {}

request[V] = function(unit, state)
  local asked
  if unit:has(2) then
    asked = unit.tvb(unit.at, 2):uint()
    unit.tree:add(f.asked, unit.tvb(unit.at, 2))
    unit.said = unit.said .. " " .. asked
  end
  unit:set_version(state.version, state.open + 1)
  unit:ask({ version = asked })
end

local function bare_request(unit)
  unit:has(0)
  unit:ask({})
end
request[CONTROLLER], request[START], request[PAUSE] = bare_request, bare_request, bare_request

request[MESSAGE] = function(unit, _, known)
  unit:message(known)
end

-- Names of a set-up, `skip` bytes behind the payload's begin.
local function set_up(unit, skip)
  local names = unit.tvb:raw(unit.at + skip, unit.left - skip)
  if not is_list(names) then
    unit:bad("characters that no name has")
  elseif #names > 0 then
    show_names(unit.tvb, unit.at + skip, unit.left - skip, f.name, unit.tree)
    unit.said = unit.said .. " " .. names
  end
  unit:ask({ names = split(names) })
end

request[OUTPUTS] = function(unit, _, known)
  local version = known or outputs_version(unit.tvb:raw(unit.at, unit.left))
  if version == 1 then
    return set_up(unit, 0)
  elseif unit.left < 8 then
    unit:bad("no frequency")
    return unit:ask({ names = {} })
  end
  unit.tree:add(f.frequency, unit.tvb(unit.at, 8))
  unit.said = unit.said .. string.format(" %g Hz", unit.tvb(unit.at, 8):float())
  set_up(unit, 8)
end

request[INPUTS] = function(unit)
  set_up(unit, 0)
end

-- Values, with their recipe or without.
local function data(unit, recipe, skip)
  local at, left = unit.at + skip, unit.left - skip
  if recipe and recipe.size == left then
    show_values(unit.tvb, at, recipe, unit.tree)
    return true
  end
  if left > 0 then
    unit.tree:add(f.values, unit.tvb(at, left))
  end
  if recipe then
    unit:bad(string.format("%d bytes of values where the recipe has %d", left, recipe.size))
  else
    unit.tree:add_proto_expert_info(e.unknown)
  end
  return false
end

request[DATA] = function(unit)
  if unit.left < 1 then
    return unit:bad("no recipe id")
  end
  local id = unit.tvb(unit.at, 1):uint()
  unit.tree:add(f.recipe, unit.tvb(unit.at, 1))
  unit.said = unit.said .. " recipe " .. id
  local history = unit.connection.inputs[id]
  local recipe = history and history:get(unit.pinfo, unit.key)
  if data(unit, recipe, 1) and #recipe > 0 then
    local names = {}
    for index = 1, math.min(#recipe, 8) do
      names[index] = shared.text(recipe[index].name)
    end
    unit.tree:add_proto_expert_info(e.writes, "Writes " .. table.concat(names, ", "))
    unit.said = unit.said .. " " .. table.concat(names, ",")
  end
end

local reply = {}

reply[V] = function(unit, state)
  local accepted, asked = unit:accepted(), unit:asked()
  local version = state.version
  if accepted and asked and (asked.version == 1 or asked.version == 2) then
    version = asked.version
  end
  unit:set_version(version, state.open - 1)
  -- Output data gains or loses its id, so that its recipe is void.
  if version ~= state.version and not unit.pinfo.visited and unit.connection.output:get(unit.pinfo, unit.key) then
    unit.connection.output:set(unit.pinfo, nil)
  end
end

reply[CONTROLLER] = function(unit)
  unit:asked()
  if not unit:has(16) then
    return
  end
  local numbers = {}
  for index, field in ipairs({ f.major, f.minor, f.bugfix, f.build }) do
    local range = unit.tvb(unit.at + 4 * (index - 1), 4)
    unit.tree:add(field, range)
    numbers[index] = string.format("%d", range:uint())
  end
  unit.said = unit.said .. " " .. table.concat(numbers, ".")
end

reply[MESSAGE] = request[MESSAGE]

-- The answer to a set-up: gives the recipe, the id that it has or nil, and whether the answer can be read.
local function types(unit, has_id)
  local asked, skip = unit:asked(), has_id and 1 or 0
  if unit.left < skip then
    unit:bad("no recipe id")
    return nil, nil
  end
  local id = has_id and unit.tvb(unit.at, 1):uint() or nil
  if id then
    unit.tree:add(f.recipe, unit.tvb(unit.at, 1))
    unit.said = unit.said .. " recipe " .. id
  end
  local list = unit.tvb:raw(unit.at + skip, unit.left - skip)
  if not is_list(list) then
    unit:bad("characters that no type has")
    return nil, id
  end
  if #list > 0 then
    show_names(unit.tvb, unit.at + skip, unit.left - skip, f.value_type, unit.tree)
    unit.said = unit.said .. " " .. list
  end
  if not asked then
    return nil, id
  end
  local recipe, why = recipe_of(asked.names, split(list), id, has_id)
  if why then
    unit.tree:add_proto_expert_info(e.refused, shared.text(why))
  end
  return recipe, id
end

reply[OUTPUTS] = function(unit, _, known)
  local version = known or types_version(unit.tvb:raw(unit.at, unit.left))
  local recipe = types(unit, version == 2)
  -- One output recipe a connection: this one or none.
  if not unit.pinfo.visited then
    unit.connection.output:set(unit.pinfo, recipe)
  end
end

reply[INPUTS] = function(unit)
  local recipe, id = types(unit, true)
  if recipe and not unit.pinfo.visited then
    local inputs = unit.connection.inputs
    inputs[id] = inputs[id] or shared.history()
    inputs[id]:set(unit.pinfo, recipe)
  end
end

local function yes_or_no(unit)
  unit:asked()
  unit:accepted()
end
reply[START], reply[PAUSE] = yes_or_no, yes_or_no

reply[DATA] = function(unit, _, known)
  local recipe = unit.connection.output:get(unit.pinfo, unit.key)
  local has_id = recipe and recipe.has_id or not recipe and known == 2
  if not has_id then
    data(unit, recipe, 0)
    return
  end
  if unit.left < 1 then
    return unit:bad("no recipe id")
  end
  local id = unit.tvb(unit.at, 1):uint()
  unit.tree:add(f.recipe, unit.tvb(unit.at, 1))
  unit.said = unit.said .. " recipe " .. id
  data(unit, recipe and recipe.id == id and recipe or nil, 1)
end

local function step(tvb, toward_robot)
  return function(at, left)
    if left < 2 then
      return nil
    end
    local size = tvb(at, 2):uint()
    if size < HEADER then
      return nil, nil, "a size smaller than the header"
    elseif toward_robot and size > MOST_TOWARD_ROBOT then
      return nil, nil, "a size that no client needs"
    elseif left < HEADER then
      return nil
    elseif not TYPES[tvb(at + 2, 1):uint()] then
      return nil, nil, "a type that there is not"
    end
    return size
  end
end

function rtde.dissector(tvb, pinfo, root)
  local toward_robot = shared.toward_listener(pinfo, PORTS)
  local connection = shared.connection(connections, new_connection)
  local summary = shared.summary("RTDE")
  local function show(at, size, shown)
    local kind = tvb(at + 2, 1):uint()
    local unit = setmetatable({
      tvb = tvb,
      pinfo = pinfo,
      connection = connection,
      kind = kind,
      key = shared.key(tvb, pinfo, at, size),
      at = at + HEADER,
      left = size - HEADER,
      said = TYPES[kind],
    }, Unit)
    unit.tree = shown and root:add(rtde, tvb(at, size)) or shared.nothing
    unit.tree:add(f.size, tvb(at, 2))
    unit.tree:add(f.kind, tvb(at + 2, 1))
    shared.generated(unit.tree:add(f.toward, toward_robot and "robot" or "client"))
    local state = connection.version:get(pinfo, unit.key)
    local known = state.open == 0 and state.version or nil
    if known then
      shared.generated(unit.tree:add(f.version, known))
    end
    local read = (toward_robot and request or reply)[kind]
    read(unit, state, known)
    unit.tree:append_text(", " .. shared.brief(unit.said, 200))
    shared.say(summary, unit.said)
  end
  local function fail(at, why)
    local tree = root:add(rtde, tvb(at))
    tree:add_proto_expert_info(e.malformed, why)
    shared.say(summary, why)
  end
  local count = shared.walk(tvb, pinfo, step(tvb, toward_robot), show, fail)
  shared.conclude(summary, pinfo, root, count)
  return tvb:len()
end

local tcp_ports = DissectorTable.get("tcp.port")
for port in pairs(PORTS) do
  tcp_ports:add(port, rtde)
end
