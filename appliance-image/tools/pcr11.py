"""What PCR 11 holds after the EFI stub of a unified kernel image has measured it: pcr11.py IMAGE

The stub extends the register with the name of each section, zero-terminated, and then with its bytes, in the order below.
Source: systemd-stub(7), and the list in systemd's src/fundamental/uki.c. SHA-256.
"""
import hashlib
import sys

import pefile

ORDER = [
    ".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".dtbauto", ".hwids", ".uname", ".sbat",
    ".pcrpkey", ".profile",
]


def extended(register, data):
    return hashlib.sha256(register + hashlib.sha256(data).digest()).digest()


def predict(path):
    image = pefile.PE(path, fast_load=True)
    sections = {}
    for section in image.sections:
        name = section.Name.rstrip(b"\0").decode()
        # What the file holds and what memory holds may differ in length: zeros are added, or padding is left out.
        sections[name] = section.get_data()[: section.Misc_VirtualSize].ljust(section.Misc_VirtualSize, b"\0")
    register = bytes(32)
    for name in ORDER:
        if name in sections:
            register = extended(register, name.encode() + b"\0")
            register = extended(register, sections[name])
    return register.hex()


if __name__ == "__main__":
    print(predict(sys.argv[1]))
