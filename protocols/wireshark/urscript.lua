-- URScript toward Universal Robots controllers: what clients send to 30001 to 30003, to the interpreter on 30020, and what a
-- computer of external control hands over on 50002, where it listens and the robot asks. Also the interpreter's lines back.
--
-- Source: the maker's script manual and "Remote Control Via TCP/IP", and public clients. A unit is what the controller
-- starts to execute at once: a program, a statement outside of any, or one of the bare commands that are no URScript.
--
-- Where the same text can be framed in several ways (a backslash before a quote, strings over a line end) one of them is
-- followed: a backslash is a character like any other, and a line end in a string or a bracket is a blank.
--
-- 30001 to 30003 and their read-only twins belong to `urclient.lua`, which hands the text over to this file.

local shared = dofile(__DIR__ .. package.config:sub(1, 1) .. "ur_shared.lua")

local INTERPRETER, SENDER = 30020, 50002
local PORTS = {
  [30001] = true,
  [30002] = true,
  [30003] = true,
  [30011] = true,
  [30012] = true,
  [30013] = true,
  [INTERPRETER] = true,
  [SENDER] = true,
}
local READ_ONLY = { [30011] = true, [30012] = true, [30013] = true }

-- Longest unit, longest line of the interpreter in bytes; deepest nesting of blocks and of brackets.
local MOST_UNIT, MOST_REPLY, MOST_DEPTH = 1048576, 8192, 64
-- Functions, assignments and connections of one unit that are listed.
local MOST_LISTED = 256

local function set(words)
  local all = {}
  for word in string.gmatch(words, "%S+") do
    all[word] = true
  end
  return all
end

-- Keywords by what they do to the structure of a text.
local OPENS = set("def sec thread if while")
local GOES_ON = set("global local join kill run and or xor not")
local KEYWORDS = set([[def sec thread if while end elif else global local join kill run return halt break continue
  enter_critical exit_critical and or xor not True False]])
-- Statements that act like calls.
local ACTS = set("halt run kill join enter_critical exit_critical")

local BARE = [[
brake release
pause program
power off
power on
restart safetyboard
resume program
run program
set real
set robotmode freedrive
set robotmode run
set sim
set speed
set unlock protective stop
stop program]]
local bare = {}
for line in string.gmatch(BARE, "[^\n]+") do
  bare[line] = true
end
local CONTROLS = set("abort skipbuffer statelastcleared statelastexecuted statelastinterpreted stateunexecuted")

local urscript = Proto("urscript", "URScript")

local f = {
  kind = ProtoField.string("urscript.kind", "Kind"),
  name = ProtoField.string("urscript.name", "Name"),
  line = ProtoField.string("urscript.line", "First line"),
  length = ProtoField.uint32("urscript.length", "Length"),
  called = ProtoField.string("urscript.function", "Function"),
  method = ProtoField.string("urscript.method", "Method"),
  assign = ProtoField.string("urscript.assign", "Assigns"),
  connect = ProtoField.string("urscript.connect", "Connects to"),
  bare = ProtoField.string("urscript.bare", "Bare command"),
  more = ProtoField.bool("urscript.more", "More than is listed"),
  request = ProtoField.string("urscript.request", "Request for a program"),
  reply = ProtoField.string("urscript.reply", "Interpreter"),
  about = ProtoField.string("urscript.reply.about", "Id, reason or number"),
  statement = ProtoField.string("urscript.reply.statement", "Statement"),
}
urscript.fields = shared.list(f)

local e = {
  malformed = ProtoExpert.new("urscript.malformed", "No URScript", expert.group.MALFORMED, expert.severity.ERROR),
  discard = ProtoExpert.new("urscript.discard", "Discarded", expert.group.RESPONSE_CODE, expert.severity.WARN),
  bare = ProtoExpert.new("urscript.is_bare", "Bare command", expert.group.REQUEST_CODE, expert.severity.CHAT),
  read_only = ProtoExpert.new("urscript.read_only", "Read-only port", expert.group.PROTOCOL, expert.severity.NOTE),
}
urscript.experts = shared.list(e)

local connections = {}
function urscript.init()
  connections = {}
end

local function new_connection()
  return {}
end

-- The command words of a line: without a comment, in lower case, with single blanks.
local function words_of(line)
  line = string.match(line, "^[^#$]*")
  return (string.gsub(string.lower(string.match(line, "^%s*(.-)%s*$")), "%s+", " "))
