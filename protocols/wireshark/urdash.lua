-- Dashboard server of Universal Robots controllers, TCP port 29999: one command a line toward the robot, one answer a line
-- back, paired in their order.
--
-- Source: the maker's "Dashboard Server" (CB-Series and e-Series) and its public client library. Letter case and runs of
-- blanks do not count in commands.

local shared = dofile(__DIR__ .. package.config:sub(1, 1) .. "ur_shared.lua")

local PORTS = { [29999] = true }
-- Longest lines with their ends. The server documents none; these are far above every known line.
local MOST_COMMAND, MOST_ANSWER = 1024, 8192

-- Commands by what they do, one a line; "..." where something follows them.
local COMMANDS = {
  read = [[
    echo
    get loaded program
    get operational mode
    get robot model
    get serial number
    get variable ...
    getuserrole
    help
    is in remote control
    isprogramsaved
    polyscopeversion
    programstate
    robotmode
    running
    safetymode
    safetystatus
    version]],
  session = [[
    quit]],
  interface = [[
    addtolog ...
    close popup
    popup ...]],
  file = [[
    generate flight report ...
    generate support file ...
    savelog]],
  program = [[
    load ...]],
  motion = [[
    play]],
  stop = [[
    pause
    power off
    stop]],
  safety = [[
    brake release
    clear operational mode
    close safety popup
    load installation ...
    power on
    restart safety
    set operational mode ...
    unlock protective stop]],
  privilege = [[
    setuserrole ...]],
  shutdown = [[
    shutdown]],
}
-- Class and whether an argument follows, by command; and the most words that one has.
local known, most_words = {}, 0
for class, lines in pairs(COMMANDS) do
  for line in string.gmatch(lines, "[^\n]+") do
    local name, dots = string.match(line, "^%s*(.-)%s*(%.*)$")
    known[name] = { class = class, takes = dots == "..." }
    local _, blanks = string.gsub(name, " ", "")
    most_words = math.max(most_words, blanks + 1)
  end
end

-- How answers begin that say no.
local FAILURES = {
  "failed to execute",
  "could not understand",
  "command is not allowed",
  "not in remote control",
  "file not found",
  "failed",
  "error",
  "cannot",
  "no log",
}
local GREETING = "connected: universal robots dashboard server"

local urdash = Proto("urdash", "Universal Robots Dashboard")

local f = {
  line = ProtoField.string("urdash.line", "Line"),
  command = ProtoField.string("urdash.command", "Command"),
  class = ProtoField.string("urdash.class", "Class"),
  argument = ProtoField.string("urdash.argument", "Argument"),
  answer = ProtoField.string("urdash.answer", "Answer"),
  answers = ProtoField.string("urdash.answers", "Answers"),
  greeting = ProtoField.bool("urdash.greeting", "Greeting"),
  failed = ProtoField.bool("urdash.failed", "Failed"),
  request_frame = ProtoField.framenum("urdash.request_frame", "Command in frame", base.NONE, frametype.REQUEST),
  answer_frame = ProtoField.framenum("urdash.answer_frame", "Answer in frame", base.NONE, frametype.RESPONSE),
}
urdash.fields = shared.list(f)

local e = {
  malformed = ProtoExpert.new("urdash.malformed", "No line", expert.group.MALFORMED, expert.severity.ERROR),
  control = ProtoExpert.new("urdash.control_byte", "Control byte", expert.group.SECURITY, expert.severity.WARN),
  shell = ProtoExpert.new("urdash.shell", "Shell metacharacter", expert.group.SECURITY, expert.severity.WARN),
  unknown = ProtoExpert.new("urdash.unknown", "Unknown command", expert.group.PROTOCOL, expert.severity.NOTE),
  argument = ProtoExpert.new("urdash.bad_argument", "Argument", expert.group.PROTOCOL, expert.severity.NOTE),
  empty = ProtoExpert.new("urdash.empty", "Empty line", expert.group.PROTOCOL, expert.severity.NOTE),
  failed = ProtoExpert.new("urdash.no", "The robot says no", expert.group.RESPONSE_CODE, expert.severity.NOTE),
  unasked = ProtoExpert.new("urdash.unasked", "Nothing asked for this", expert.group.SEQUENCE, expert.severity.NOTE),
}
urdash.experts = shared.list(e)

local connections = {}
function urdash.init()
  connections = {}
end

local function new_connection()
  return { waiting = shared.queue(), requests = {} }
