"""Other versions of an image, made of it without compiling, their bundles, and orders as the management process leaves them."""
import hashlib
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tools"))
import bundle  # noqa: E402
from guest import Failed, Guest, run  # noqa: E402

FIFO, FILE = 0o010644, 0o100755
RELEASE = "/usr/lib/vambrace/release.toml"


def section(uki, name):
    """Bytes of a section of a signed system."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "section"
        run(["objcopy", "-O", "binary", f"--only-section={name}", uki, out])
        return out.read_bytes()


def archive(files):
    """A cpio archive (newc, cpio(5)) of {path: (mode, bytes)}; what the kernel unpacks last wins."""
    out = b""
    for number, (name, (mode, data)) in enumerate([*files.items(), ("TRAILER!!!", (0, b""))], 1):
        encoded = name.lstrip("/").encode() + b"\0"
        fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        out += head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
    return out


def held(uki, path):
    """A file of the image."""
    tree = subprocess.run(["zstd", "-dc"], input=section(uki, ".initrd"), capture_output=True).stdout
    command = ["cpio", "-i", "--quiet", "--to-stdout", path.lstrip("/")]
    return subprocess.run(command, input=tree, check=True, capture_output=True).stdout


class Maker:
    """Makes other versions of an image, signed with the keys of the test."""

    def __init__(self, image, cache):
        (self.uki,) = image.glob("vambrace-*.efi")
        self.cache, self.keys = cache, cache / "test-keys"
        self.release = held(self.uki, RELEASE).decode()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vbimg-versions-"))

    def system(self, version, epoch=1, files=(), words="", limit=None, signer=None):
        """The signed system of a version: further files win over those of the image, words go to the kernel's command line,
        `limit` is that of its trial, in seconds, and `signer` where a key and a certificate other than the firmware's lie."""
        lines = self.release.splitlines()
        lines = [f'version = "{version}"' if line.startswith("version") else line for line in lines]
        lines = [f"epoch = {epoch}" if line.startswith("epoch") else line for line in lines]
        if limit is not None:
            lines = [re.sub(r"limit_seconds = \d+", f"limit_seconds = {limit}", line) for line in lines]
        more = {RELEASE: (0o100644, "\n".join([*lines, ""]).encode())}
        more["/usr/lib/release"] = (0o100644, f"vambrace {version} of a test\n".encode())
        more.update(files)
        parts = {"linux": section(self.uki, ".linux"), "first": section(self.uki, ".initrd"), "more": archive(more)}
        parts["os-release"] = section(self.uki, ".osrel")
        for name, data in parts.items():
            (self.folder / name).write_bytes(data)
        # A busy machine's emulated timer stands still at times, and a kernel that looks for it would panic: see `turn_on`.
        words = section(self.uki, ".cmdline").rstrip(b"\0\n").decode() + " no_timer_check " + words
        (debian,) = self.cache.glob("debian-*")
        unsigned, signed = self.folder / "unsigned.efi", self.folder / f"{version}.efi"
        run([self.cache / "python/bin/python", debian / "usr/bin/ukify", "build", f"--linux={self.folder}/linux",
             f"--initrd={self.folder}/first", f"--initrd={self.folder}/more", f"--cmdline={words.strip()}",
             f"--os-release=@{self.folder}/os-release", "--uname=6.12",
             f"--stub={debian}/usr/lib/systemd/boot/efi/linuxx64.efi.stub", f"--output={unsigned}"])
        signer = signer or self.keys / "db"
        run(["sbsign", "--key", f"{signer}.key", "--cert", f"{signer}.crt", "--output", signed, unsigned])
        return signed.read_bytes()

    def without_signature(self, system):
        """The same system, signed by nobody."""
        path = self.folder / "bare.efi"
        path.write_bytes(system)
        run(["sbattach", "--remove", path])
        return path.read_bytes()

    def other_signer(self):
        """A key and a certificate that no firmware knows."""
        path = self.folder / "stranger"
        run(["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-x509", "-days", "30", "-sha256", "-subj", "/CN=Somebody else",
             "-keyout", f"{path}.key", "-out", f"{path}.crt"])
        return path

    def bundle(self, system, version, epoch=1, since="0.0.1", key=None, hardware="uefi-amd64"):
        """A bundle of a system."""
        text = bundle.header(system, version, since, epoch, 1, hardware)
        return bundle.prefix(text, key or self.keys / "update.key") + system

    def other_key(self):
        """A key that no image knows."""
        path = self.folder / "other.key"
        run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", path])
        return path


