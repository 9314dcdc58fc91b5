"""A booted image and the namespaces on both sides of it. Only the standard library, qemu, and what Debian has for disks."""
import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
FIRMWARE = pathlib.Path("/usr/share/OVMF")
OWNER = "76616d62-7261-6365-1000-000000000000"

TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86", "swtpm": "swtpm", "mcopy": "mtools", "sgdisk": "gdisk", "debugfs": "e2fsprogs",
    "mkfs.fat": "dosfstools", "zstd": "zstd", "ip": "iproute2", "ethtool": "ethtool", "sbattach": "sbsigntool",
}


class Failed(Exception):
    """What is not as it should be."""


def check(what, holds, why=""):
    """Prints what was looked at, and ends the test where it does not hold."""
    print(f"  {'ok ' if holds else 'NOT'} {what}")
    if not holds:
        raise Failed(f"not so: {what}\n{why}")


def arguments(usage):
    """What every test here is told: where the image, the build's cache, the product and the clients are."""
    parser = argparse.ArgumentParser(usage=usage)
    for name in ("image", "cache", "product", "clients"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=name == "image")
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    if os.geteuid() != 0:
        raise Failed("needs root for network namespaces")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = [package for tool, package in TOOLS.items() if not shutil.which(tool)]
    if not FIRMWARE.joinpath("OVMF_CODE_4M.secboot.fd").exists():
        missing.append("ovmf")
    if missing:
        raise Failed(f"tools are missing: apt-get install --no-install-recommends {' '.join(missing)}")
    cache = args.cache or args.image.parent / "image-cache"
    product = args.product or cache / "product/x86_64-unknown-linux-gnu/release/vambrace"
    clients = args.clients or args.image.parent / "tmp/clients-venv"
    return args.image.resolve(), cache.resolve(), product.resolve(), clients.resolve(), args.keep


def option(name, unless_told, kind=int):
    """Takes an option that one test alone has off the command line, before `arguments` reads it."""
    if name not in sys.argv:
        return unless_told
    at = sys.argv.index(name)
    value = kind(sys.argv[at + 1])
    del sys.argv[at : at + 2]
    return value


def main(test):
    """Runs a test; what failed is the last thing it says. Ended from outside, it still takes its machine and namespaces away."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        test()
    except Failed as failure:
        print(f"{pathlib.Path(sys.argv[0]).name}: {failure}", file=sys.stderr)
        sys.exit(1)


def run(command, **options):
    """Runs a program to its end and gives back what it printed."""
    command = [str(part) for part in command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


class Process:
    """A child of the test; ended by its number, nothing else is."""

    def __init__(self, command, log):
        self.log = log
        with open(log, "wb") as output:
            self.child = subprocess.Popen([str(part) for part in command], stdout=output, stderr=output, stdin=subprocess.DEVNULL)

    def alive(self):
        return self.child.poll() is None

    def end(self):
        if self.alive():
            self.child.terminate()
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


class Robot:
    """The server on the robot's side, and what it and the wire saw."""

    def __init__(self, process, beat, report):
        self.process, self.beat, self.report = process, beat, report

    def end(self):
        self.beat.end()
        self.process.end()
        if not self.report.exists():
            raise Failed(f"the robot's side told nothing: {self.process.log.read_text()}")
        return json.loads(self.report.read_text())


