"""An update bundle: bundle.py --image FILE --key FILE --version V --from V --epoch N --config-schema N --hardware NAME --output FILE

The header names the system by length and SHA-256, the key signs the header (Ed25519), the system follows. The format stands
in `init/src/update/bundle.rs`, which reads it. Signs with openssl, which has the key in PEM.
"""
import argparse
import hashlib
import pathlib
import struct
import subprocess
import tempfile

MAGIC = b"VBUPDATE"
CONTEXT = b"vambrace update header, version 1\n"


def sign(message, key):
    """The 64 bytes of the signature."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(message)
        file.flush()
        command = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", file.name]
        return subprocess.run(command, check=True, capture_output=True).stdout


def header(image, version, since, epoch, config_schema, hardware):
    """What is signed, as TOML."""
    return (
        f'product = "vambrace"\nhardware = ["{hardware}"]\nversion = "{version}"\nfrom = "{since}"\n'
        f"config_schema = {config_schema}\nepoch = {epoch}\n"
        f'image_bytes = {len(image)}\nimage_sha256 = "{hashlib.sha256(image).hexdigest()}"\n'
    ).encode()


def prefix(text, key):
    """Everything before the system: what a slot keeps beside it, too."""
    return MAGIC + struct.pack("<I", len(text)) + text + sign(CONTEXT + text, key)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("image", "key", "version", "from", "epoch", "config-schema", "hardware", "output"):
        parser.add_argument(f"--{name}", required=True, dest=name.replace("-", "_").replace("from", "since"))
    args = parser.parse_args()
    image = pathlib.Path(args.image).read_bytes()
    text = header(image, args.version, args.since, int(args.epoch), int(args.config_schema), args.hardware)
    pathlib.Path(args.output).write_bytes(prefix(text, args.key) + image)


if __name__ == "__main__":
    main()
