#!/usr/bin/env python3
"""A second verifier of evidence stores, written from src/manual/evidence-format.md alone.

verify_evidence.py PATH [--key FILE] [--witness FILE]... [--counter N] [--identity FILE] [--events FILE]

PATH is a folder or an export (tar). Prints one JSON object; exit codes: 0 sound, 1 can't be read, 4 not sound.
With --identity, an auditor's secret key, encrypted segments are read too, and --events gets the events of all segments,
a line each. Plain and slow on purpose: it holds whole files in memory and computes each root from all leaves.
"""

import argparse
import base64
import copy
import hashlib
import json
import pathlib
import re
import struct
import sys
import tarfile
import zlib

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

LONGEST_BLOCK = 16 << 20


class NotSound(Exception):
    """The store is altered, or something is missing."""


class CannotRead(Exception):
    """There is no answer."""


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def demand(holds, why):
    if not holds:
        raise NotSound(why)


def decimal(text):
    demand(re.fullmatch("0|[1-9][0-9]*", text) is not None, f"{text!r} is no number")
    return int(text)


def unbase64(text):
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise NotSound(f"{text!r} is no base64") from error
    demand(base64.b64encode(raw).decode() == text, "base64 that can be written in another way")
    return raw


class Key:
    """NAME+HHHHHHHH+BASE64"""

    def __init__(self, line):
        self.line = line
        match = re.fullmatch(r"(\S+?)\+([0-9a-f]{8})\+(\S+)", line)
        demand(match, "the key's line is malformed")
        self.name, key_id, encoded = match.groups()
        raw = unbase64(encoded)
        demand(len(raw) == 33 and raw[0] == 1, "the key is not of the kind Ed25519")
        self.id = sha256(self.name.encode(), b"\n", raw)[:4]
        demand(self.id.hex() == key_id, "the key's id is not that of its name and bytes")
        self.key = Ed25519PublicKey.from_public_bytes(raw[1:])


def checkpoint(note, key, alone=True):
    """Reads a signed checkpoint; None where it is another box's."""
    try:
        text, signatures = note.decode().rsplit("\n\n", 1)
    except ValueError as error:
        raise NotSound("a checkpoint is malformed") from error
    text += "\n"
    if text.split("\n")[0] != key.name:
        return None
    demand(signatures.endswith("\n"), "a checkpoint is cut short")
    found = []
    for line in signatures[:-1].split("\n"):
        match = re.fullmatch("\u2014 (\\S+) (\\S+)", line)
        demand(match, "a checkpoint's signature is malformed")
        raw = unbase64(match[2])
        if match[1] == key.name and raw[:4] == key.id:
            found.append(raw[4:])
        else:
            demand(not alone, "a checkpoint is signed with another key")
    demand(len(found) == 1, "a checkpoint is not signed once with the box's key")
    try:
        key.key.verify(found[0], text.encode())
    except InvalidSignature as error:
        raise NotSound("a checkpoint's signature does not hold") from error
    match = re.fullmatch(r"[^\n]+\n(\d+)\n(\S+)\ntime_ns (\d+)\nrecords (\d+)\ncounter (\d+)\n", text)
    demand(match, "a checkpoint's text is malformed")
    root = unbase64(match[2])
    demand(len(root) == 32, "a root is not 32 bytes long")
    names = ("leaves", "time_ns", "records", "counter")
    return {"root": root} | dict(zip(names, (decimal(match[at]) for at in (1, 3, 4, 5))))


class Tree:
    """Leaves behind a frontier. RFC 9162, 2.1.1."""

    def __init__(self, leaves=0, frontier=()):
        demand(bin(leaves).count("1") == len(frontier), "a frontier has not as many hashes as its leaves need")
        self.first = leaves
        self.stack = []
        for bit in reversed(range(leaves.bit_length())):
            if leaves >> bit & 1:
                self.stack.append((bit, frontier[len(self.stack)]))
        self.count = leaves

    def add(self, body):
        self.stack.append((0, sha256(b"\0", body)))
        self.count += 1
        while len(self.stack) > 1 and self.stack[-1][0] == self.stack[-2][0]:
            (height, right), (_, left) = self.stack.pop(), self.stack.pop()
            self.stack.append((height + 1, sha256(b"\1", left, right)))

    def root(self):
        if not self.stack:
            return sha256()
        result = self.stack[-1][1]
        for _, left in reversed(self.stack[:-1]):
            result = sha256(b"\1", left, result)
        return result

    def frontier(self):
        return [root for _, root in self.stack]