class Namespaces:
    """One network namespace a side, with a tap that the guest's port is on the other end of."""

    def __init__(self, *sides):
        self.sides = sides
        self.number = os.getpid() % 100000
        self.made, self.processes = [], []

    def __enter__(self):
        for side in self.sides:
            run(["ip", "netns", "add", self.name(side)])
            self.made.append(side)
            run(self.within(side, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"))
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.end()
        for side in self.made:
            subprocess.run(["ip", "netns", "del", self.name(side)], check=False, capture_output=True)

    def name(self, side):
        return f"vbimg-{side}-{self.number}"

    def tap(self, side):
        """The name of a side's tap; qemu makes it."""
        return f"vbimg-{side[0]}{self.number}"

    def within(self, side, *command):
        return ["ip", "netns", "exec", self.name(side), *command]

    def attach(self, side, address):
        """Takes the tap out of the test's own namespace, while qemu holds it."""
        tap = self.tap(side)
        end = time.time() + 30
        while not pathlib.Path(f"/sys/class/net/{tap}").exists():
            if time.time() > end:
                raise Failed(f"qemu made no {tap}")
            time.sleep(0.02)
        run(["ip", "link", "set", tap, "netns", self.name(side)])
        run(self.within(side, "ip", "address", "add", address, "dev", tap))
        run(self.within(side, "ethtool", "-K", tap, "tx", "off", "gso", "off", "tso", "off"))
        run(self.within(side, "ip", "link", "set", tap, "up"))

    def mac(self, side):
        return run(self.within(side, "cat", f"/sys/class/net/{self.tap(side)}/address")).strip()

    def robot(self, folder, address):
        """A Modbus server and a listener on the robot's side, and a sender of ARP requests on the plant's."""
        self.first = folder / "first-frame"
        self.first.unlink(missing_ok=True)
        report = folder / "robot.json"
        report.unlink(missing_ok=True)
        command = [sys.executable, HERE / "robot.py", self.tap("robot"), address, report, self.first, self.mac("plant")]
        process = Process(self.within("robot", *command), folder / "robot.log")
        self.processes.append(process)
        command = [sys.executable, HERE / "beat.py", self.tap("plant"), address]
        beat = Process(self.within("plant", *command), folder / "beat.log")
        self.processes.append(beat)
        return Robot(process, beat, report)

    def first_frame(self, guest, seconds):
        """When the first frame from the plant arrived at the robot, on the clock of `time.monotonic`."""
        end = time.monotonic() + seconds
        while not self.first.exists() or not self.first.read_text().strip():
            guest.check_alive()
            if time.monotonic() > end:
                raise Failed(f"no frame passed within {seconds} s; the console said:\n{guest.serial()[-3000:]}")
            time.sleep(0.05)
        return float(self.first.read_text())


class Guest:
    """An emulated machine with the firmware's Secure Boot on, keys of the test enrolled, a TPM and a watchdog."""

    MEMORY_MIB = 512
    # Whether the machine starts again where the box, its kernel or its watchdog asks for it; else it is off then.
    STARTS_AGAIN = False
    # What a watchdog that nobody feeds does; with "none" a guest that got no processor for half a minute goes on.
    WATCHDOG = "reset"
    # Whether the box may encrypt its data partition, as with `build --encrypt`; else a test reads what is on it.
    ENCRYPTED = False

    def __init__(self, image, cache, keep=False):
        found = sorted(image.glob("vambrace-*.raw.zst"))
        if len(found) != 1:
            raise Failed(f"{image} holds {len(found)} images; run appliance-image/build")
        self.image = found[0]
        self.uki = self.image.with_name(self.image.name.replace(".raw.zst", ".efi"))
        self.pcr11 = self.image.with_name(self.image.name.replace(".raw.zst", ".pcr11"))
        self.cache, self.keep = cache, keep
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vbimg-"))
        self.disk = self.folder / "disk.raw"
        self.stick_image = None
        self.processes = []

    def __enter__(self):
        run(["zstd", "-dqf", "--sparse", self.image, "-o", self.disk])
        if self.ENCRYPTED:
            first, _ = self.extent("data")
            run(["debugfs", "-w", "-R", "feature encrypt", f"{self.disk}?offset={first}"])
        self.enrol()
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.end()
        if self.keep:
            print(f"kept in {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def enrol(self):
        keys = self.cache / "test-keys"
        run([
            self.cache / "python/bin/virt-fw-vars", "--input", FIRMWARE / "OVMF_VARS_4M.fd", "--output", self.folder / "vars.fd",
            "--set-pk", OWNER, keys / "PK.crt", "--add-kek", OWNER, keys / "KEK.crt", "--add-db", OWNER, keys / "db.crt",
            "--secure-boot",
        ])

    def add_file(self, name, text):
        """Puts a file on the first ESP, as a person does with the flashed stick."""
        path = self.folder / name
        path.write_text(text)
        first, _ = self.extent("esp-a")
        run(["mcopy", "-o", "-i", f"{self.disk}@@{first}", path, f"::{name}"])

    def write_slot(self, name, system):
        """Puts a system into a slot, as an update would, signed or not."""
        path = self.folder / "system.efi"
        path.write_bytes(system)
        first, _ = self.extent(name)
        run(["mcopy", "-o", "-i", f"{self.disk}@@{first}", path, "::EFI/BOOT/BOOTX64.EFI"])

    def start(self, ports):
        """Turns the machine on, for the first time or again; a port without a tap has no cable."""
        tpm = self.folder / "tpm"
        tpm.mkdir(exist_ok=True)
        control = self.folder / "tpm.sock"
        for left in (control, self.folder / "serial.log", self.folder / "qmp.sock"):
            left.unlink(missing_ok=True)
        command = ["swtpm", "socket", "--tpm2", "--terminate", "--tpmstate", f"dir={tpm}", "--ctrl", f"type=unixio,path={control}"]
        self.processes.append(Process(command, self.folder / "swtpm.log"))
        command = [
            "qemu-system-x86_64", "-machine", "q35,smm=on,accel=tcg", "-cpu", "max", "-smp", "2", "-m", str(self.MEMORY_MIB),
            "-nodefaults", "-display", "none", *([] if self.STARTS_AGAIN else ["-no-reboot"]),
            "-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1",
            "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={FIRMWARE}/OVMF_CODE_4M.secboot.fd",
            "-drive", f"if=pflash,format=raw,unit=1,file={self.folder}/vars.fd",
            *self.drive(), "-device", "ide-hd,drive=disk",
            "-chardev", f"socket,id=tpm,path={control}", "-tpmdev", "emulator,id=tpm0,chardev=tpm",
            "-device", "tpm-crb,tpmdev=tpm0", "-device", "i6300esb", "-action", f"watchdog={self.WATCHDOG}",
            "-serial", f"file:{self.folder}/serial.log", "-qmp", f"unix:{self.folder}/qmp.sock,server=on,wait=off",
        ]
        for number, (name, tap) in enumerate(ports.items(), 1):
            backend = f"tap,id={name},ifname={tap},script=no,downscript=no" if tap else f"hubport,id={name},hubid={number}"
            device = f"e1000e,netdev={name},mac=52:54:00:76:62:0{number},addr=0x{number + 2},romfile="
            command += ["-netdev", backend, "-device", device]
        if self.stick_image:
            command += ["-device", "qemu-xhci,addr=0x10", "-drive", f"if=none,id=stick,format=raw,file={self.stick_image}",
                        "-device", "usb-storage,drive=stick,removable=on"]
        end = time.time() + 20
        while not control.exists() and time.time() < end:
            time.sleep(0.02)
        self.started = time.monotonic()
        self.qemu = Process(command, self.folder / "qemu.log")
        self.processes.append(self.qemu)

    def drive(self):
        """The disk, as the emulator is told of it."""
        return ["-drive", f"if=none,id=disk,format=raw,file={self.disk}"]

    def check_alive(self):
        if not self.qemu.alive():
            raise Failed(f"the machine is off: {self.qemu.log.read_text()}\n{self.serial()[-3000:]}")

    def serial(self):
        path = self.folder / "serial.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_for(self, text, seconds):
        """The line of the console that has a text in it."""
        end = time.monotonic() + seconds
        while True:
            for line in self.serial().splitlines():
                if text in line:
                    return line
            self.check_alive()
            if time.monotonic() > end:
                raise Failed(f"the console did not say \"{text}\" within {seconds} s:\n{self.serial()[-3000:]}")
            time.sleep(0.1)

    def power_button(self, seconds=120):
        """Presses it, and waits until the machine is off."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(str(self.folder / "qmp.sock"))
            for order in ("qmp_capabilities", "system_powerdown"):
                monitor.sendall(json.dumps({"execute": order}).encode())
                time.sleep(0.3)
        end = time.monotonic() + seconds
        while self.qemu.alive():
            if time.monotonic() > end:
                raise Failed(f"the machine does not turn off:\n{self.serial()[-3000:]}")
            time.sleep(0.1)

    def turn_off(self):
        """Takes the power away."""
        self.qemu.end()

    def extent(self, name):
        """Where a partition of the disk begins, and its length, in bytes."""
        table = run(["sgdisk", "--print", self.disk]).splitlines()
        for words in (line.split() for line in table):
            if words and words[-1] == name:
                first, last = int(words[1]), int(words[2])
                return first * 512, (last - first + 1) * 512
        raise Failed(f"the disk has no partition {name}")

    def stick(self, files):
        """A USB stick with a FAT file system and files on it, in the box from the next start on; None takes it out."""
        self.stick_image = None
        if files is None:
            return
        self.stick_image = self.folder / "stick.raw"
        with open(self.stick_image, "wb") as image:
            image.truncate(64 << 20)
        run(["mkfs.fat", "-F", "32", "-n", "STICK", self.stick_image])
        for name, text in files.items():
            path = self.folder / f"stick-{name}"
            path.write_text(text)
            run(["mcopy", "-o", "-i", self.stick_image, path, f"::{name}"])

    def enlarge(self, mebibytes):
        """A disk of this size, as the image is written to one."""
        with open(self.disk, "r+b") as disk:
            disk.truncate(mebibytes << 20)

    def wipe(self, name):
        """Overwrites a partition, with the copies of what stands at its beginning."""
        first, length = self.extent(name)
        with open(self.disk, "r+b") as disk:
            disk.seek(first)
            for _ in range(length >> 20):
                disk.write(bytes(1 << 20))

    def partition(self, name, to):
        """Copies a partition of the disk into a file."""
        first, length = self.extent(name)
        run(["dd", f"if={self.disk}", f"of={to}", "bs=1M", "iflag=skip_bytes,count_bytes", "conv=sparse",
             f"skip={first}", f"count={length}", "status=none"])
        return to

    def put_partition(self, name, image):
        """Writes a file over a partition of the disk."""
        first, _ = self.extent(name)
        run(["dd", f"if={image}", f"of={self.disk}", "bs=1M", "oflag=seek_bytes", f"seek={first}", "conv=notrunc", "status=none"])

    def expected_pcr11(self):
        return self.pcr11.read_text().strip()
