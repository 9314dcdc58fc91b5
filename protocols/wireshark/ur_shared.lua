-- What the dissectors of this folder share: which way a segment travels, units over TCP segments, and what a connection
-- agreed on, kept so that a packet reads the same whenever and in whatever order it is looked at.
--
-- The others load this file with `dofile`; loaded as a plugin of its own, as Wireshark does with every file of the folder,
-- it does nothing.

local shared = {}

-- Units of one call that get a tree of their own. A segment of a megabyte can hold a million of them, and Wireshark gives
-- up a packet with a million items; those beyond are read all the same, for what they agree on.
shared.MOST_SHOWN = 2000

-- Requests of a connection that wait for their answer; the oldest is given up where there are more.
shared.MOST_WAITING = 1024

-- Numbers that RTDE and the client interfaces have in common.
shared.ROBOT_MODES = {
  [-1] = "NO_CONTROLLER",
  [0] = "DISCONNECTED",
  [1] = "CONFIRM_SAFETY",
  [2] = "BOOTING",
  [3] = "POWER_OFF",
  [4] = "POWER_ON",
  [5] = "IDLE",
  [6] = "BACKDRIVE",
  [7] = "RUNNING",
  [8] = "UPDATING_FIRMWARE",
}
shared.SAFETY_MODES = {
  [1] = "NORMAL",
  [2] = "REDUCED",
  [3] = "PROTECTIVE_STOP",
  [4] = "RECOVERY",
  [5] = "SAFEGUARD_STOP",
  [6] = "SYSTEM_EMERGENCY_STOP",
  [7] = "ROBOT_EMERGENCY_STOP",
  [8] = "VIOLATION",
  [9] = "FAULT",
  [10] = "VALIDATE_JOINT_ID",
  [11] = "UNDEFINED_SAFETY_MODE",
  [12] = "AUTOMATIC_MODE_SAFEGUARD_STOP",
  [13] = "SYSTEM_THREE_POSITION_ENABLING_STOP",
  [14] = "TP_THREE_POSITION_ENABLING_STOP",
}
shared.PROGRAM_STATES =
  { [0] = "STOPPING", [1] = "STOPPED", [2] = "PLAYING", [3] = "PAUSING", [4] = "PAUSED", [5] = "RESUMING" }

local tcp_stream = Field.new("tcp.stream")

-- What is kept of the connection that the segment belongs to, made by `new` where there is nothing yet.
function shared.connection(kept, new)
  local streams = { tcp_stream() }
  -- The innermost, where TCP travels in a tunnel.
  local number = #streams > 0 and streams[#streams].value or 0
  local connection = kept[number]
  if not connection then
    connection = new()
    kept[number] = connection
  end
  return connection
end

-- Whether the segment travels to the end that listens. `ports` are the listening ones; for others, as "Decode As" has them,
-- it is the port by which the dissector was chosen.
function shared.toward_listener(pinfo, ports)
  local from, to = pinfo.src_port, pinfo.dst_port
  if (ports[to] ~= nil) ~= (ports[from] ~= nil) then
    return ports[to] ~= nil
  end
  -- Where both are known, the dissector was chosen by the lower one, so the higher one is a chance number.
  if ports[to] and from ~= to then
    return to < from
  end
  return pinfo.match ~= from
end

-- Walks over the units of `tvb`. `step(at, left)` gives the length of the unit at `at`, or nil and how many bytes it has in
-- all, where that is known, or nil, nil and why it is none. `show(at, length, shown)` takes a unit, `fail(at, why)` what
-- can't be read further.
--
-- A length that is not the last word, such as that of the header, must not be asked for: TCP would have to put the same
-- segment together twice, which Wireshark shows the first time only.
function shared.walk(tvb, pinfo, step, show, fail)
  local len, at, count = tvb:len(), 0, 0
  while at < len do
    local length, needed, why = step(at, len - at)
    if why then
      fail(at, why)
      break
    end
    if length and length > len - at then
      length, needed = nil, length
    end
    if length then
      count = count + 1
      show(at, length, count <= shared.MOST_SHOWN)
      at = at + length
    elseif tvb:reported_len() > len then
      fail(at, "the capture has only a part of this packet")
      break
    elseif pinfo.can_desegment > 0 then
      pinfo.desegment_offset = at
      pinfo.desegment_len = needed and needed - (len - at) or DESEGMENT_ONE_MORE_SEGMENT
      break
    else
      fail(at, "ends before the unit does")
      break
    end
  end
  return count
end

-- A `step` of `walk` for lines of at most `most` bytes with their ends.
function shared.lines(tvb, most)
  local bytes = tvb:raw()
  return function(at, left)
    local last = string.find(bytes, "\n", at + 1, true)
    local length = last and last - at
    if (length or left) > most or (not length and left >= most) then
      return nil, nil, string.format("a line longer than %d bytes", most)
    end
    return length
  end
end

-- A name for a unit that is the same in every pass. A frame can bring several buffers one after the other, and how long
-- one is can differ: a later look has no more in it than was used by the first.
function shared.key(tvb, pinfo, at, length)
  -- Not by "%s", which ends at a zero byte in older versions of Lua.
  return string.format("%d/%d/%d/", pinfo.number, at, length) .. tvb:raw(at, math.min(length, 16))
end

-- Something that a connection agreed on, over time. Set while packets are read in order for the first time; afterwards
-- asked in any order.
local History = {}
History.__index = History

function shared.history(first)
  return setmetatable({ frames = {}, values = {}, exact = {}, first = first }, History)