TRAILER = struct.Struct("<6QB7x16s5Q32s32s52xI")
FIELDS = "segment number first last monotonic wall clock boot received sent refused lost covered hash before crc"


def trailer(body):
    demand(len(body) == 232 == TRAILER.size, "a trailer is not 232 bytes long")
    demand(zlib.crc32(body[:228]) == struct.unpack("<I", body[228:])[0], "a trailer's CRC does not hold")
    return dict(zip(FIELDS.split(), TRAILER.unpack(body)))


def ours(payload):
    """Kind and body of a custom block's payload."""
    demand(len(payload) >= 12 and payload[:4] == b"VBR1" and payload[5:8] == b"\0\0\0", "a block of ours is malformed")
    length = struct.unpack("<I", payload[8:12])[0]
    body, rest = payload[12:12 + length], payload[12 + length:]
    demand(len(body) == length and len(rest) < 4 and not any(rest), "a block of ours is malformed")
    demand(payload[4] in (1, 2, 3, 4, 5), "a block of ours is of an unknown kind")
    return payload[4], body


def block_at(data, at):
    """(end, type, body) of the block; a text where none is whole, and whether it is cut short."""
    if at + 8 > len(data):
        return "a block is cut short", True
    kind, length = struct.unpack_from("<II", data, at)
    if length < 12 or length % 4 or length > LONGEST_BLOCK:
        return "a block's length cannot be", False
    if at + length > len(data):
        return "a block is cut short", True
    if struct.unpack_from("<I", data, at + length - 4)[0] != length:
        return "a block's two lengths differ", False
    return at + length, kind, data[at + 8:at + length - 4]


def blocks(data):
    at = 0
    while at < len(data):
        found = block_at(data, at)
        if len(found) == 2:
            return
        yield at, *found
        at = found[0]


def own_word(body):
    if b'"evidence"' not in body:
        return None
    try:
        word = json.loads(body)
    except ValueError as error:
        raise NotSound("a record is not JSON") from error
    return word if isinstance(word, dict) and "evidence" in word else None


SECTOR = 512