end

local function bare_of(line, interpreter)
  local words = words_of(line)
  if interpreter then
    return CONTROLS[words] and words or nil
  end
  local value = string.match(words, "^set speed ([%d.e+-]+)$")
  if value and tonumber(value) then
    return "set speed"
  end
  return words ~= "set speed" and bare[words] and words or nil
end

-- Reads one unit, line by line; what it has read of a unit that is not whole yet is kept.
local Reading = {}
Reading.__index = Reading

local function new_reading(interpreter)
  return setmetatable({
    interpreter = interpreter,
    -- Bytes read; always whole lines.
    done = 0,
    depth = 0,
    brackets = 0,
    tokens = 0,
    -- What a call or an index would belong to, and what the open brackets index.
    before = "other",
    indexed = {},
    listed = 0,
    seen = {},
    found = {},
  }, Reading)
end

function Reading:list(field, what)
  local mark = field .. "\0" .. what
  if what == "" or self.seen[mark] then
    return
  elseif self.listed >= MOST_LISTED then
    self.more = true
    return
  end
  self.seen[mark] = true
  self.listed = self.listed + 1
  self.found[#self.found + 1] = { field, what }
end

-- What stands in quotes where a call names its target; `rest` is what follows the bracket on its line.
local function target(name, rest)
  if name == "socket_open" then
    local host, port = string.match(rest, "^%s*[\"']([^\"']*)[\"']%s*,%s*(%d+)")
    return host and host .. ":" .. port or string.match(rest, "^%s*[\"']([^\"']*)[\"']")
  elseif name == "rpc_factory" then
    return string.match(rest, "^%s*[\"'][^\"']*[\"']%s*,%s*[\"']([^\"']*)[\"']")
  elseif string.find(name, "^modbus_add_") or name == "modbus_send_custom_command" then
    return string.match(rest, "^%s*[\"']([^\"']*)[\"']")
  end
end

function Reading:call(rest)
  local before, name = self.before, self.word
  if before == "member" then
    self:list("method", self.object .. "." .. name)
  elseif before == "name" or before == "indexed" then
    self:list("called", name)
    local to = before == "name" and target(name, rest)
    if to then
      self:list("connect", to)
    end
  end
end

-- Notes a token; the first ones say what the unit is.
function Reading:token(kind, word)
  self.tokens = self.tokens + 1
  if self.tokens == 1 then
    self.first = kind
  elseif self.tokens == 2 and kind == "name" and (self.first == "def" or self.first == "sec") then
    self.name = word
  end
end

function Reading:take_word(word)
  local keyword = KEYWORDS[word]
  self:token(not keyword and "name" or word, word)
  self.open_ended = GOES_ON[word] == true
  if not keyword then
    if self.before == "point" then
      self.before = "member"
    else
      self.before = self.before == "definition" and "other" or "name"
    end
    self.word = word
    return
  end
  self.before = (word == "def" or word == "sec" or word == "thread") and "definition" or "other"
  if ACTS[word] then
    self:list("called", word)
  end
  if OPENS[word] then
    self.depth = self.depth + 1
  elseif word == "end" then
    self.depth = math.max(self.depth - 1, 0)
  end
end

function Reading:open(symbol, rest)
  self:token("bracket")
  self.open_ended = false
  self.brackets = self.brackets + 1
  local what = false
  if symbol == "(" then
    self:call(rest)
  elseif self.before == "name" or self.before == "member" or self.before == "indexed" then
    what = self.word
  elseif self.before == "value" then
    what = ""
  end
  self.indexed[#self.indexed + 1] = what
  self.before = "other"
end

function Reading:close(symbol)
  self:token("value")
  self.open_ended = false
  self.brackets = math.max(self.brackets - 1, 0)
  local what = table.remove(self.indexed)
  if symbol == "]" and what then
    self.before, self.word = "indexed", what
  else
    self.before = "value"
  end
end

function Reading:operator(symbol, following)
  local number = self.last_number and symbol == "."
  self:token(number and "number" or "operator")
  self.open_ended = not number and symbol ~= ":"
  if symbol == "=" and self.before == "indexed" then
    self:list("assign", self.word)
  end
  local named = self.before == "name" or self.before == "indexed" or self.before == "member"
  if symbol == "." and not number and (named or self.before == "value") then
    self.object = named and self.word or ""
    self.before = "point"
  elseif not (string.find(symbol, "^[-+*/%%]$") and self.before == "indexed" and following == "=") then
    self.before = "other"
  end
  self.last_number = number
end

-- Reads the tokens of one line, given without its end.
function Reading:read_line(line)
  local at, len = 1, #line
  while at <= len do
    if self.quote then
      local last = string.find(line, self.quote, at, true)
      if not last then
        return
      end
      self.quote = nil
      at = last + 1
    else
      at = string.match(line, "^[ \t\r]*()", at)
      local symbol = string.sub(line, at, at)
      local word = string.match(symbol, "[%w_]") and string.match(line, "^[%w_]+", at)
      local last_number = self.last_number
      self.last_number = nil
      if symbol == "" or symbol == "#" or symbol == "$" then
        return
      elseif word then
        if string.find(word, "^%d") then
          self:token("number")
          self.open_ended, self.before, self.last_number = false, "other", true
        else
          self:take_word(word)
        end
        at = at + #word
      elseif symbol == '"' or symbol == "'" then
        self:token("value")
        self.open_ended, self.before, self.quote = false, "other", symbol
        at = at + 1
      elseif symbol == "(" or symbol == "[" then
        self:open(symbol, string.sub(line, at + 1, at + 200))
        at = at + 1
      elseif symbol == ")" or symbol == "]" then
        self:close(symbol)
        at = at + 1
      elseif string.find(symbol, "[-+*/%%=!<>,.:]") then
        local two = string.match(line, "^[=!<>]=", at)
        self.last_number = last_number
        self:operator(two or symbol, string.sub(line, at + 1, at + 1))
        at = at + #(two or symbol)
      else
        self:token("operator")
        self.open_ended, self.before = false, "other"
        at = at + 1
      end
      if self.depth > MOST_DEPTH or self.brackets > MOST_DEPTH then
        self.failed = "nested deeper than any controller is known to go"
        return
      end
    end
  end
end

-- Reads on in `bytes`, where the unit begins behind `at`. True where it ends within them; `done` then is its length.
function Reading:run(bytes, at)
  while true do
    local line_start = at + self.done + 1
    local line_end = string.find(bytes, "\n", line_start, true)
    if (line_end or #bytes) - at > MOST_UNIT then
      self.failed = "a unit longer than a megabyte"
    end
    if self.failed or not line_end then
      return false
    end
    local line = string.sub(bytes, line_start, line_end - 1)
    local nothing_before = self.tokens == 0
    self:read_line(line)
    self.done = line_end - at
    if self.failed then
      return false
    end
    if nothing_before and (self.first == "name" or self.first == "run") then
      self.bare = bare_of(line, self.interpreter)
      if self.bare then
        self.open_ended = false
      end
    end
    if not self.quote and self.depth == 0 and self.brackets == 0 and not self.open_ended then
      return true
    end
  end
end

function Reading:kind()
  if self.tokens == 0 then
    return "blank"
  elseif self.interpreter then
    return "interpreter"
  elseif self.bare then
    return "bare"
  end
  return self.first == "def" and "program" or self.first == "sec" and "secondary" or "statement"
end

-- A line without any token outside of programs; a text can have a million of them.
local BLANK = new_reading(false)

-- A `step` of `walk` that finds units; `readings` gets what was read, by place.
local function step(tvb, pinfo, connection, interpreter, readings)
  local bytes = tvb:raw()
  return function(at)
    -- A long program comes in hundreds of segments, each time with all of it: go on where the last one ended.
    local kept, reading = connection.kept, nil
    connection.kept = nil
    local blank = string.match(bytes, "^[ \t\r]*\n()", at + 1)
    if blank then
      readings[at] = BLANK
      return blank - at - 1
    end
    if kept and not pinfo.visited and #bytes - at >= kept.reading.done and kept.reading.interpreter == interpreter
      and string.sub(bytes, at + 1, at + #kept.head) == kept.head
      and string.sub(bytes, at + kept.reading.done - #kept.tail + 1, at + kept.reading.done) == kept.tail then
      reading = kept.reading
    else
      reading = new_reading(interpreter)
    end
    if reading:run(bytes, at) then
      readings[at] = reading
      return reading.done
    elseif reading.failed then
      return nil, nil, reading.failed
    end
    if not pinfo.visited and reading.done > 0 then
      connection.kept = {
        reading = reading,
        head = string.sub(bytes, at + 1, at + math.min(reading.done, 64)),
        tail = string.sub(bytes, at + math.max(reading.done - 64, 0) + 1, at + reading.done),
      }
    end
    return nil
  end
end

local function show_unit(tvb, at, length, tree, reading, port)
  local range, kind = tvb(at, length), reading:kind()
  local text = tvb:raw(at, math.min(length, 4096))
  local line = shared.text(string.match(text, "^%s*([^\r\n]*)") or "")
  line = string.match(line, "^(.-)%s*$")
  tree:add(f.kind, range, kind)
  if reading.name and (kind == "program" or kind == "secondary") then
    tree:add(f.name, range, reading.name)
  end
  if line ~= "" then
    tree:add(f.line, range, line)
  end
  shared.generated(tree:add(f.length, range, length))
  if reading.bare then
    tree:add(f.bare, range, reading.bare):add_proto_expert_info(e.bare, "Bare command: " .. reading.bare)
  else
    for _, found in ipairs(reading.found) do
      tree:add(f[found[1]], range, shared.text(found[2]))
    end
    if reading.more then
      shared.generated(tree:add(f.more, true))
    end
  end
  if READ_ONLY[port] then
    tree:add_proto_expert_info(e.read_only, "A read-only port takes no text")
  end
  return kind == "blank" and "blank" or kind .. " " .. line
end

-- A line of the interpreter: `ack: 1: statement`, `discard: reason: statement`, `state: 1: command`.
local function show_reply(tvb, at, length, tree)
  local text = string.match(tvb:raw(at, length), "^(.-)\r?\n$")
  local range = tvb(at, length)
  local kind, about, statement = string.match(text, "^%s*(%a+)%s*:%s*([^:]-)%s*:%s*(.-)%s*$")
  if kind ~= "ack" and kind ~= "discard" and kind ~= "state" then
    tree:add(f.reply, range, shared.text(text))
    return shared.text(text)
  end
  local item = tree:add(f.reply, range, kind)
  if kind == "discard" then
    item:add_proto_expert_info(e.discard)
  end
  if about ~= "" then
    tree:add(f.about, range, shared.text(about))
  end
  if statement ~= "" then
    tree:add(f.statement, range, shared.text(statement))
  end
  return shared.text(text)
end

local function show_request(tvb, at, length, tree)
  local text = shared.text(string.match(tvb:raw(at, length), "^(.-)\r?\n$"))
  tree:add(f.request, tvb(at, length), text)
  return text
end

function urscript.dissector(tvb, pinfo, root)
  local toward_listener = shared.toward_listener(pinfo, PORTS)
  local port = toward_listener and pinfo.dst_port or pinfo.src_port
  -- On 50002 the computer listens, and what it sends is what the robot executes.
  local toward_robot = toward_listener ~= (port == SENDER)
  if not toward_robot and port ~= SENDER and port ~= INTERPRETER then
    return 0
  end
  local connection = shared.connection(connections, new_connection)
  local summary = shared.summary("URSCRIPT")
  local readings = {}
  local function show(at, length, shown)
    local reading = readings[at]
    readings[at] = nil
    if not shown then
      return
    end
    local tree, said = root:add(urscript, tvb(at, length)), nil
    if toward_robot then
      said = show_unit(tvb, at, length, tree, reading, port)
    else
      said = (port == SENDER and show_request or show_reply)(tvb, at, length, tree)
    end
    tree:append_text(", " .. shared.brief(said, 200))
    shared.say(summary, said)
  end
  local function fail(at, why)
    root:add(urscript, tvb(at)):add_proto_expert_info(e.malformed, why)
    shared.say(summary, why)
  end
  local next_unit
  if toward_robot then
    next_unit = step(tvb, pinfo, connection, port == INTERPRETER, readings)
  else
    next_unit = shared.lines(tvb, MOST_REPLY)
  end
  local count = shared.walk(tvb, pinfo, next_unit, show, fail)
  shared.conclude(summary, pinfo, root, count)
  return tvb:len()
end

-- 30001 to 30003 send packages and records back: `urclient.lua` has them.
local tcp_ports = DissectorTable.get("tcp.port")
tcp_ports:add(INTERPRETER, urscript)
tcp_ports:add(SENDER, urscript)