end

function History:set(pinfo, value)
  local count = #self.frames
  if self.frames[count] ~= pinfo.number then
    count = count + 1
    self.frames[count] = pinfo.number
  end
  self.values[count] = value
end

-- What holds for the unit called `key`.
function History:get(pinfo, key)
  local count = #self.frames
  if not pinfo.visited then
    if count == 0 then
      return self.first
    end
    local value = self.values[count]
    if self.frames[count] == pinfo.number then
      -- It changed in this very frame, before this unit.
      self.exact[key] = { value }
    end
    return value
  end
  local exact = self.exact[key]
  if exact then
    return exact[1]
  end
  -- The last change before this frame.
  local low, high = 0, count
  while low < high do
    local middle = math.floor((low + high + 1) / 2)
    if self.frames[middle] < pinfo.number then
      low = middle
    else
      high = middle - 1
    end
  end
  if low == 0 then
    return self.first
  end
  return self.values[low]
end

-- Requests in order, each waiting for its answer.
local Queue = {}
Queue.__index = Queue

function shared.queue()
  return setmetatable({ head = 1, tail = 0 }, Queue)
end

function Queue:push(item)
  self.tail = self.tail + 1
  self[self.tail] = item
  if self.tail - self.head >= shared.MOST_WAITING then
    self:pop()
  end
end

function Queue:pop()
  local item = self[self.head]
  if item ~= nil then
    self[self.head] = nil
    self.head = self.head + 1
  end
  return item
end

local function hex(byte)
  return string.format("\\x%02x", string.byte(byte))
end

-- Where a character of several bytes ends that begins at `at`, in UTF-8; nil where none does.
local function character_end(bytes, at)
  local first, second = string.byte(bytes, at, at + 1)
  local more = (first >= 0xc2 and first <= 0xdf) and 1 or (first >= 0xe0 and first <= 0xef) and 2
    or (first >= 0xf0 and first <= 0xf4) and 3
  if not more or not string.find(bytes, "^" .. string.rep("[\128-\191]", more), at + 1) then
    return nil
  end
  -- Longer than needed, a surrogate, or beyond the last character.
  if (first == 0xe0 and second < 0xa0) or (first == 0xed and second > 0x9f) or (first == 0xf0 and second < 0x90)
    or (first == 0xf4 and second > 0x8f) then
    return nil
  end
  return at + more
end

-- Bytes as text for people: what is no printable character of UTF-8 is shown as \xNN.
function shared.text(bytes)
  if not string.find(bytes, "[^\32-\126]") then
    return bytes
  end
  local parts, at = {}, 1
  while at <= #bytes do
    local plain = string.match(bytes, "^[\32-\126]+", at)
    if plain then
      parts[#parts + 1] = plain
      at = at + #plain
    else
      local byte = string.byte(bytes, at)
      local last = byte >= 0x80 and character_end(bytes, at)
      -- C2 80 to C2 9F are control characters too.
      if last and not (byte == 0xc2 and string.byte(bytes, at + 1) < 0xa0) then
        parts[#parts + 1] = string.sub(bytes, at, last)
        at = last + 1
      else
        parts[#parts + 1] = hex(string.sub(bytes, at, at))
        at = at + 1
      end
    end
  end
  return table.concat(parts)
end

-- A number so that the same number is read from it.
function shared.number(value)
  if value ~= value then
    return "nan"
  end
  local short = string.format("%.15g", value)
  if tonumber(short) == value then
    return short
  end
  return string.format("%.17g", value)
end

-- The first words of a long text.
function shared.brief(text, most)
  if #text <= most then
    return text
  end
  -- Not in the middle of a character.
  local cut = string.gsub(string.sub(text, 1, most), "[\192-\255][\128-\191]*$", "")
  return cut .. "..."
end

-- Notes what one packet says, for the packet list; `conclude` shows it, after `count` units.
function shared.summary(name)
  return { name = name, parts = {}, more = 0 }
end

function shared.say(summary, text)
  if #summary.parts < 6 then
    summary.parts[#summary.parts + 1] = shared.brief(text, 120)
  else
    summary.more = summary.more + 1
  end
end

function shared.conclude(summary, pinfo, root, count)
  if count > shared.MOST_SHOWN then
    root:add(string.format("%s: %d more units, read but not shown", summary.name, count - shared.MOST_SHOWN))
  end
  if #summary.parts == 0 then
    return
  end
  local text = table.concat(summary.parts, " | ")
  if summary.more > 0 then
    text = text .. string.format(" | and %d more", summary.more)
  end
  -- Set by this dissector before, for another buffer of the same frame.
  if tostring(pinfo.cols.protocol) == summary.name then
    text = " | " .. text
  end
  pinfo.cols.protocol:set(summary.name)
  pinfo.cols.info:set(text)
  -- A frame can bring several buffers: what stands there stays.
  pinfo.cols.info:fence()
end

-- All fields of a table, for `Proto.fields`, whose order does not matter.
function shared.list(...)
  local all = {}
  for _, fields in ipairs({ ... }) do
    for _, field in pairs(fields) do
      all[#all + 1] = field
    end
  end
  return all
end

-- A tree that shows nothing, for what is read but not shown.
local nothing = {}
for _, name in ipairs({ "add", "add_proto_expert_info", "append_text", "set_generated", "set_text" }) do
  nothing[name] = function()
    return nothing
  end
end
shared.nothing = nothing

-- Marks an item as not on the wire.
function shared.generated(item)
  item:set_generated()
  return item
end

return shared