def has_hole(data, at, end):
    """Whether a sector of a block or of what is torn was never written."""
    while at < end:
        stop = (at // SECTOR + 1) * SECTOR
        if stop <= end and not any(data[at:stop]):
            return True
        at = stop
    return False


class Identity:
    """PRIVATE+KEY+NAME+HHHHHHHH+BASE64 of an auditor"""

    def __init__(self, line):
        match = re.fullmatch(r"PRIVATE\+KEY\+(\S+?)\+([0-9a-f]{8})\+(\S+)", line)
        if not match:
            raise CannotRead("this is no auditor's secret key")
        raw = unbase64(match[3])
        demand(len(raw) == 33 and raw[0] == 0x20, "the secret key is not of the kind X25519")
        self.secret = X25519PrivateKey.from_private_bytes(raw[1:])
        self.public = self.secret.public_key().public_bytes_raw()
        demand(sha256(b"\x20", self.public)[:4].hex() == match[2], "the secret key's id is not that of its bytes")


def data_key(body, number, key, identity):
    """Checks the block that wraps a segment's data key; the key, where it is wrapped to `identity`."""
    demand(body[:4] == b"\1\0\0\0", "a segment is encrypted in a way that is not known")
    demand(len(body) >= 80, "a block with a data key is malformed")
    count, segment = struct.unpack_from("<IQ", body, 4)
    demand(count > 0 and len(body) == 80 + 112 * count, "a block with a data key is malformed")
    demand(segment == number and body[16:48] == sha256(key.line.encode()), "a data key of another segment or box")
    for at in range(80, len(body), 112):
        public, wrapped = body[at:at + 32], body[at + 32:at + 112]
        if identity and public == identity.public:
            suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
            try:
                found = suite.decrypt(wrapped, identity.secret, info=b"vambrace evidence 1\n" + body[:80])
            except InvalidTag as error:
                raise NotSound("a data key can't be unwrapped") from error
            demand(sha256(b"vambrace evidence data key\n", found) == body[48:80], "a data key that nothing commits to")
            return found
    return None


SEALED = struct.Struct("<5Q4I")


class Here:
    """The place in the segment that is read."""

    def __init__(self, number):
        self.number = number
        self.at, self.start, self.sound = 0, 0, 0
        self.fresh, self.fresh_packets, self.word, self.ports, self.in_segment = 0, 0, None, 0, 0
        self.before, self.trailers = None, 0
        # A sector that was never written, behind the last checkpoint; what was known in front of bytes that are others.
        self.hole, self.doubt, self.final = False, None, False
        self.encrypted, self.key, self.sequence = False, None, 0


class Store:
    """What was read so far."""

    def __init__(self, key, base, witnesses, identity=None):
        self.identity, self.events, self.encrypted = identity, [], None
        self.key, self.base, self.witnesses = key, base, sorted(witnesses, key=lambda it: it["leaves"])
        self.tree = Tree(base["leaves"], base["frontier"])
        self.records, self.chain = base["records"], base["trailer"]
        self.run, self.closed, self.recovers = None, False, None
        self.seen = False
        self.signatures, self.signed, self.gaps, self.packets, self.unclosed, self.runs = 0, None, 0, 0, 0, 0
        self.marks, self.tail = [], 0
        self.ask_witnesses()

    def ask_witnesses(self):
        for held in self.witnesses:
            if held["leaves"] == self.tree.count:
                demand(held["root"] == self.tree.root(), "a witness holds another root")

    def segment(self, number, data, last):
        self.marks.append((self.tree.count, self.records, self.tree.frontier(), self.chain))
        here = Here(number)
        while here.at < len(data):
            found = block_at(data, here.at)
            if len(found) == 2:
                self.torn(data, here, *found, last)
                return
            here.hole |= has_hole(data, here.at, found[0])
            try:
                self.block(data, here, *found, last)
            except NotSound as error:
                demand(last and not self.has_ended(here) and not (here.final and not here.doubt), str(error))
                self.torn(data, here, str(error), None, last)
                return
            here.at = found[0]
        if here.doubt:
            demand(here.hole, here.doubt[0])
            return self.forgive(here, len(data))
        demand(last or here.before, "a segment does not end in a trailer")
        if not here.before:
            self.tail = len(data) - here.sound

    def has_ended(self, here):
        """In this segment, in order, and signed."""
        return self.closed and here.trailers and bool(self.signed) and self.signed["leaves"] == self.tree.count

    def forgive(self, here, length):
        """Goes back to what was known in front of what is in doubt."""
        _, state, sound = here.doubt
        self.__dict__.update(state)
        self.tail = length - sound

    def block(self, data, here, end, kind, body, last):
        """Reads the whole block at here.at."""
        at, number = here.at, here.number
        here.final = False
        demand(at or kind == 0x0A0D0D0A, "a segment does not begin with a section header")
        mine = ours(body[4:]) if kind == 0xBAD and body[:4] == struct.pack("<I", 32473) else (0, b"")
        demand(not (self.closed and here.before and mine[0] != 3), "something stands behind a close")
        demand(not (here.word and mine[0] != 2), "an own word does not end its evidence block")
        note = None
        if kind == 0x0A0D0D0A:
            demand(at == 0 and body[:4] == struct.pack("<I", 0x1A2B3C4D), "a section that may not stand here")
        elif kind == 1:
            here.ports += 1
        elif kind == 6:
            demand(not here.encrypted, "a packet in the clear in an encrypted segment")
            demand(struct.unpack("<I", body[:4])[0] < here.ports, "a packet of an interface that is not described")
            self.record(False)
            here.fresh, here.fresh_packets = here.fresh + 1, here.fresh_packets + 1
            here.in_segment += 1
        elif mine[0] == 1:
            here.word = own_word(mine[1])
            demand(here.word or not here.encrypted, "a record in the clear in an encrypted segment")
            self.events += [] if here.word else [mine[1]]
            opens = bool(here.word) and here.word["evidence"] == "open"
            demand(not opens or here.in_segment == 0, "an open in the middle of a segment")
            if self.recovers is not None:
                follows = here.word and here.word["evidence"] in ("open", "recovered")
                demand(follows, "no recovered behind an unclean open")
            self.record(opens)
            here.fresh, here.in_segment = here.fresh + 1, here.in_segment + 1
        elif mine[0] == 2:
            made = trailer(mine[1])
            demand(made["number"] == self.tree.count, "a block stands where another belongs")
            demand(made["before"] == self.chain, "a block does not follow the one before it")
            demand(made["segment"] == number, "a block belongs to another segment")
            expected = (self.records + 1, self.records + here.fresh)
            demand((made["first"], made["last"]) == expected, "records are missing")
            demand(made["covered"] == at - here.start, "a block is not as long as its trailer says")
            if made["hash"] != sha256(data[here.start:at]):
                why = "a block's bytes are not those that were written"
                demand(last and not self.has_ended(here), why)
                kept = {name: it for name, it in self.__dict__.items() if name not in ("key", "identity")}
                here.doubt = here.doubt or (why, copy.deepcopy(kept), here.sound)
            self.records, self.packets = self.records + here.fresh, self.packets + here.fresh_packets
            if here.word:
                here.final = True
                self.word(here.word, number)
                here.final = False
            here.fresh, here.fresh_packets, here.word = 0, 0, None
            self.tree.add(mine[1])
            self.chain = sha256(mine[1])
            self.ask_witnesses()
            here.start = here.sound = end
            here.trailers += 1
            note = b"trailer"
        elif mine[0] == 3:
            demand(here.before, "a checkpoint without a trailer in front")
            demand(here.before != mine[1], "a checkpoint stands there twice")
            self.checkpoint(mine[1])
            demand(not here.doubt, "what was signed was altered")
            here.sound, note, here.hole = end, mine[1], False
        elif mine[0] == 4:
            demand(not (here.encrypted or here.trailers or here.fresh), "a data key that may not stand here")
            here.key, here.encrypted = data_key(mine[1], number, self.key, self.identity), True
            self.encrypted = self.encrypted or {"segments": 0, "opened_segments": 0, "records": 0}
            self.encrypted["segments"] += 1
            self.encrypted["opened_segments"] += here.key is not None
        elif mine[0] == 5:
            self.sealed(here, mine[1])
        here.before = note

    def sealed(self, here, body):
        """Records and packets that are sealed."""
        demand(len(body) > SEALED.size + 16, "a sealed block is malformed")
        segment, block, first, sequence, _, records, packets, refused, zero = SEALED.unpack_from(body)
        demand(refused <= packets <= records and zero == 0, "a sealed block is malformed")
        demand(here.encrypted, "sealed records without a data key")
        place = (here.number, self.tree.count, self.records + here.fresh + 1)
        demand((segment, block, first) == place, "what is sealed belongs to another place")
        demand(here.sequence <= sequence < 2**64 - 1, "a nonce is used twice")
        here.sequence = sequence + 1
        if here.key:
            head, nonce = body[:SEALED.size], bytes(4) + struct.pack("<Q", sequence)
            try:
                plain = ChaCha20Poly1305(here.key).decrypt(nonce, body[SEALED.size:], head)
            except InvalidTag as error:
                raise NotSound("what is sealed does not open") from error
            demand(self.plain(here, plain) == [records, packets, refused], "a sealed block holds other than it says")
        if records:
            demand(self.recovers is None, "no recovered behind an unclean open")
            self.record(False)
            self.encrypted["records"] += records
            here.fresh, here.fresh_packets = here.fresh + records, here.fresh_packets + packets
            here.in_segment += records

    def plain(self, here, plain):
        """Counts what was sealed."""
        records, packets, refused, at = 0, 0, 0, 0
        while at < len(plain):
            found = block_at(plain, at)
            demand(len(found) == 3, "what is sealed is no row of whole blocks")
            at, kind, body = found
            if kind == 6:
                port = struct.unpack("<I", body[:4])[0]
                demand(port < here.ports, "a sealed packet of an interface that is not described")
                records, packets, refused = records + 1, packets + 1, refused + (port >= 2)
            elif kind == 0xBAD and body[:4] == struct.pack("<I", 32473):
                mine = ours(body[4:])
                demand(mine[0] == 1 and not own_word(mine[1]), "something is sealed that is no event")
                self.events.append(mine[1])
                records += 1
            else:
                demand(kind not in (1, 0x0A0D0D0A), "something is sealed that is neither record nor packet")
        return [records, packets, refused]

    def torn(self, data, here, why, cut, last):
        """No whole block at here.at; or one that is spoiled, where `cut` is None."""
        at = here.at
        demand(last, f"{why}, and the store goes on behind it")
        demand(not self.has_ended(here), f"{why}, behind a close")
        begin = struct.pack("<I", 32473) + b"VBR1\3\0\0\0"
        place = data.find(begin, at)
        while place >= 0:
            length = struct.unpack("<I", (data[place + 12:place + 16] + b"\0" * 4)[:4])[0]
            note, padded = data[place + 16:place + 16 + length], (length + 3) // 4 * 4
            stands_behind = cut is None or place != at + 8 or len(data) > place + 16 + padded + 4
            if len(note) == length and stands_behind:
                try:
                    signed = checkpoint(note, self.key)
                except (NotSound, ValueError):
                    signed = None
                demand(not signed, f"{why}, and a signed checkpoint stands behind it")
            place = data.find(begin, place + 1)
        hole = here.hole or has_hole(data, at, len(data))
        demand(cut or hole or (cut is not None and data.endswith(b"\0\0\0\0")), why)
        self.tail = len(data) - here.sound
        if here.doubt:
            demand(hole, here.doubt[0])
            self.forgive(here, len(data))

    def record(self, opens):
        demand(opens or self.seen or self.base["leaves"], "the store does not begin with an open")
        demand(opens or not self.closed, "a record behind a close")
        self.seen = True

    def word(self, word, number):
        kind = word["evidence"]
        try:
            getattr(self, f"word_{kind}")(word, number)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise NotSound(f"a record of the store's own is malformed: {error}") from error

    def word_open(self, word, _):
        demand((word["key"], word["name"]) == (self.key.line, self.key.name), "an open under another name or key")
        there = (self.tree.count, self.tree.root().hex())
        demand((word["leaves"], word["root"]) == there, "an open on other leaves than those that are there")
        demand(self.run is None or word["counter"] > self.run, "a counter does not grow")
        first = self.tree.count == 0
        if not first and (self.run is not None or self.tree.count > self.base["leaves"]):
            demand(word["clean"] is self.closed, "an open says otherwise how the run before ended")
        self.unclosed += not word["clean"]
        self.recovers = None if word["clean"] else word["leaves"]
        self.run, self.closed = word["counter"], False
        self.runs += 1

    def word_recovered(self, word, number):
        demand(self.recovers is not None and word["leaves"] == self.recovers, "recovered what is not there")
        demand(word["segment"] in (number, number - 1), "recovered another segment")
        self.recovers = None

    def word_gap(self, word, _):
        self.gaps += 1
        for name in ("records", "frames", "since_ns", "time_ns"):
            demand(isinstance(word[name], int), "a gap is malformed")

    def word_prune(self, word, _):
        if word["leaves"] >= self.base["leaves"]:
            frontier = [bytes.fromhex(it) for it in word["frontier"]]
            mark = (word["leaves"], word["records"], frontier, bytes.fromhex(word["trailer"]))
            demand(mark in self.marks, "a prune names other leaves than those that are there")

    def word_close(self, word, _):
        demand(self.run in (None, word["counter"]), "a close of another run")
        self.closed = True

    def checkpoint(self, note):
        read = checkpoint(note, self.key)
        demand(read, "a checkpoint of another box")
        demand((read["leaves"], read["records"]) == (self.tree.count, self.records), "a checkpoint of other leaves")
        demand(read["root"] == self.tree.root(), "a checkpoint of other blocks than those that are there")
        self.run = read["counter"] if self.run is None else self.run
        demand(read["counter"] == self.run, "a checkpoint of another run")
        self.signatures += 1
        self.signed = read


def base_of(segments, before):
    nothing = {"leaves": 0, "records": 0, "frontier": [], "trailer": bytes(32)}
    number, data = segments[0]
    for _, _, kind, body in blocks(data):
        if kind == 0xBAD and body[4:9] == b"VBR1\2":
            first = struct.unpack("<Q", body[24:32])[0]
            break
    else:
        first = 0
    if first == 0:
        demand(number == 1, "the first segment is missing")
        return nothing
    found = [before] if before else []
    for _, data in segments if not found else []:
        for _, _, kind, body in blocks(data):
            word = own_word(body[16:].rstrip(b"\0")) if kind == 0xBAD and body[4:9] == b"VBR1\1" else None
            if word and word["evidence"] == "prune" and word["segments"][1] + 1 == number:
                found.append(word)
    for word in found:
        if word["leaves"] == first:
            hashes = [bytes.fromhex(it) for it in word["frontier"]]
            return word | {"frontier": hashes, "trailer": bytes.fromhex(word["trailer"])}
    raise NotSound("nothing answers for what was before the first block")


def files_of(path):
    """The files of a store, and whether it is an export."""
    if path.is_dir():
        names = [it for it in path.iterdir() if re.fullmatch(r"evidence(-\d{8,}\.pcapng|\.pub)", it.name)]
        return {it.name: it.read_bytes() for it in names}, False
    try:
        with tarfile.open(path) as archive:
            return {it.name: archive.extractfile(it).read() for it in archive.getmembers()}, True
    except (tarfile.TarError, OSError, AttributeError) as error:
        raise CannotRead(f"{path}: {error}") from error


def manifest_of(files):
    demand(next(iter(files)) == "manifest.json", "manifest.json is not the first file")
    try:
        manifest = json.loads(files["manifest.json"])
        demand(manifest["vambrace_evidence"] == 1, "a manifest of another version")
        named = [(it["name"], it["bytes"], it["sha256"]) for it in manifest["files"]]
        there = [(name, len(data), sha256(data).hex()) for name, data in list(files.items())[1:]]
        demand(named == there, "the manifest names other files than those that are there")
        return manifest["before"], manifest["name"]
    except (ValueError, KeyError, TypeError) as error:
        raise NotSound(f"manifest.json is malformed: {error}") from error


def notes_of(path, key):
    """A witness's notes; the last may be cut short."""
    held = []
    for note in re.split(rb"(?<=\n)\n(?=[^\xe2])", path.read_bytes()):
        if b"\n\n\xe2\x80\x94 " in note:
            held.append(checkpoint(note.rstrip(b"\n") + b"\n", key, alone=False))
    held = [it for it in held if it]
    if not held:
        raise CannotRead(f"{path}: holds no checkpoint of {key.name}")
    return held


def verify(path, pinned, witness_files, counter, identity=None):
    files, is_export = files_of(path)
    before, name = manifest_of(files) if is_export else (None, None)
    own = files.get("evidence.pub")
    if own is None and pinned is None:
        raise CannotRead(f"{path}: holds no evidence.pub")
    if own is not None:
        try:
            text = own.decode()
        except ValueError as error:
            raise NotSound("evidence.pub is not UTF-8") from error
        demand(text.endswith("\n"), "evidence.pub has no line feed")
        own = Key(text[:-1])
    demand(own is None or pinned is None or own.line == pinned.line, "the store's key is not the one that was given")
    key = pinned or own
    demand(name in (None, key.name), "the manifest names another box than the key")
    pattern = re.compile(r"evidence-(\d{8,})\.pcapng")
    segments = sorted((int(match[1]), data) for name, data in files.items() if (match := pattern.fullmatch(name)))
    if not segments:
        raise CannotRead(f"{path}: holds no segments")
    witnesses = [held for it in witness_files for held in notes_of(it, key)]
    store = Store(key, base_of(segments, before), witnesses, identity)
    for at, (number, data) in enumerate(segments):
        demand(number == segments[0][0] + at, "a segment is missing")
        store.segment(number, data, at + 1 == len(segments))
    demand(all(it["leaves"] <= store.tree.count for it in witnesses), "a witness holds more leaves than are there")
    demand(counter is None or store.run is None or store.run >= counter, "the store was opened more often")
    signed = store.signed or {"leaves": 0, "records": 0, "time_ns": 0}
    return {
        "leaves": store.tree.count,
        "root": store.tree.root().hex(),
        "last_record": store.records,
        "packets": store.packets,
        "signatures": store.signatures,
        "signed": {name: signed[name] for name in ("leaves", "records", "time_ns")} if store.signed else None,
        "gap_count": store.gaps,
        "unclosed_count": store.unclosed,
        "runs": store.runs,
        "tail_bytes": store.tail,
        "pinned": pinned is not None,
        "encrypted": store.encrypted,
    }, store.events


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=pathlib.Path)
    parser.add_argument("--key", type=pathlib.Path)
    parser.add_argument("--witness", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--counter", type=int)
    parser.add_argument("--identity", type=pathlib.Path, help="an auditor's secret key")
    parser.add_argument("--events", type=pathlib.Path, help="a file for the events, a line each")
    parser.add_argument("--many", action="store_true", help="PATH is a folder of stores; one answer a line")
    args = parser.parse_args()
    paths = sorted(args.path.iterdir()) if args.many else [args.path]
    worst = 0
    for path in paths:
        try:
            pinned = Key(args.key.read_text().strip()) if args.key else None
            identity = Identity(args.identity.read_text().strip()) if args.identity else None
            answer, events = verify(path, pinned, args.witness, args.counter, identity)
            answer, code = {"sound": True} | answer, 0
            if args.events:
                args.events.write_bytes(b"".join(event + b"\n" for event in events))
        except NotSound as error:
            answer, code = {"sound": False, "why": str(error)}, 4
        except (CannotRead, OSError) as error:
            answer, code = {"error": str(error)}, 1
        print(json.dumps(({"path": path.name} if args.many else {}) | answer))
        worst = max(worst, code)
    sys.exit(worst)


if __name__ == "__main__":
    main()
