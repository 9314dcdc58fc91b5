"""What is in the image, as CycloneDX 1.6: crates, Debian packages, and every file with its hash.

    sbom.py --root CHECKOUT --lock packages.lock --files ROOT-FOLDER --version V

No time and no random number gets in: two builds give the same bytes.
"""
import argparse
import hashlib
import json
import os
import subprocess

# Of the packages of the lock file, those of which something is in the image; the others are tools of the build.
SHIPPED = ("linux-image-", "systemd-boot-efi", "e2fsck-static")


def crates(manifest, arguments, package):
    """The crates that are linked into a program, as Cargo resolves them for the image."""
    target = "x86_64-unknown-linux-gnu"
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    metadata = json.loads(subprocess.check_output([*command, "--manifest-path", manifest, *arguments]))
    packages = {it["id"]: it for it in metadata["packages"]}
    nodes = {it["id"]: it for it in metadata["resolve"]["nodes"]}
    waiting = [it["id"] for it in metadata["packages"] if it["name"] == package]
    found = {}
    while waiting:
        key = waiting.pop()
        if key in found:
            continue
        found[key] = packages[key]
        for dependency in nodes[key]["deps"]:
            # Normal dependencies have no kind; those of build scripts and tests are not in the program.
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    return found.values()


def crate(package):
    url = f"pkg:cargo/{package['name']}@{package['version']}"
    component = {"type": "library", "name": package["name"], "version": package["version"], "purl": url, "bom-ref": url}
    if package.get("license"):
        component["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    return component


def main():
    parser = argparse.ArgumentParser()
    for name in ("root", "lock", "files", "version"):
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    components = {}
    for manifest, arguments, package in [
        (f"{args.root}/Cargo.toml", ["--no-default-features"], "vambrace"),
        (f"{args.root}/appliance-image/init/Cargo.toml", [], "vambrace-init"),
    ]:
        for component in map(crate, crates(manifest, arguments, package)):
            components[component["bom-ref"]] = component
    with open(args.lock, encoding="utf-8") as lock:
        for line in lock:
            if line.startswith("#") or not line.startswith(SHIPPED):
                continue
            name, version, digest = line.split()
            url = f"pkg:deb/debian/{name}@{version}?arch=amd64&distro=trixie"
            hashes = [{"alg": "SHA-256", "content": digest}]
            components[url] = {
                "type": "operating-system" if name.startswith("linux") else "firmware",
                "name": name, "version": version, "purl": url, "bom-ref": url, "hashes": hashes,
            }
    for folder, _, names in os.walk(args.files):
        for name in names:
            path = os.path.join(folder, name)
            place = "/" + os.path.relpath(path, args.files)
            with open(path, "rb") as file:
                digest = hashlib.sha256(file.read()).hexdigest()
            hashes = [{"alg": "SHA-256", "content": digest}]
            components[place] = {"type": "file", "name": place, "bom-ref": f"file:{place}", "hashes": hashes}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "firmware", "name": "vambrace-appliance", "version": args.version}},
        "components": [components[key] for key in sorted(components)],
    }
    print(json.dumps(document, indent=1, ensure_ascii=False))


main()