class Updating(Guest):
    """A box that starts again by itself."""

    STARTS_AGAIN = True
    WATCHDOG = "none"

    def leave(self, what, data=None, now=True, who="eva (engineer) 10.0.0.5"):
        """Leaves an order, and a bundle with it, on the data partition of a box that is off."""
        partition = self.folder / "data-with-order"
        self.partition("data", partition)
        run(["e2fsck", "-p", partition]) if self.dirty(partition) else None
        order = self.folder / "order.toml"
        order.write_text(f'id = "test"\nwhat = "{what}"\nnow = {str(now).lower()}\nwho = "{who}"\n')
        commands = ["mkdir /update", "mkdir /update/incoming", "rm /update/incoming/bundle", "rm /update/incoming/order.toml"]
        if data is not None:
            (self.folder / "bundle").write_bytes(data)
            commands.append(f"write {self.folder}/bundle /update/incoming/bundle")
        commands.append(f"write {order} /update/incoming/order.toml")
        subprocess.run(["debugfs", "-w", "-f", "-", partition], input="\n".join(commands), text=True, check=True, capture_output=True)
        self.put_partition("data", partition)

    @staticmethod
    def dirty(partition):
        return "needs_recovery" in run(["dumpe2fs", "-h", partition])

    def told(self, count, text):
        """How often the console said a text, once that is often enough."""
        return self.serial().count(text) >= count

    def wait_times(self, text, count, seconds):
        """Waits until the console has said a text so often, over restarts."""
        end = time.monotonic() + seconds
        while self.serial().count(text) < count:
            self.check_alive()
            if time.monotonic() > end:
                raise Failed(f'the console did not say "{text}" {count} times within {seconds} s:\n{self.serial()[-4000:]}')
            time.sleep(0.2)

    def slot(self, name):
        """The system in a slot, or nothing where there is none that can be read."""
        first, _ = self.extent(name)
        out = self.folder / f"{name}.efi"
        out.unlink(missing_ok=True)
        subprocess.run(["mcopy", "-n", "-i", f"{self.disk}@@{first}", "::EFI/BOOT/BOOTX64.EFI", out], capture_output=True)
        return out.read_bytes() if out.exists() else None

    def steps(self):
        """Steps of updates as the data partition of a box that is off has them."""
        partition = self.partition("data", self.folder / "data-steps")
        out = self.folder / "steps.toml"
        out.unlink(missing_ok=True)
        run(["e2fsck", "-p", partition]) if self.dirty(partition) else None
        run(["debugfs", "-R", f"dump /update/steps.toml {out}", partition])
        steps = [line.split('"')[1] for line in out.read_text().splitlines() if line.startswith("step = ")]
        return steps

    def events(self):
        """Events of kind update on the data partition of a box that is off."""
        import json
        partition = self.partition("data", self.folder / "data-events")
        folder = self.folder / "events"
        # debugfs leaves what is there already as it is.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        run(["e2fsck", "-p", partition]) if self.dirty(partition) else None
        run(["debugfs", "-R", f"rdump /evidence {folder}", partition])
        lines = []
        for file in sorted((folder / "evidence").glob("eve*.json")):
            lines += [json.loads(line) for line in file.read_text().splitlines()]
        return [it["notice"] for it in lines if it.get("notice", {}).get("kind") == "update"]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


__all__ = ["FIFO", "FILE", "RELEASE", "Maker", "Updating", "archive", "held", "section", "sha256", "struct"]
