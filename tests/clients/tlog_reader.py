#!/usr/bin/env python3
"""Reads an evidence store's key, checkpoints and leaves with aics-tlog, an implementation of C2SP's transparency logs
by others: tlog_reader.py FOLDER

Prints how many checkpoints hold: signature, origin, root of the leaves in front of them, consistency with the one
before. Knows of the store's own format only where its blocks begin.
"""

import pathlib
import struct
import sys

from aics_tlog import MerkleTree, parse_checkpoint, parse_note, parse_vkey, verify_checkpoint, verify_consistency


def bodies(data):
    """Kind and body of each whole custom block of ours."""
    at = 0
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<II", data, at)
        if at + length > len(data):
            return
        if kind == 0xBAD:
            size = struct.unpack_from("<I", data, at + 20)[0]
            yield data[at + 16], data[at + 24:at + 24 + size]
        at += length


def main():
    folder = pathlib.Path(sys.argv[1])
    key = parse_vkey((folder / "evidence.pub").read_text().strip())
    tree, held, before = MerkleTree(), 0, (0, None)
    for segment in sorted(folder.glob("evidence-*.pcapng")):
        for kind, body in bodies(segment.read_bytes()):
            if kind == 2:
                tree.append(body)
            elif kind == 3:
                note = parse_note(body.decode())
                result = verify_checkpoint(note, key, expected_origin=key.name)
                assert result.log_ok, result.error
                said = parse_checkpoint(note.text)
                assert (said.size, said.root) == (tree.size, tree.root()), "another root"
                size, root = before
                if size:
                    proof = tree.consistency_proof(size, said.size)
                    assert verify_consistency(size, said.size, root, said.root, proof), "not a longer tree"
                before, held = (said.size, said.root), held + 1
    print(f"{held} checkpoints of {tree.size} leaves hold")


if __name__ == "__main__":
    main()