end

local function trim(text)
  return string.match(text, "^ *(.-) *$")
end

-- The command with the most words that `line` begins with, what is known of it, and its argument.
local function command_of(line)
  local name, found, argument
  local words, at = {}, 1
  while #words < most_words do
    local word, next_at = string.match(line, "^([^ ]+) *()", at)
    if not word then
      break
    end
    words[#words + 1] = string.lower(word)
    at = next_at
    local joined = table.concat(words, " ")
    if known[joined] then
      name, found, argument = joined, known[joined], string.sub(line, at)
    end
  end
  return name, found, argument
end

local function begins(text, prefix)
  return string.sub(string.lower(text), 1, #prefix) == prefix
end

-- The line at `at` without its end, and where that text lies.
local function text_of(tvb, at, length)
  local text = tvb:raw(at, length - 1)
  return (string.gsub(text, "\r$", ""))
end

local function show_command(tvb, pinfo, at, length, tree, connection)
  local text = text_of(tvb, at, length)
  local line = trim(text)
  local name, found, argument = command_of(line)
  local item = tree:add(f.line, tvb(at, length), shared.text(text))
  if text == "" or line == "" then
    item:add_proto_expert_info(e.empty)
  elseif not name then
    item:add_proto_expert_info(e.unknown)
  end
  -- Tabs too: who splits at them reads another command.
  if string.find(text, "%c") then
    item:add_proto_expert_info(e.control)
  end
  if string.find(text, "[;|&`$()<>\\\"']") then
    item:add_proto_expert_info(e.shell)
  end
  local said = shared.text(line)
  if name then
    tree:add(f.command, tvb(at, length), name)
    tree:add(f.class, tvb(at, length), found.class)
    if argument ~= "" then
      item = tree:add(f.argument, tvb(at, length), shared.text(argument))
    end
    if (argument ~= "") ~= found.takes then
      item:add_proto_expert_info(e.argument, found.takes and "An argument is missing" or "It takes no argument")
    end
  end
  local key = shared.key(tvb, pinfo, at, length)
  if not pinfo.visited then
    local request = { frame = pinfo.number, said = name or said }
    connection.waiting:push(request)
    connection.requests[key] = request
  end
  local request = connection.requests[key]
  if request and request.answer then
    shared.generated(tree:add(f.answer_frame, request.answer))
  end
  return said
end

local function show_answer(tvb, pinfo, at, length, tree, connection)
  local text = text_of(tvb, at, length)
  local item = tree:add(f.answer, tvb(at, length), shared.text(text))
  if begins(text, GREETING) then
    shared.generated(tree:add(f.greeting, true))
    return shared.text(text)
  end
  for _, failure in ipairs(FAILURES) do
    if begins(text, failure) then
      shared.generated(tree:add(f.failed, true))
      item:add_proto_expert_info(e.failed)
      break
    end
  end
  local key = shared.key(tvb, pinfo, at, length)
  if not pinfo.visited then
    local request = connection.waiting:pop()
    if request then
      request.answer = pinfo.number
      connection.requests[key] = request
    end
  end
  local request = connection.requests[key]
  if request then
    shared.generated(tree:add(f.answers, request.said))
    shared.generated(tree:add(f.request_frame, request.frame))
  else
    item:add_proto_expert_info(e.unasked)
  end
  return shared.text(text)
end

function urdash.dissector(tvb, pinfo, root)
  local toward_robot = shared.toward_listener(pinfo, PORTS)
  local connection = shared.connection(connections, new_connection)
  local summary = shared.summary("URDASH")
  local read = toward_robot and show_command or show_answer
  local function show(at, length, shown)
    local tree = shown and root:add(urdash, tvb(at, length)) or shared.nothing
    local said = read(tvb, pinfo, at, length, tree, connection)
    tree:append_text(", " .. shared.brief(said, 200))
    shared.say(summary, said)
  end
  local function fail(at, why)
    root:add(urdash, tvb(at)):add_proto_expert_info(e.malformed, why)
    shared.say(summary, why)
  end
  local step = shared.lines(tvb, toward_robot and MOST_COMMAND or MOST_ANSWER)
  local count = shared.walk(tvb, pinfo, step, show, fail)
  shared.conclude(summary, pinfo, root, count)
  return tvb:len()
end

local tcp_ports = DissectorTable.get("tcp.port")
for port in pairs(PORTS) do
  tcp_ports:add(port, urdash)
end
